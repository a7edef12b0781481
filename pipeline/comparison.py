"""All trained parsers in one leaderboard, and how sure their differences to one method are.

Every number is of the test split. A video's score is averaged over a method's seeds before videos
are resampled, so an interval says what other videos would change, and the standard deviation over
seeds what other trainings would.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.annotations import SPLIT_TABLES, read_names
from pipeline.checkpoint import read_checkpoint
from pipeline.errors import PipelineError
from pipeline.evaluation import parsed_videos, read_parsed
from pipeline.files import write_text
from pipeline.metrics import (
    BOOTSTRAP_DRAWS,
    LEVELS,
    METRICS,
    Floats,
    bootstrap_means,
    percentile_interval,
    score,
)
from pipeline.parsers.recipes import Recipe
from pipeline.report.artifacts import TrainedParser, read_parsers
from pipeline.report.tables import (
    METRIC_HEADER,
    PublishedRow,
    ResultRow,
    aligned_markdown,
    csv_table,
    parser_row,
    published_markdown,
    write_csv,
)
from pipeline.vocabulary import Vocabulary

SPLIT = "test"
# Columns of a score table ``[M, N]`` whose differences are tested.
TESTED = tuple(
    (column, level, metric)
    for column, (level, metric) in enumerate(
        (level, metric) for level in LEVELS for metric in METRICS
    )
    if metric in {"type", "event"}
)

HOW_COMPARED = (
    "F1 in percent on the test split, with LLP's published evaluator; every method reads the same "
    "features and pseudo-labels, and of each training the epoch with the best validation segment "
    "Type@AV is scored. Mean ± sample standard deviation over seeds. Videos: scored / in the "
    "split's table. Parameters: those that are trained. Training: wall time of one seed, mean."
)
HOW_RESAMPLED = (
    f"95% percentile bootstrap over videos, {BOOTSTRAP_DRAWS} resamples, of each video's score "
    "averaged over seeds."
)
HOW_TESTED = (
    "Difference to {reference} in points: mean, 95% interval of a paired bootstrap (the same "
    "resamples of videos for both), and the share of resamples in which the sign is another."
)
HOW_PUBLISHED = (
    "LLP's 1,200 test videos and the published evaluator; one number a work, as printed in its "
    "source. Inputs: what the method reads; classic is VGGish, ResNet-152 and R(2+1)D."
)
NOT_COMPARABLE = "Not comparable with the tables above, which are of other videos."


@dataclass(frozen=True)
class Standing:
    """One method on the test split.

    Attributes
    ----------
    row
        Its scores over seeds, as the result table shows them.
    inputs
        What it reads.
    per_video : ``[M, N]``
        All metrics of both levels in percent, averaged over seeds; videos sorted by name.
    parameters
        Numbers that are trained.
    seconds
        Wall time of one training, mean over seeds.
    """

    row: ResultRow
    inputs: str
    per_video: Floats
    parameters: int
    seconds: float

    def intervals(self) -> list[list[float]]:
        """Return ``[low, high]`` of every metric in percent, see ``HOW_RESAMPLED``."""
        ends: list[list[float]] = percentile_interval(bootstrap_means(self.per_video)).tolist()
        return ends


@dataclass(frozen=True)
class Difference:
    """How far one method is from another in one metric.

    Attributes
    ----------
    mean, low, high
        Difference and its 95% interval, in points.
    flips
        Share of resamples in [0, 1] whose difference has not the sign of ``mean``; 1 where
        ``mean`` is 0.
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
) -> str:
    """Write compare.md and compare.csv; return the leaderboard as text.

    Parameters
    ----------
    folders
        Model folders ``{method}/seed{S}``, evaluated.
    annotations, vocabulary
        Folder of the annotation tables, and the classes.
    reference
        The method to which differences are tested.
    published
        What other work reports.
    is_llp
        Whether the videos are LLP's, so that published results stand in the same table.
    out
        Folder to write.

    Raises
    ------
    PipelineError
        A file is missing or malformed, two trainings were not scored on the same videos, or the
        reference is not among the methods.
    """
    standings = read_standings(folders, annotations, vocabulary)
    if reference not in standings:
        raise PipelineError(
            f"'{reference}' is to be compared with, but trained are {', '.join(standings)}; "
            "train it or name another in comparison.reference."
        )
    differences = {
        method: paired_differences(standing.per_video, standings[reference].per_video)
        for method, standing in standings.items()
        if method != reference
    }
    table = leaderboard(standings.values(), published if is_llp else ())
    reference_name = standings[reference].row.name
    parts = ["# Comparison", HOW_COMPARED, *([HOW_PUBLISHED] if is_llp else []), table]
    parts += ["## Intervals", HOW_RESAMPLED, _interval_table(standings.values())]
    if differences:
        parts += [
            f"## Differences to {reference_name}",
            HOW_TESTED.format(reference=reference_name),
            _difference_table(standings, differences),
        ]
    if not is_llp:
        parts += ["## Published results on LLP", NOT_COMPARABLE, HOW_PUBLISHED]
        parts.append(published_markdown(published))
    write_text(out / "compare.md", "\n\n".join(parts) + "\n")
    _write_csv(out / "compare.csv", standings, differences)
    return table


