"""Read the folders of trained parsers for the report, the comparison and the ablation."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file
from pipeline.core.reading import read_json
from pipeline.core.shards import CHECKPOINT_FILE, CHECKPOINT_HEADER
from pipeline.core.vocabulary import MODALITIES
from pipeline.data.annotations import SCORED_SPLITS
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.features.encoders.identity import Identity
from pipeline.parsers.recipes import Recipe, Selection
from pipeline.parsers.registry import METHODS, saved_recipe
from pipeline.parsers.released import released_model

Evaluation = dict[str, Any]
Encoders = Mapping[str, Identity]  # encoder to its identity

# Keys of a checkpoint's header that the report needs.
HEADER_KEYS = ("method", "recipe", "seed", "epoch", "fingerprints")
# Suffix of the group of a model whose weights were released, such as `valorpp_released`.
RELEASED_SUFFIX = "_released"
# Display names of a recipe's gate: g is the probability over both modalities, p over one.
GATES = {
    "global": "gate g",
    "modality": "gates p",
    "mixed": "gates g for A, p for V",
    "either": "gate max p",
}
# Display names of the validation metrics that choose an epoch.
SELECTIONS: Mapping[Selection, str] = {
    "segment_type": "seg. Type",
    "segment_audio": "seg. A",
    "event_audio": "ev. A",
    "event_event": "ev. Event",
    "all": "mean of ten",
    "only": "mean of ten, A and V in one modality only",
}


@dataclass(frozen=True)
class PartOf:
    """The published method of which a method implements only a part.

    Attributes
    ----------
    method
        Its name in published.yaml.
    note
        What is missing.
    """

    method: str
    note: str


# Display names of methods that must not be taken for published ones.
PARTS = {
    "DG-SCT, temporal part": PartOf(
        "DG-SCT",
        "not DG-SCT but its temporal gates and MGN, on features; DG-SCT also trains adapters "
        "inside frozen backbones, on raw frames and sound",
    )
}


@dataclass(frozen=True)
class TrainedParser:
    """One method trained with one seed.

    Attributes
    ----------
    display_name
        Name in tables and plots.
    method, seed, recipe
        How it was trained, from its checkpoint.
    fingerprints
        Fingerprints of the features it was trained on, by encoder.
    folder
        Model folder.
    evaluations
        Split to evaluation (see ``pipeline.evaluation.evaluate``).
    curve
        One row per epoch: column to value, NaN where a phase has no such loss term; empty for
        released weights.
    encoders
        Identity of each encoder whose features it was trained on, as far as it is recorded.
    epoch
        The selected epoch, as the curve counts.
    released
        Key of the released model whose weights it has (``released.RELEASED``); empty if it was
        trained here.
    """

    display_name: str
    method: str
    seed: int
    recipe: Recipe
    fingerprints: Mapping[str, str]
    folder: Path
    evaluations: Mapping[str, Evaluation]
    curve: tuple[Mapping[str, float], ...]
    encoders: Encoders = field(default_factory=dict)
    epoch: int = 0
    released: str = ""

    @property
    def group(self) -> str:
        """Name of its group in a comparison: its method, or the released model."""
        return self.released + RELEASED_SUFFIX if self.released else self.method

    @property
    def layout(self) -> str:
        """Layout of its features on disk: ``shards``, or a layout of ``.npy`` files."""
        return self.fingerprints.get("layout", "shards")

    @property
    def inputs(self) -> str:
        """Features it uses, in the notation of published.yaml."""
        names = ["VGGish", "ResNet-152"] if self.layout == "han" else ["CLAP", "CLIP"]
        return ", ".join([*names, *(["R(2+1)D"] if self.recipe.motion else [])])

    @property
    def protocol(self) -> str:
        """How its probabilities become events, in the notation of published.yaml."""
        gate = GATES[self.recipe.gate]
        video, segment = self.recipe.video_threshold, self.recipe.segment_threshold
        return f"{gate}, {video:g}" + ("" if segment == video else f"; segments {segment:g}")

    def labels(self, dense: Sequence[str] = ()) -> str:
        """Return the labels it learnt from and, after "also", further dense labels.

        ``dense`` are those that the run's pseudo-labels rest on (``artifacts.dense_labels``).
        """
        also = self.recipe.extra_supervision
        if self.recipe.uses_pseudo_labels and not self.released:
            also = ", ".join(filter(None, [also, *(each for each in dense if each not in also)]))
        return self.recipe.supervision + (f"; also {also}" if also else "")

    @property
    def selected_by(self) -> str:
        """Validation metric that chose its epoch, as in the tables' headers."""
        return (
            "–" if self.released else ", ".join(SELECTIONS[each] for each in self.recipe.selections)
        )

    @property
    def validation_type(self) -> tuple[float, float]:
        """Segment-level Type@AV on validation: at the selected epoch, and at the best one.

        Epochs of other phases, which train other networks, do not count. NaN without a curve.
        """
        chosen = next((row for row in self.curve if row["epoch"] == self.epoch), None)
        if chosen is None:
            return math.nan, math.nan
        phase = [row for row in self.curve if row.get("phase") == chosen.get("phase")]
        best = max(row["val_segment_type"] for row in phase)
        return chosen["val_segment_type"], best


