"""Check VALOR++'s published numbers with its released weights and features on LLP's test split."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from pipeline.core.errors import PipelineError
from pipeline.core.files import RESOURCES, existing_file, sha256_of
from pipeline.core.references import parse_hub_reference
from pipeline.core.vocabulary import Vocabulary
from pipeline.core.wording import counted
from pipeline.data.annotation_checks import LLP_RELEASES
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, read_names
from pipeline.data.archives import ArrayArchive
from pipeline.data.fetch import fetch
from pipeline.data.hub import fetch_hub_file
from pipeline.doctor.machine import CheckLine, guarded
from pipeline.evaluation.evaluate import evaluate_arrays, read_predictions
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.features.npy_layouts import LAYOUTS, load_npy, npy_paths, write_npy
from pipeline.features.verify import NORM_TOLERANCE
from pipeline.parsers.checkpoint import Checkpoint, read_checkpoint
from pipeline.parsers.released import (
    RELEASED_REPOSITORY,
    import_released,
    released_model,
)
from pipeline.report.comparable import SPLIT
from pipeline.report.published import read_published
from pipeline.report.tables import METRIC_TITLES
from pipeline.training.npy_source import NpySource
from pipeline.training.predict import predict

MODEL = "valorpp"
LAYOUT = LAYOUTS["valor"]
FEATURES_REPOSITORY = "hf:datasets/NTUBarista/valor_features"
# Tables that the score depends on.
SCORED_TABLES = (SPLIT_TABLES[SPLIT], *EVENT_TABLES.values())
# Shapes of a released file: R(2+1)D is HAN's; CLAP's map may be pooled already.
SHAPES = {
    "audio": ((64, 768), (10, 768)),
    "visual": ((10, 768),),
    "motion": ((10, 512),),
}
KIND_TITLES = {"audio": "CLAP", "visual": "CLIP", "motion": "R(2+1)D"}
# Folder of 3-D features that is linked to those of --motion.
MOTION_FOLDER = LAYOUT.motion[0]
# Published numbers have one decimal.
PUBLISHED_TOLERANCE = 0.1
# CLAP's map in float64.
LARGEST_ARRAY_BYTES = 64 * 768 * 8

LevelScores = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class LlpSources:
    """Where the parts of the check come from.

    Attributes
    ----------
    out
        Folder for what is fetched and computed.
    annotations
        Folder of LLP's tables; None downloads them.
    tables
        Table name to its address and SHA-256, for the download.
    features
        Folder of features in VALOR's layout, or with CLIP.zip and CLAP.zip; None downloads these.
    motion
        Folder of R(2+1)D features, ``{id}.npy``; None looks for ``st/`` or
        ``feats/r2plus1d_18/`` in ``features``.
    checkpoint
        Released file, or where it is on the Hub.
    """

    out: Path
    annotations: Path | None = None
    tables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    features: Path | None = None
    motion: Path | None = None
    checkpoint: str = RELEASED_REPOSITORY

    @property
    def model(self) -> Path:
        """Folder of the imported checkpoint and its predictions."""
        return self.out / f"{MODEL}_released" / f"seed{released_model(MODEL).seed}"


def check_llp(
    sources: LlpSources,
    vocabulary: Vocabulary,
    device: torch.device,
    expected: LevelScores | None = None,
    known_tables: Mapping[str, str] = LLP_RELEASES,
) -> Iterator[CheckLine]:
    """Predict the test split with the released VALOR++, and compare its score with the paper's.

    Parameters
    ----------
    sources
        Where tables, features and weights come from.
    vocabulary
        LLP's classes.
    device
        Device to predict on.
    expected
        Level to the five scores that should come out; default: the published ones.
    known_tables
        SHA-256 to name of the tables' releases.

    Yields
    ------
    CheckLine
        One or more for each part: tables, checkpoint, features, metrics.
    """
    wrong: dict[str, None] = {}

    def checked(part: str, name: str, check: Callable[..., CheckLine], *values: Any) -> CheckLine:
        line = guarded(name, check, *values)
        if line.state == "wrong":
            wrong[part] = None
        return line

    annotations = sources.annotations or sources.out / "annotations"
    for table in SCORED_TABLES:
        yield checked("tables", table, _table, table, annotations, sources, known_tables)
    yield checked("checkpoint", "checkpoint", _import, sources, vocabulary)
    checkpoint = None if wrong.keys() & {"checkpoint"} else read_checkpoint(sources.model)
    folder = sources.features or sources.out / "features"
    try:
        names = read_names(annotations / SPLIT_TABLES[SPLIT])
        folder = _feature_folder(sources, names)
    except PipelineError as error:
        wrong["features"] = None
        yield CheckLine("features", str(error), "wrong")
    else:
        for kind in _kinds(checkpoint):
            yield checked("features", KIND_TITLES[kind], _features, kind, folder, names)
    try:
        if checkpoint is None:
            raise PipelineError("not computed, because there is no checkpoint to predict with.")
        videos, found = _scores(sources.model, folder, annotations, vocabulary, device)
    except PipelineError as error:
        wrong["metrics"] = None
        yield CheckLine("metrics", str(error), "wrong")
    else:
        yield CheckLine("predicted", f"{counted(videos, 'test video')}, in '{sources.model}'")
        goal = expected or published_scores()
        for level in LEVELS:
            name = f"{level} level"
            yield checked("metrics", name, _metric_line, name, found[level], goal[level])
    yield _verdict(list(wrong))


def published_scores() -> LevelScores:
    """Return VALOR++'s published scores: level to A, V, AV, Type and Event in percent."""
    rows = read_published(RESOURCES / "published.yaml")
    name = released_model(MODEL).display_name
    row = next(row for row in rows if row.method == name)
    values = [score.mean for score in row.cells]
    return {"segment": values[: len(METRICS)], "event": values[len(METRICS) :]}