def read_standings(
    folders: Iterable[Path], annotations: Path, vocabulary: Vocabulary
) -> dict[str, Standing]:
    """Read how every method did, best mean segment Type@AV first.

    Raises
    ------
    PipelineError
        A file is missing or malformed, or two trainings were not scored on the same videos.
    """
    parsers = read_comparable(folders)
    total = len(read_names(annotations / SPLIT_TABLES[SPLIT]))
    standings = {
        method: _standing(of_method, total, annotations, vocabulary)
        for method, of_method in parsers.items()
    }
    ranked = sorted(standings, key=lambda method: -_segment_type(standings[method].row))
    return {method: standings[method] for method in ranked}


def read_comparable(folders: Iterable[Path]) -> dict[str, tuple[TrainedParser, ...]]:
    """Read model folders by method, all scored on the same test videos.

    Raises
    ------
    PipelineError
        A file is missing or malformed, or a training was scored on fewer videos than another.
    """
    parsers = read_parsers(folders)
    videos = {
        parser.folder: set(parsed_videos(parser.folder, SPLIT)[0])
        for of_method in parsers.values()
        for parser in of_method
    }
    every = set().union(*videos.values())
    for folder, scored in videos.items():
        missing = sorted(every - scored)
        if missing:
            raise PipelineError(
                f"'{folder}' was not scored on {len(missing)} of the {len(every)} {SPLIT} videos "
                f"that others were scored on, the first '{missing[0]}'; predict and evaluate all "
                "methods on the same videos."
            )
    return parsers


def paired_differences(scores: Floats, reference: Floats) -> list[Difference]:
    """Compare two methods on the same videos, for every metric in ``TESTED``.

    Parameters
    ----------
    scores, reference : ``[M, N]``
        Each method's scores in percent.
    """
    gaps = (scores - reference)[[column for column, _, _ in TESTED]]
    observed, resampled = gaps.mean(axis=1), bootstrap_means(gaps)
    flips = (resampled * observed <= 0).mean(axis=0)
    low, high = percentile_interval(resampled).T
    columns = (values.tolist() for values in (observed, low, high, flips))
    return [Difference(*values) for values in zip(*columns, strict=True)]


def leaderboard(standings: Iterable[Standing], published: Iterable[PublishedRow] = ()) -> str:
    """Return standings, with published results among them, as one table, best first."""
    header = ["Method", "Inputs", "Source", "Seeds", "Videos", "Parameters", "Training"]
    ranked = [
        (
            _segment_type(standing.row),
            [
                standing.row.name,
                standing.inputs,
                "this run",
                str(standing.row.seeds),
                standing.row.coverage,
                f"{standing.parameters / 1e6:.2f} M",
                f"{standing.seconds:.0f} s",
                *map(str, standing.row.cells),
            ],
        )
        for standing in standings
    ]
    for row in published:
        described = [row.method, row.inputs or "–", row.source, *("–",) * 4]
        place = row.segment[METRICS.index("type")]
        ranked.append((place, [*described, *map(str, row.cells)]))
    ranked.sort(key=lambda placed: -placed[0])
    body = [cells for _, cells in ranked]
    return aligned_markdown([*header, *METRIC_HEADER], body, text_columns=3)


def _standing(
    parsers: Sequence[TrainedParser], total: int, annotations: Path, vocabulary: Vocabulary
) -> Standing:
    checkpoint = read_checkpoint(parsers[0].folder)
    tables = [_score_table(parser.folder, annotations, vocabulary) for parser in parsers]
    seconds = [sum(epoch["seconds"] for epoch in parser.curve) for parser in parsers]
    return Standing(
        row=parser_row(parsers, SPLIT, total),
        inputs=_inputs(checkpoint.recipe),
        per_video=np.mean(tables, axis=0),
        parameters=checkpoint.build().parameter_count(),
        seconds=float(np.mean(seconds)),
    )


def _score_table(folder: Path, annotations: Path, vocabulary: Vocabulary) -> Floats:
    """Return scores ``[M, N]`` in percent, videos sorted by name."""
    parsed = read_parsed(folder, SPLIT, annotations, vocabulary)
    return 100 * score(*parsed.truth, *parsed.predicted).table[:, np.argsort(parsed.names)]


def _inputs(recipe: Recipe) -> str:
    return "CLAP, CLIP, R(2+1)D" if recipe.motion else "CLAP, CLIP"


def _segment_type(row: ResultRow) -> float:
    return row.scores["segment"]["type"].mean


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
        [standings[method].row.name, standings[method].row.coverage, *map(str, of_method)]
        for method, of_method in differences.items()
    ]
    return aligned_markdown(header, body, text_columns=1)


def _write_csv(
    path: Path,
    standings: Mapping[str, Standing],
    differences: Mapping[str, Sequence[Difference]],
) -> None:
    """Write a row a method, unrounded; the reference's differences are empty."""
    header, rows = csv_table(standing.row for standing in standings.values())
    header += ["inputs", "parameters", "training_seconds"]
    for level in LEVELS:
        for metric in METRICS:
            header += [f"{level}_{metric}_low", f"{level}_{metric}_high"]
    for _, level, metric in TESTED:
        name = f"{level}_{metric}_difference"
        header += [name, f"{name}_low", f"{name}_high", f"{name}_flips"]
    for row, (method, standing) in zip(rows, standings.items(), strict=True):
        row += [standing.inputs, standing.parameters, standing.seconds]
        row += [end for interval in standing.intervals() for end in interval]
        tested: list[float | None] = [
            value
            for gap in differences.get(method, ())
            for value in (gap.mean, gap.low, gap.high, gap.flips)
        ]
        row += tested or [None] * (4 * len(TESTED))
    write_csv(path, header, rows)