def read_parsers(
    folders: Iterable[Path], are_variants: bool = False
) -> dict[str, tuple[TrainedParser, ...]]:
    """Read model folders, grouped by method and sorted by seed.

    Released weights form a group of their own, such as ``valorpp_released``. Method and seed come
    from the checkpoint, not from the folder name. Only variants of a method are named after their
    folders, ``VARIANT/seed{S}`` or ``VARIANT``.

    Raises
    ------
    PipelineError
        A checkpoint, curve or metrics.json is missing or malformed, a seed is given twice, or
        the parsers of a group differ in more than their seeds.
    """
    found: dict[str, list[TrainedParser]] = {}
    for folder in folders:
        parser = _read_parser(folder, are_variants)
        group = found.setdefault(parser.display_name if are_variants else parser.group, [])
        for other in group:
            _require_only_seed_differs(parser, other)
        group.append(parser)
    return {
        name: tuple(sorted(parsers, key=lambda parser: parser.seed))
        for name, parsers in found.items()
    }


def read_checkpoint_header(
    folder: Path, weights: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return how a checkpoint was trained, and those of ``weights`` that it contains.

    Does not use torch, which the report's environment lacks.

    Raises
    ------
    PipelineError
        The checkpoint is missing or invalid.
    """
    path = existing_file(folder / CHECKPOINT_FILE, "a checkpoint")
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = json.loads((file.metadata() or {})[CHECKPOINT_HEADER])
            known = set(file.keys())
            found = {name: file.get_tensor(name) for name in weights if name in known}
        required = {key: header[key] for key in HEADER_KEYS}
        optional = {key: header.get(key, {}) for key in ("released", "encoders")}
        return {**required, **optional}, found
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"'{path}' is not a valid checkpoint ({error}); train the parser again."
        ) from None


def read_result(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises
    ------
    PipelineError
        The file is missing or not JSON.
    """
    return read_json(path, "a result of the run", "rerun its stage")


def require_splits(value: Any, path: Path) -> None:
    """Check that scores cover all scored splits."""
    absent = [split for split in SCORED_SPLITS if not isinstance(value, dict) or split not in value]
    if absent:
        raise PipelineError(
            f"'{path}' has no evaluation of '{absent[0]}'; the report needs scores of "
            f"{' and '.join(SCORED_SPLITS)}."
        )


def check_trained(evaluations: Any, path: Path) -> dict[str, Evaluation]:
    """Check that evaluations contain everything the report shows, and return them by name."""
    try:
        corrected = [each["corrected"] for each in evaluations.values() if "corrected" in each]
        for evaluation in corrected:
            dict(evaluation["replaced"])
        for evaluation in (*evaluations.values(), *corrected):
            int(evaluation["videos"])
            for level in LEVELS:
                for modality in MODALITIES:
                    dict(evaluation["per_class"][level][modality])
                for metric in METRICS:
                    float(evaluation["metrics"][level][metric])
                    low, high = evaluation["intervals"][level][metric]
                    float(low), float(high)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"'{path}' is not a valid evaluation ({type(error).__name__}: {error}); evaluate again."
        ) from None
    return dict(evaluations)


def _read_parser(folder: Path, is_variant: bool) -> TrainedParser:
    header, _ = read_checkpoint_header(folder)
    method, seed = header["method"], header["seed"]
    recipe = saved_recipe(folder / CHECKPOINT_FILE, method, header["recipe"])
    absolute = folder.absolute()
    variant = (absolute.parent if absolute.name == f"seed{seed}" else absolute).name
    released = header["released"].get("model", "")
    if not (folder / "metrics.json").is_file():
        raise PipelineError(
            f"'{folder}' is trained but has no scores (metrics.json); run predict and"
            " evaluate-model, or leave it out."
        )
    evaluations = read_result(folder / "metrics.json")
    require_splits(evaluations, folder / "metrics.json")
    title = released_model(released).title if released else METHODS[method].display_name
    return TrainedParser(
        display_name=variant if is_variant else title,
        method=method,
        seed=seed,
        recipe=recipe,
        fingerprints=header["fingerprints"],
        folder=folder,
        evaluations=check_trained(evaluations, folder / "metrics.json"),
        curve=() if released else _read_curve(folder / "curve.csv"),
        encoders=header["encoders"],
        epoch=header["epoch"],
        released=released,
    )


def _read_curve(path: Path) -> tuple[Mapping[str, float], ...]:
    with existing_file(path, "a training curve").open(encoding="utf-8", newline="") as file:
        try:
            return tuple(
                {key: float(value or "nan") for key, value in row.items()}
                for row in csv.DictReader(file)
            )
        except (TypeError, ValueError) as error:
            raise PipelineError(
                f"'{path}' is not a valid training curve ({error}); train the parser again."
            ) from None


def _require_only_seed_differs(parser: TrainedParser, other: TrainedParser) -> None:
    """Check that two parsers of a group differ only in their seeds, so they can be averaged."""
    if parser.seed == other.seed:
        raise PipelineError(
            f"'{other.folder}' and '{parser.folder}' are both {parser.display_name} with seed "
            f"{parser.seed}; pass each seed once, or compare variants of a method with ablation."
        )
    options, other_options = (
        {"method": one.method} | one.recipe.model_dump() for one in (parser, other)
    )
    for key in options | other_options:
        if options.get(key) != other_options.get(key):
            raise PipelineError(
                f"'{other.folder}' is {parser.display_name} with {key}={other_options.get(key)}, "
                f"but '{parser.folder}' has {key}={options.get(key)}; train all seeds with the "
                "same options, or compare variants of a method with ablation."
            )