def _table(name: str, folder: Path, sources: LlpSources, known: Mapping[str, str]) -> CheckLine:
    """Check that a table is a known release of LLP; download it if no folder was given."""
    if sources.annotations is None:
        url, sha256 = sources.tables[name]
        fetch(url, folder / name, sha256)
    digest = sha256_of(existing_file(folder / name, "an annotation table"))
    if digest in known:
        return CheckLine(name, known[digest])
    detail = f"has SHA-256 {digest}, which is not a known LLP release; use the original table."
    return CheckLine(name, detail, "wrong")


def _import(sources: LlpSources, vocabulary: Vocabulary) -> CheckLine:
    """Import the released weights; their names and shapes are checked."""
    checkpoint = import_released(MODEL, sources.checkpoint, vocabulary, sources.model)
    motion = "with" if checkpoint.recipe.motion else "without"
    count = sum(weight.numel() for weight in checkpoint.weights.values())
    source, sha256 = checkpoint.released["source"], checkpoint.released["sha256"]
    detail = f"{count:,} parameters, {motion} R(2+1)D, SHA-256 {sha256}, {source}"
    return CheckLine("checkpoint", detail)


def _kinds(checkpoint: Checkpoint | None) -> list[str]:
    """Return the kinds of features that a checkpoint reads; all of them if it is not known."""
    needs_motion = checkpoint is None or checkpoint.recipe.motion
    return ["audio", "visual", *(["motion"] if needs_motion else [])]


def _feature_folder(sources: LlpSources, names: Sequence[str]) -> Path:
    """Return a folder in VALOR's layout with the features of some videos.

    The given folder is used as it is, unless something has to be downloaded, extracted or added.
    """
    given, made = sources.features, sources.out / "features"
    archives = {}
    for kind in (LAYOUT.audio, LAYOUT.visual):
        archive = f"{PurePosixPath(kind).parts[0]}.zip"
        if given is None:
            reference = parse_hub_reference(f"{FEATURES_REPOSITORY}/{archive}")
            fetch_hub_file(reference, reference.path)
            archives[kind] = reference.path
        elif (given / archive).is_file():  # first, as a folder beside it may be half extracted
            archives[kind] = given / archive
    if given is not None and not archives and sources.motion is None:
        return given
    for kind, archive_path in archives.items():
        extract_features(archive_path, names, made / kind)
    links = {} if sources.motion is None else {MOTION_FOLDER: sources.motion}
    if given is not None:
        kept = {LAYOUT.audio, LAYOUT.visual, *LAYOUT.motion} - archives.keys() - links.keys()
        links |= {kind: given / kind for kind in kept if (given / kind).is_dir()}
    for kind, target in links.items():
        _link(made / kind, target)
    return made


def extract_features(archive: Path, names: Sequence[str], folder: Path) -> None:
    """Extract the features of some videos from a released archive: ``features/{id}.npy``.

    Files are named by the videos, never by the archive.

    Raises
    ------
    PipelineError
        The archive or a member is damaged, or a member is too large.
    """
    with ArrayArchive(archive) as opened:
        paths = map(PurePosixPath, opened.names())
        members = {path.name: str(path) for path in paths if path.parent.name == "features"}
        for target in npy_paths(folder, names):
            if target.name in members:
                write_npy(target, opened.read(members[target.name], LARGEST_ARRAY_BYTES))


