"""Checkpoints from strangers: what is wrong with one is said before anything is built of it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pipeline.core.errors import PipelineError
from pipeline.core.shards import CHECKPOINT_HEADER
from pipeline.parsers.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.registry import build_network, recipe_for

SMALL = {"width": 8, "heads": 2, "layers": 1, "feedforward": 8}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A folder with a checkpoint that is as it should be."""
    recipe, dimensions = recipe_for("valorpp", SMALL), Dimensions(6, 7, 0, 0, 0, 10, 4)
    weights = build_network("valorpp", dimensions, recipe).state_dict()
    made = Checkpoint("valorpp", recipe, 0, dimensions, tuple("abcd"), 1, 50.0, {}, weights)
    write_checkpoint(tmp_path / "whole", made)
    return tmp_path / "whole"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"dimensions": {"audio": 10**12}}, "'dimensions.audio' is 1000000000000"),
        ({"dimensions": {"classes": -1}}, "'dimensions.classes' is -1"),
        ({"recipe": {"layers": 10**7}}, "layers"),
        ({"recipe": {"width": 10**9}}, "width"),
        ({"fingerprints": None}, "'fingerprints' is None"),
        ({"classes": "speech"}, "'classes'"),
        ({"classes": ["a", "a", "a", "a"]}, "different class names"),
        ({"score": "nan"}, "'score'"),
        ({"seed": None}, "'seed' is None"),
        ({"released": [1]}, "'released'"),
        ({"recipe": []}, "'recipe'"),
    ],
    ids=str,
)
def test_damaged_header_is_one_sentence_before_anything_is_built(
    whole: Path, tmp_path: Path, damage: dict[str, object], message: str
) -> None:
    path = whole / "checkpoint.safetensors"
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[CHECKPOINT_HEADER])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for key, value in damage.items():
        nested = isinstance(header.get(key), dict) and isinstance(value, dict)
        header[key] = header[key] | value if nested else value
    target = tmp_path / "checkpoint.safetensors"
    save_file(weights, target, metadata={CHECKPOINT_HEADER: json.dumps(header)})
    with pytest.raises(PipelineError, match=re.escape(str(target))) as raised:
        read_checkpoint(tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head.probability.bias": None}, "'head.probability.bias' is missing"),
        ({"another": torch.zeros(1)}, "'another' is not one of its network"),
        ({"head.probability.bias": torch.zeros(7)}, "has shape [7], but its network needs"),
        ({"head.probability.bias": torch.full((4,), torch.nan)}, "not made of finite floats"),
    ],
    ids=str,
)
def test_weights_of_another_network_are_one_sentence(
    whole: Path, tmp_path: Path, changed: dict[str, torch.Tensor | None], message: str
) -> None:
    checkpoint = read_checkpoint(whole)
    weights = {**checkpoint.weights, **changed}
    kept = {name: weight for name, weight in weights.items() if weight is not None}
    write_checkpoint(tmp_path, replace(checkpoint, weights=kept))
    with pytest.raises(PipelineError) as raised:
        read_checkpoint(tmp_path)
    assert message in str(raised.value)
