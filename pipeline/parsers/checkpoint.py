"""A trained parser on disk: its weights and all that is needed to use them, without pickle.

The file is a safetensors file; its header holds one JSON value, so the same training gives the
same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.core.errors import PipelineError
from pipeline.core.files import atomic_path, existing_file
from pipeline.core.shards import CHECKPOINT_FILE, CHECKPOINT_HEADER
from pipeline.parsers.interface import Dimensions, ParserNetwork, different_sizes
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import build_network, saved_recipe

FILE = CHECKPOINT_FILE
# What to do about a fingerprint that differs, where it is not plain.
REMEDIES = {
    "labels": "run pseudo-labels with its captions, thresholds and encoders, to parse name the"
    " parsing.json of its run with --settings,"
}


@dataclass(frozen=True)
class Checkpoint:
    """A trained parser.

    Attributes
    ----------
    method, recipe, seed
        How it was trained.
    dimensions, classes
        Sizes of its features, and the names of its C classes.
    epoch, score
        The epoch that was kept and its validation segment-level Type@AV, in percent.
    fingerprints
        What made the features and labels it was trained on.
    weights
        The network's weights by name.
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

    def build(self) -> ParserNetwork:
        """Return the trained network, ready to parse."""
        parser = build_network(self.method, self.dimensions, self.recipe)
        parser.load_state_dict(dict(self.weights))
        return parser.eval()

    def check_features(self, fingerprints: Mapping[str, str]) -> None:
        """Refuse features and labels made in another way than those it was trained on.

        What the checkpoint says nothing of, an older one of its labels, is not compared.

        Raises
        ------
        PipelineError
            A fingerprint differs, or they are of another layout.
        """
        layout, given = (made.get("layout", "shards") for made in (self.fingerprints, fingerprints))
        if layout != given:
            raise PipelineError(
                f"this checkpoint was trained on features of --layout {layout}, but those of "
                f"--layout {given} are given; use the same layout or train again."
            )
        for kind, trained_on in self.fingerprints.items():
            found = fingerprints.get(kind, "none")
            if found != trained_on:
                raise PipelineError(
                    f"this checkpoint was trained on {kind} '{trained_on}', but '{found}' is given;"
                    f" {REMEDIES.get(kind, 'use the same')} or train again."
                )

    def check_dimensions(self, dimensions: Dimensions) -> None:
        """Refuse features of other sizes than those it was trained on.

        Raises
        ------
        PipelineError
            A size differs.
        """
        ours, theirs = different_sizes(self.dimensions, dimensions)
        if ours:
            raise PipelineError(
                f"this checkpoint was trained on features of {ours}, but those given are of "
                f"{theirs}; use the same or train again."
            )


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint.safetensors`` into a folder, atomically."""
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
    weights = {name: weight.contiguous() for name, weight in checkpoint.weights.items()}
    metadata = {CHECKPOINT_HEADER: json.dumps(header, sort_keys=True)}
    with atomic_path(folder / FILE) as temporary:
        save_file(weights, temporary, metadata=metadata)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder's ``checkpoint.safetensors``.

    Raises
    ------
    PipelineError
        It is missing, cut short, not one of ours, or of a method or option that is no more.
    """
    path = existing_file(folder / FILE, "a checkpoint")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})[CHECKPOINT_HEADER])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Checkpoint(
            method=header["method"],
            recipe=saved_recipe(path, header["method"], header["recipe"]),
            seed=header["seed"],
            dimensions=Dimensions(**header["dimensions"]),
            classes=tuple(header["classes"]),
            epoch=header["epoch"],
            score=header["score"],
            fingerprints=header["fingerprints"],
            weights=weights,
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PipelineError(f"'{path}' is not a whole checkpoint ({error}); train again.") from None
