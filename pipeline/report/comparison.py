"""Compare trained parsers: a leaderboard, and the significance of differences to a reference.

All scores are on the test split. Scores of a video are averaged over the seeds of a method before
videos are resampled: intervals show the variation over videos, and standard deviations the
variation over seeds.
Axes: M metrics of both levels, N videos.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_text
from pipeline.core.shards import LABELS_FILE, ShardReader
from pipeline.core.vocabulary import Vocabulary
from pipeline.data.annotations import SPLIT_TABLES, read_names
from pipeline.evaluation.bootstrap import (
    BOOTSTRAP_DRAWS,
    Floats,
    bootstrap_means,
    percentile_interval,
)
from pipeline.evaluation.evaluate import read_predictions
from pipeline.evaluation.metrics import LEVELS, METRICS, score
from pipeline.parsers.checkpoint import read_checkpoint
from pipeline.parsers.released import RELEASED
from pipeline.report.artifacts import are_calibrated, are_released
from pipeline.report.comparable import SPLIT, read_comparable, seed_mismatch_note
from pipeline.report.tables import (
    HOW_CALIBRATED,
    HOW_DESCRIBED,
    HOW_RELEASED,
    METRIC_HEADER,
    PublishedRow,
    ResultRow,
    aligned_markdown,
    csv_table,
    parser_row,
    published_markdown,
    with_notes,
    write_csv,
)
from pipeline.report.trained import TrainedParser

# Rows of a score table ``[M, N]`` whose differences are tested.
TESTED = tuple(
    (column, level, metric)
    for column, (level, metric) in enumerate(product(LEVELS, METRICS))
    if metric in {"type", "event"}
)
# Largest rounding difference in percent between metrics.json and a recomputed score.
TOLERANCE = 1e-6

HOW_COMPARED = (
    "F1 in percent on the test split, computed with LLP's published evaluator; mean ± sample "
    "standard deviation over seeds. All methods are scored on the same videos and, according to "
    "their checkpoints, trained on the same features and labels. Each seed is scored at the epoch "
    "with the best segment-level Type@AV on validation. Videos: scored / in the split. Parameters: "
    "trainable parameters. Training: mean wall time per seed."
)
HOW_RESAMPLED = (
    f"95% percentile bootstrap intervals over videos ({BOOTSTRAP_DRAWS} resamples); the score of "
    "each video is averaged over seeds."
)
HOW_TESTED = (
    "Difference to {reference} in percentage points: mean, 95% interval of a paired bootstrap over "
    "videos, and the share of resamples in which the sign of the difference flips."
)
HOW_PUBLISHED = (
    "Published results: LLP's 1,200 test videos, published evaluator, one value per work, as "
    "printed in the source."
)
HOW_BESIDE = (
    "Mean over seeds of this run, and in brackets the published value and the difference in "
    "percentage points."
)
# Methods whose published results stand under another name.
PUBLISHED_AS = {"LINK, as printed": "LINK"}
PUBLISHED_AS |= {model.title: model.display_name for model in RELEASED.values()}
# What published.yaml calls classic, in the notation of a parser's inputs.
CLASSIC_INPUTS = "VGGish, ResNet-152, R(2+1)D"
NOT_COMPARABLE = "Not comparable with the tables above, which use a different set of videos."


@dataclass(frozen=True)
class Standing:
    """Results of one method on the test split.

    Attributes
    ----------
    row
        Its row of the result table.
    per_video : ``[M, N]``
        All metrics of both levels in percent, averaged over seeds; videos sorted by name.
    parameters
        Number of trainable parameters.
    seconds
        Training wall time, averaged over seeds; None for released weights.
    """

    row: ResultRow
    per_video: Floats
    parameters: int
    seconds: float | None

    def intervals(self) -> list[list[float]]:
        """Return the interval ``[low, high]`` of each metric in percent, see ``HOW_RESAMPLED``."""
        ends: list[list[float]] = percentile_interval(bootstrap_means(self.per_video)).tolist()
        return ends


@dataclass(frozen=True)
class Difference:
    """Difference between two methods in one metric.

    Attributes
    ----------
    mean, low, high
        Difference and its 95% interval, in percentage points.
    flips
        Share of resamples in [0, 1] whose difference is 0 or has the opposite sign of ``mean``;
        1 if ``mean`` is 0.
    """

    mean: float
    low: float
    high: float
    flips: float

    def __str__(self) -> str:
        ends = f"[{self.low:+.1f}, {self.high:+.1f}]"
        return f"{self.mean:+.1f} {ends} {100 * self.flips:.1f}%"


def compare(
    folders: Iterable[Path],
    annotations: Path,
    vocabulary: Vocabulary,
    reference: str,
    published: Sequence[PublishedRow],
    is_llp: bool,
    out: Path,
    pseudo_labels: Path | None = None,
) -> str:
    """Write compare.md and compare.csv; return the leaderboard as text.

    Parameters
    ----------
    folders, annotations, vocabulary, reference
        See ``read_standings``.
    published, is_llp
        Published results, and whether the videos are LLP's, so that both share one table.
    out
        Output folder.
    pseudo_labels
        Folder of the pseudo-labels, to note whether their thresholds were calibrated; or None.

    Raises
    ------
    PipelineError
        See ``read_standings``.
    """
    standings = read_standings(folders, annotations, vocabulary, reference)
    differences = {
        method: paired_differences(standing.per_video, standings[reference].per_video)
        for method, standing in standings.items()
        if method != reference
    }
    board = leaderboard(standings.values(), published if is_llp else ())
    parts = ["# Comparison", *_how_made(pseudo_labels, is_llp), board]
    parts += ["## Intervals", HOW_RESAMPLED, _interval_table(standings.values())]
    if differences:
        name = standings[reference].row.name
        parts += [f"## Differences to {name}", HOW_TESTED.format(reference=name)]
        parts.append(_difference_table(standings, differences))
    if is_llp and (beside := published_differences(standings.values(), published)):
        parts += ["## Differences to published results", HOW_BESIDE, beside]
    if not is_llp:
        parts += ["## Published results on LLP", NOT_COMPARABLE, HOW_PUBLISHED]
        parts.append(published_markdown(published))
    write_text(out / "compare.md", "\n\n".join(parts) + "\n")
    _write_csv(out / "compare.csv", standings, differences)
    return board


def read_standings(
    folders: Iterable[Path], annotations: Path, vocabulary: Vocabulary, reference: str
) -> dict[str, Standing]:
    """Read the results of every method, by mean segment-level Type@AV, best first.

    Parameters
    ----------
    folders
        Model folders written by ``train``.
    annotations, vocabulary
        Folder of the annotation tables, and the classes.
    reference
        Method that the others are compared with.

    Raises
    ------
    PipelineError
        A file is missing or malformed, the parsers are not comparable (``read_comparable``), or
        the reference is not among the methods.
    """
    parsers = read_comparable(folders)
    if reference not in parsers:
        raise PipelineError(
            f"the reference method '{reference}' is not among the trained methods "
            f"({', '.join(parsers)}); train it, or set comparison.reference to one of them."
        )
    total = len(read_names(annotations / SPLIT_TABLES[SPLIT]))
    standings = {
        method: _standing(
            group, seed_mismatch_note(group, parsers[reference]), total, annotations, vocabulary
        )
        for method, group in parsers.items()
    }
    ranked = sorted(standings, key=lambda method: -_segment_type(standings[method].row))
    return {method: standings[method] for method in ranked}


def paired_differences(scores: Floats, reference: Floats) -> list[Difference]:
    """Return the differences between two methods on the same videos, for the metrics in ``TESTED``.

    Parameters
    ----------
    scores, reference : ``[M, N]``
        Scores of both methods in percent.
    """
    gaps = (scores - reference)[[column for column, _, _ in TESTED]]
    observed, resampled = gaps.mean(axis=1), bootstrap_means(gaps)
    flips = (resampled * observed <= 0).mean(axis=0)
    low, high = percentile_interval(resampled).T
    columns = (values.tolist() for values in (observed, low, high, flips))
    return [Difference(*values) for values in zip(*columns, strict=True)]


def leaderboard(standings: Iterable[Standing], published: Iterable[PublishedRow] = ()) -> str:
    """Return one table of standings and published results, by segment-level Type@AV."""
    header = ["Method", "Inputs", "Protocol", "Source", "Seeds", "Videos", "Parameters", "Training"]
    ranked: list[tuple[float, list[str], str]] = []
    for standing in standings:
        row = standing.row
        described = [row.name, row.inputs, row.protocol, "this run", str(row.seeds), row.coverage]
        described += [f"{standing.parameters / 1e6:.2f} M", _wall_time(standing.seconds)]
        ranked.append((_segment_type(row), [*described, *map(str, row.cells)], row.note))
    for work in published:
        described = [work.method, work.inputs or "–", work.protocol, work.source, *("–",) * 4]
        segment_type = work.segment[METRICS.index("type")]
        ranked.append((segment_type, [*described, *map(str, work.cells)], work.note))
    ranked.sort(key=lambda entry: -entry[0])
    body = [cells for _, cells, _ in ranked]
    table = aligned_markdown([*header, *METRIC_HEADER], body, text_columns=4)
    return with_notes(table, [(f"{cells[0]} ({cells[3]})", note) for _, cells, note in ranked])


def published_differences(standings: Iterable[Standing], published: Iterable[PublishedRow]) -> str:
    """Return a table of the methods that have published results, and what differs from those.

    It is empty if there are none.
    """
    works = {work.method: work for work in published}
    body = []
    for standing in standings:
        row = standing.row
        work = works.get(PUBLISHED_AS.get(row.name, row.name))
        if work is None:
            continue
        cells = [
            f"{own.mean:.1f} ({theirs.mean:.1f}, {own.mean - theirs.mean:+.1f})"
            for own, theirs in zip(row.cells, work.cells, strict=True)
        ]
        body.append([row.name, work.source, "; ".join(_what_differs(row, work)) or "–", *cells])
    header = ["Method", "Source", "What differs", *METRIC_HEADER]
    return aligned_markdown(header, body, text_columns=3) if body else ""


def _what_differs(row: ResultRow, work: PublishedRow) -> Iterator[str]:
    """Yield what a row of this run and a published one do not share."""
    theirs = CLASSIC_INPUTS if work.inputs == "classic" else work.inputs or "not said"
    if row.inputs != theirs:
        yield f"inputs {row.inputs}, published {theirs}"
    if work.protocol not in (row.protocol, "not said"):
        yield f"protocol {row.protocol}, published {work.protocol}"
    if row.videos < row.total:
        yield f"{row.coverage} videos"
    if row.seeds > 1:
        yield f"mean of {row.seeds} seeds"


def _how_made(pseudo_labels: Path | None, is_llp: bool) -> list[str]:
    """Return the captions above the leaderboard."""
    parts = [HOW_COMPARED, HOW_DESCRIBED]
    if pseudo_labels is not None:
        with ShardReader(pseudo_labels / LABELS_FILE) as labels:
            parts += [HOW_CALIBRATED] if are_calibrated(labels.meta) else []
            parts += [HOW_RELEASED] if are_released(labels.meta) else []
    return parts + ([HOW_PUBLISHED] if is_llp else [])


def _standing(
    parsers: Sequence[TrainedParser],
    note: str,
    total: int,
    annotations: Path,
    vocabulary: Vocabulary,
) -> Standing:
    scored = [_rescore(parser, annotations, vocabulary) for parser in parsers]
    trained = [parser for parser in parsers if not parser.released]
    seconds = [sum(epoch["seconds"] for epoch in parser.curve) for parser in trained]
    return Standing(
        row=parser_row([parser for parser, _ in scored], SPLIT, total, note),
        per_video=np.mean([table for _, table in scored], axis=0),
        parameters=read_checkpoint(parsers[0].folder).build().parameter_count(),
        seconds=float(np.mean(seconds)) if seconds else None,
    )


def _rescore(
    parser: TrainedParser, annotations: Path, vocabulary: Vocabulary
) -> tuple[TrainedParser, Floats]:
    """Score the test predictions of a parser; all scores of a comparison come from here.

    Returns
    -------
    tuple
        The parser with only these scores, and the scores of its videos ``[M, N]`` in percent,
        sorted by name.

    Raises
    ------
    PipelineError
        metrics.json, which report and ablation use, has different scores.
    """
    parsed = read_predictions(parser.folder, SPLIT, annotations, vocabulary)
    scores = score(*parsed.truth, *parsed.predicted)
    metrics, recorded = scores.metrics(), parser.evaluations[SPLIT]["metrics"]
    for level, metric in product(LEVELS, METRICS):
        if abs(metrics[level][metric] - recorded[level][metric]) > TOLERANCE:
            raise PipelineError(
                f"'{parser.folder / 'metrics.json'}' has {recorded[level][metric]:.4f} for "
                f"{SPLIT} {level} {metric}, but the predicted events score "
                f"{metrics[level][metric]:.4f} with these annotations; evaluate again."
            )
    evaluations = {SPLIT: {"videos": len(parsed.names), "metrics": metrics}}
    by_name = np.argsort(parsed.names)
    return replace(parser, evaluations=evaluations), 100 * scores.table[:, by_name]


def _segment_type(row: ResultRow) -> float:
    return row.scores["segment"]["type"].mean


def _wall_time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.0f} s"


def _interval_table(standings: Iterable[Standing]) -> str:
    body = [
        [
            standing.row.name,
            standing.row.coverage,
            *(f"[{low:.1f}, {high:.1f}]" for low, high in standing.intervals()),
        ]
        for standing in standings
    ]
    return aligned_markdown(["Method", "Videos", *METRIC_HEADER], body, text_columns=1)


def _difference_table(
    standings: Mapping[str, Standing], differences: Mapping[str, Sequence[Difference]]
) -> str:
    header = ["Method", "Videos", *(METRIC_HEADER[column] for column, _, _ in TESTED)]
    body = [
        [standings[method].row.name, standings[method].row.coverage, *map(str, gaps)]
        for method, gaps in differences.items()
    ]
    return aligned_markdown(header, body, text_columns=1)


def _write_csv(
    path: Path,
    standings: Mapping[str, Standing],
    differences: Mapping[str, Sequence[Difference]],
) -> None:
    """Write one row per method, unrounded; differences of the reference are empty."""
    header, rows = csv_table(standing.row for standing in standings.values())
    header += ["inputs", "protocol", "parameters", "training_seconds"]
    for level, metric in product(LEVELS, METRICS):
        header += [f"{level}_{metric}_low", f"{level}_{metric}_high"]
    for _, level, metric in TESTED:
        name = f"{level}_{metric}_difference"
        header += [name, f"{name}_low", f"{name}_high", f"{name}_flips"]
    for row, (method, standing) in zip(rows, standings.items(), strict=True):
        row += [standing.row.inputs, standing.row.protocol]
        row += [standing.parameters, standing.seconds]
        row += [end for interval in standing.intervals() for end in interval]
        tested = [value for gap in differences.get(method, ()) for value in astuple(gap)]
        row += tested or [None] * (4 * len(TESTED))
    write_csv(path, header, rows)
