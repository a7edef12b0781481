"""Save and load trained parsers: weights, recipe and data fingerprints, without pickle.

A checkpoint is a safetensors file. Its header is a single sorted JSON value, so the same training
writes the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.core.errors import PipelineError
from pipeline.core.files import atomic_path, existing_file
from pipeline.core.shards import CHECKPOINT_FILE, CHECKPOINT_HEADER
from pipeline.core.validation import as_value_error, validated
from pipeline.core.vocabulary import ClassName
from pipeline.parsers.interface import Dimensions, ParserNetwork, different_sizes
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import THRESHOLDS_FILE, build_network, saved_recipe

FILE = CHECKPOINT_FILE
# Sizes in a header above this are damage; the largest real one is 4,096.
LARGEST_SIZE = 1_000_000
# How to fix a mismatched fingerprint, where the fix is not obvious.
REMEDIES = {
    "labels": "run pseudo-labels with the captions, thresholds and encoders of that run (to parse"
    " videos, pass its parsing.json with --settings)",
    "texts": "use the captions or word vectors of that run",
}


@dataclass(frozen=True)
class Checkpoint:
    """A trained parser.

    Attributes
    ----------
    method, recipe, seed
        How it was trained.
    dimensions, classes
        Feature sizes, and the names of the C classes.
    epoch, score
        The selected epoch and its segment-level Type@AV on validation, in percent.
    fingerprints
        Fingerprints of the features and labels it was trained on.
    weights
        Network weights by name.
    released
        For weights released by a method's authors, what they are: ``model`` (a key of
        ``released.RELEASED``), ``source`` and ``sha256``. Empty for a parser trained here.
    encoders
        Identity of each encoder whose features it was trained on, as far as they have one.
    """

    method: str
    recipe: Recipe
    seed: int
    dimensions: Dimensions
    classes: tuple[str, ...]
    epoch: int
    score: float
    fingerprints: Mapping[str, str]
    weights: Mapping[str, Tensor]
    released: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def build(self) -> ParserNetwork[Any]:
        """Return the trained network in evaluation mode."""
        parser = build_network(self.method, self.dimensions, self.recipe)
        parser.load_state_dict(dict(self.weights))
        return parser.eval()

    def check_features(self, fingerprints: Mapping[str, str]) -> None:
        """Check that features and labels were made like those it was trained on.

        Fingerprints missing from the checkpoint are not compared; older checkpoints have none for
        the labels. Released weights accept any features of the right sizes, because nothing here
        records what they were trained on.

        Raises
        ------
        PipelineError
            A fingerprint or the layout differs.
        """
        if self.released:
            return
        layout, given = (made.get("layout", "shards") for made in (self.fingerprints, fingerprints))
        if layout != given:
            raise PipelineError(
                f"this checkpoint was trained with --layout {layout}, but the features have "
                f"--layout {given}; use the same layout, or retrain."
            )
        for kind, trained_on in self.fingerprints.items():
            found = fingerprints.get(kind, "none")
            if found != trained_on:
                raise PipelineError(
                    f"this checkpoint was trained on {kind} '{trained_on}', but got '{found}'; "
                    f"{REMEDIES.get(kind, 'use the same')}, or retrain."
                )

    def check_dimensions(self, dimensions: Dimensions) -> None:
        """Check that features have the sizes it was trained on.

        Raises
        ------
        PipelineError
            A size differs.
        """
        expected, found = different_sizes(self.dimensions, dimensions)
        if expected:
            raise PipelineError(
                f"this checkpoint was trained on features with {expected}, but got {found}; "
                "use the same features, or retrain."
            )


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint.safetensors`` into a folder, atomically.

    Thresholds that an earlier checkpoint of the folder predicted with are removed.
    """
    header: dict[str, Any] = {
        "method": checkpoint.method,
        "recipe": checkpoint.recipe.model_dump(),
        "seed": checkpoint.seed,
        "dimensions": asdict(checkpoint.dimensions),
        "classes": checkpoint.classes,
        "epoch": checkpoint.epoch,
        "score": checkpoint.score,
        "fingerprints": dict(checkpoint.fingerprints),
    }
    if checkpoint.released:
        header["released"] = dict(checkpoint.released)
    if checkpoint.encoders:
        header["encoders"] = {name: dict(each) for name, each in checkpoint.encoders.items()}
    weights = {name: weight.contiguous() for name, weight in checkpoint.weights.items()}
    metadata = {CHECKPOINT_HEADER: json.dumps(header, sort_keys=True)}
    (folder / THRESHOLDS_FILE).unlink(missing_ok=True)
    with atomic_path(folder / FILE) as temporary:
        save_file(weights, temporary, metadata=metadata)


