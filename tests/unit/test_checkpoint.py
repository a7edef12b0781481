"""Checkpoints from strangers: what is wrong with one is said before anything is built of it."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips import write_clip
from parse_runs import T, write_run
from safetensors import safe_open
from safetensors.torch import save_file
from simulated import make_world, write_corpus

import pipeline
from pipeline.cli import main
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
        ({"fingerprints": None}, "'fingerprints' is empty"),
        ({"classes": "speech"}, "'classes'"),
        ({"classes": ["a", "a", "a", "a"]}, "different class names"),
        ({"score": "nan"}, "'score'"),
        ({"seed": None}, "'seed' is empty"),
        ({"released": [1]}, "'released'"),
        ({"recipe": []}, "'recipe'"),
        ({"method": "nobody"}, "'nobody' is not a method"),
        ({"method": None}, "'method' is empty"),
        ({"method": "link"}, "'audio_cmim.alpha' is missing"),
        ({"recipe": {"depth": 3}}, "'depth' is unknown"),
        ({"recipe": {"segment_threshold": float("nan")}}, "'segment_threshold' is nan"),
        ({"recipe": {"video_threshold": 2.0}}, "'video_threshold' is 2.0"),
        ({"recipe": {"width": 16}}, "but its network needs"),
        ({"recipe": {"layers": 2}}, "is missing"),
        ({"dimensions": {"visual": 9}}, "but its network needs"),
        ({"dimensions": {"classes": 5}, "classes": list("abcde")}, "but its network needs"),
        ({"dimensions": {"segments": 0}}, "'dimensions.segments' is 0"),
        ({"dimensions": []}, "'dimensions'"),
        ({"classes": list("abc")}, "3 different class names, but dimensions.classes is 4"),
        ({"classes": ["a", "b", "c", ""]}, "'classes.3' is ''"),
        ({"classes": ["a", "b", "c", "d\n"]}, "'classes.3'"),
        ({"epoch": -1}, "'epoch' is -1"),
        ({"score": float("inf")}, "'score' is inf"),
        ({"fingerprints": {"clip": 3}}, "'fingerprints.clip' is 3"),
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
        ({"head.probability.bias": torch.full((4,), torch.nan)}, "values that are not finite"),
        ({"head.probability.bias": torch.full((4,), -torch.inf)}, "values that are not finite"),
        ({"head.probability.bias": torch.zeros(4).half()}, "is torch.float16, but its network"),
        ({"head.probability.bias": torch.zeros(4).double()}, "is torch.float64, but its network"),
        ({"head.probability.bias": torch.zeros(4).long()}, "is torch.int64, but its network"),
        ({"head.probability.bias": torch.zeros(1, 4)}, "has shape [1, 4], but its network needs"),
        ({"head.probability.bias": torch.zeros(0)}, "has shape [0], but its network needs"),
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


def headed(content: bytes, header: bytes) -> bytes:
    """Return a safetensors file with another header."""
    length = int.from_bytes(content[:8], "little")
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "length only": lambda content: content[:8],
    "cut in its header": lambda content: content[:200],
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte more": lambda content: content + b"0",
    "text": lambda content: b"version https://git-lfs.github.com/spec/v1\n",
    "zeros": lambda content: bytes(len(content)),
    "impossible length": lambda content: b"\xff" * 8 + content[8:],
    "header is no JSON": lambda content: headed(content, b"{" * 64),
    "no metadata": lambda content: headed(content, b"{}"),
    "entry is no JSON": lambda content: content.replace(b'\\"method\\"', b'\\"meth\\"od\\'),
    "no entry": lambda content: content.replace(b'"checkpoint"', b'"checkp0int"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_checkpoint_is_one_sentence(
    whole: Path, tmp_path: Path, damage: str
) -> None:
    content = (whole / "checkpoint.safetensors").read_bytes()
    changed = DAMAGES[damage](content)
    assert changed != content
    (tmp_path / "checkpoint.safetensors").write_bytes(changed)
    with pytest.raises(PipelineError, match="is not a valid checkpoint") as raised:
        read_checkpoint(tmp_path)
    assert "\n" not in str(raised.value)


def too_large(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return finite weights that no longer give numbers."""
    return {name: torch.full_like(weight, 3e38) for name, weight in weights.items()}


def not_a_number(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(weight, torch.nan) for name, weight in weights.items()}


SPOILT = [(not_a_number, "has values that are not finite"), (too_large, "its weights are too")]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_spoilt_weights_end_every_way_in_with_a_sentence(
    spoil: Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_run(tmp_path / "run") / "results/models/link/seed0"
    checkpoint = read_checkpoint(model)
    write_checkpoint(model, replace(checkpoint, weights=spoil(checkpoint.weights)))
    clip, out = write_clip(tmp_path / "clip.mp4", seconds=T), tmp_path / "out"
    with pytest.raises(PipelineError, match=message):
        pipeline.load_parser(model, device="cpu").parse(clip)
    words = ["--checkpoint", str(model), "--out", str(out), "--device", "cpu"]
    assert main(["parse", str(clip), *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(out.glob("**/parsed.json"))

    corpus = write_corpus(tmp_path / "corpus", make_world(classes=5), train=4, evaluated=4)
    trained = ["train", "--method", "valorpp", "--option", "epochs=1", "--option", "width=16"]
    trained += ["--option", "heads=2", *corpus.words(), "--out", str(out), "--fit-only"]
    assert main(trained) == 0
    checkpoint = read_checkpoint(out)
    write_checkpoint(out, replace(checkpoint, weights=spoil(checkpoint.weights)))
    words = ["predict", "--checkpoint", str(out), "--out", str(out), "--split", "val"]
    assert main([*words, *corpus.words()]) == 2
    assert message in capsys.readouterr().err
    assert not list(out.glob("predicted_*"))