def _link(place: Path, target: Path) -> None:
    """Make ``place`` a link to a folder, whatever link it was."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    if place.exists():
        raise PipelineError(f"'{place}' is in the way; delete it, or choose another --out.")
    place.symlink_to(target.absolute(), target_is_directory=True)


def _features(kind: str, folder: Path, names: Sequence[str]) -> CheckLine:
    """Check the features of one kind: files, shapes, values, and CLIP's norms."""
    title = KIND_TITLES[kind]
    candidates = LAYOUT.motion if kind == "motion" else (getattr(LAYOUT, kind),)
    place = next((folder / each for each in candidates if (folder / each).is_dir()), None)
    if place is None:
        add = "; pass HAN's r2plus1d_18 folder with --motion." if kind == "motion" else "."
        wanted = " or ".join(f"'{folder / each}'" for each in candidates)
        return CheckLine(title, f"the checkpoint needs {wanted}, which is missing{add}", "wrong")
    paths = [path for path in npy_paths(place, names) if path.is_file()]
    covered = f"{len(paths)} of {len(names)} test videos"
    shapes: set[tuple[int, ...]] = set()
    largest = 0.0
    for path in paths:
        array = load_npy(path)
        shapes.add(array.shape)
        if array.shape not in SHAPES[kind] or len(shapes) > 1:
            allowed = " or ".join("x".join(map(str, shape)) for shape in SHAPES[kind])
            seen = ", ".join("x".join(map(str, shape)) for shape in sorted(shapes))
            detail = f"'{path}' makes the shapes {seen}, but all files must be {allowed}."
            return CheckLine(title, detail, "wrong")
        if not np.isfinite(array).all():
            return CheckLine(title, f"'{path}' has values that are not finite.", "wrong")
        if kind == "visual":
            largest = max(largest, float(np.abs(np.linalg.norm(array, axis=1) - 1).max()))
    if len(paths) < len(names):
        missing = next(path.stem for path in npy_paths(place, names) if not path.is_file())
        detail = f"{covered} have features in '{place}', but all must ('{missing}' has none)."
        return CheckLine(title, detail, "wrong")
    if largest > NORM_TOLERANCE:
        detail = f"lengths differ from 1 by up to {largest:.3g}, but must be L2-normalised."
        return CheckLine(title, detail, "wrong")
    shape = "x".join(map(str, next(iter(shapes))))
    normalised = ", L2-normalised" if kind == "visual" else ""
    return CheckLine(title, f"{covered}, {shape}{normalised}, '{place}'")


def _scores(
    model: Path, features: Path, annotations: Path, vocabulary: Vocabulary, device: torch.device
) -> tuple[int, LevelScores]:
    """Predict the test split; return the number of videos and the scores."""
    source = NpySource(features, "valor")
    predict(model, source, annotations, [SPLIT], vocabulary, model, device)
    parsed = read_predictions(model, SPLIT, annotations, vocabulary)
    found = evaluate_arrays(SPLIT, parsed.names, parsed.truth, parsed.predicted, vocabulary)
    metrics = found["metrics"]
    scores = {level: [metrics[level][metric] for metric in METRICS] for level in LEVELS}
    return len(parsed.names), scores


def _metric_line(name: str, found: Sequence[float], expected: Sequence[float]) -> CheckLine:
    """Return the scores of a level, with the expected one where it differs."""
    cells, differ = [], False
    for metric, score, goal in zip(METRICS, found, expected, strict=True):
        cell = f"{METRIC_TITLES[metric]} {score:.1f}"
        if abs(score - goal) > PUBLISHED_TOLERANCE:
            cell += f" (published {goal:.1f}, difference {score - goal:+.2f})"
            differ = True
        cells.append(cell)
    return CheckLine(name, ", ".join(cells), "wrong" if differ else "ok")


def _verdict(wrong: Sequence[str]) -> CheckLine:
    """Return which parts disagree."""
    name = released_model(MODEL).display_name
    if not wrong:
        return CheckLine("result", f"the published numbers of {name} are reproduced to 0.1")
    others = [part for part in wrong if part != "metrics"]
    if not others:
        detail = (
            "the metrics differ although tables, checkpoint and features look as released; compare"
            " the features and SHA-256 with the authors' files."
        )
    elif "metrics" in wrong:
        detail = f"the metrics differ or are missing, and so may be due to: {', '.join(others)}."
    else:
        detail = f"the metrics agree, but these parts are not as released: {', '.join(others)}."
    return CheckLine("result", detail, "wrong")