class _Sizes(BaseModel):
    """``Dimensions`` as a header may give them: bounded, as its author is unknown."""

    audio: int = Field(ge=1, le=LARGEST_SIZE)
    visual: int = Field(ge=1, le=LARGEST_SIZE)
    motion: int = Field(ge=0, le=LARGEST_SIZE)
    text_audio: int = Field(ge=0, le=LARGEST_SIZE)
    text_visual: int = Field(ge=0, le=LARGEST_SIZE)
    segments: int = Field(ge=1, le=LARGEST_SIZE)
    classes: int = Field(ge=1, le=LARGEST_SIZE)


class _Header(BaseModel):
    """The JSON header of a checkpoint."""

    method: str
    recipe: dict[str, Any]
    seed: int
    dimensions: _Sizes
    classes: tuple[ClassName, ...] = Field(min_length=1)
    epoch: int = Field(ge=0)
    score: float = Field(allow_inf_nan=False)
    fingerprints: dict[str, str]
    released: dict[str, str] = {}
    encoders: dict[str, dict[str, str]] = {}

    @model_validator(mode="after")
    def _check_classes(self) -> "_Header":
        if len(set(self.classes)) != self.dimensions.classes:
            raise ValueError(
                f"{len(set(self.classes))} different class names, but dimensions.classes is"
                f" {self.dimensions.classes}"
            )
        return self


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder's ``checkpoint.safetensors``.

    Raises
    ------
    PipelineError
        The file is missing, truncated or not a checkpoint, its weights are not those of its
        network, or its method or an option of its recipe no longer exists.
    """
    path = existing_file(folder / FILE, "a checkpoint")
    try:
        with safe_open(str(path), framework="pt") as file:
            content = json.loads((file.metadata() or {})[CHECKPOINT_HEADER])
            with as_value_error():
                header = validated(_Header, content, "header field")
            recipe = saved_recipe(path, header.method, header.recipe)
            dimensions = Dimensions(**header.dimensions.model_dump())
            expected = _empty_weights(header.method, dimensions, recipe)
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            _check_shapes(shapes, expected)
            weights = {name: file.get_tensor(name) for name in shapes}
        for name, weight in weights.items():
            if weight.dtype != expected[name].dtype:
                raise ValueError(
                    f"the weight '{name}' is {weight.dtype}, but its network needs"
                    f" {expected[name].dtype}"
                )
            if not weight.isfinite().all():
                raise ValueError(f"the weight '{name}' has values that are not finite")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"'{path}' is not a valid checkpoint ({str(error).rstrip('.')}); train the parser"
            " again."
        ) from None
    return Checkpoint(
        method=header.method,
        recipe=recipe,
        seed=header.seed,
        dimensions=dimensions,
        classes=header.classes,
        epoch=header.epoch,
        score=header.score,
        fingerprints=header.fingerprints,
        weights=weights,
        released=header.released,
        encoders=header.encoders,
    )


def _empty_weights(method: str, dimensions: Dimensions, recipe: Recipe) -> Mapping[str, Tensor]:
    """Return the weights of a network, without memory for their numbers."""
    with torch.device("meta"):
        weights: Mapping[str, Tensor] = build_network(method, dimensions, recipe).state_dict()
    return weights


def _check_shapes(found: Mapping[str, Sequence[int]], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError if weights are missing, unknown or of another shape."""
    if missing := expected.keys() - found.keys():
        raise ValueError(f"the weight '{min(missing)}' is missing")
    if unknown := found.keys() - expected.keys():
        raise ValueError(f"the weight '{min(unknown)}' is not one of its network")
    for name, shape in found.items():
        if list(shape) != list(expected[name].shape):
            raise ValueError(
                f"the weight '{name}' has shape {list(shape)}, but its network needs"
                f" {list(expected[name].shape)}"
            )
