"""Compare trained parsers: a leaderboard, ranks, and the significance of differences.

All scores are on the test split. Scores of a video are averaged over the seeds of a method before
videos are resampled: intervals show the variation over videos, and standard deviations the
variation over seeds. Ranks and comparisons of all pairs resample both (``significance``).
Axes: M metrics of both levels, N videos.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from pipeline.core.files import write_csv, write_text
from pipeline.core.shards import LABELS_FILE, ShardReader
from pipeline.core.vocabulary import Vocabulary
from pipeline.core.wording import counted
from pipeline.evaluation.bootstrap import (
    BOOTSTRAP_DRAWS,
    Floats,
    bootstrap_means,
    percentile_interval,
)
from pipeline.features.encoders.identity import encoder_notice, encoder_text
from pipeline.report.artifacts import dense_labels
from pipeline.report.comparison.leaderboard import (
    HOW_RANKED,
    BoardRow,
    board_csv,
    board_rows,
    interval_table,
    leaderboard,
    rank_table,
)
from pipeline.report.comparison.page import ComparisonTexts, write_compare_page
from pipeline.report.comparison.standings import (
    SCORE_ROWS,
    Standing,
    assess_standings,
    read_standings,
)
from pipeline.report.published import (
    HOW_BESIDE,
    PublishedRow,
    published_differences,
)
from pipeline.report.significance import MetricSignificance, pair_csv
from pipeline.report.tables import (
    HOW_DESCRIBED,
    HOW_MARKED,
    METRIC_HEADER,
    aligned_markdown,
    csv_table,
    how_labelled,
)
from pipeline.report.titles import LLP, encoder_lines, encoders_of, run_title
from pipeline.report.trained import Encoders

# Rows of a score table ``[M, N]`` whose differences to the reference are tested.
TESTED = tuple(
    (index, level, metric)
    for index, (level, metric) in enumerate(SCORE_ROWS)
    if metric in {"type", "event"}
)

HOW_COMPARED = (
    "F1 in percent on the test split, computed with LLP's published evaluator; mean ± sample "
    "standard deviation over seeds. All methods are scored on the same videos and, according to "
    "their checkpoints, trained on the same features. Selected by: validation metric by which the "
    "method chooses its epoch; each seed is scored at that epoch. Val. Type: segment-level Type@AV "
    "on validation at the selected epoch / at the best epoch in that metric, mean over seeds. "
    "Videos: scored / in the split. Parameters: trainable parameters. Training: mean wall time per "
    f"seed. {HOW_MARKED}"
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


@dataclass(frozen=True)
class Comparison:
    """The compared methods.

    Attributes
    ----------
    standings
        Method to its results, best first.
    reference
        Method that the others are compared with.
    differences
        Method to its differences to the reference, which has none itself.
    significance
        Level to what can be said of Type@AV, with methods in the order of ``standings``.
    """

    standings: Mapping[str, Standing]
    reference: str
    differences: Mapping[str, Sequence[Difference]]
    significance: Mapping[str, MetricSignificance]

    @property
    def names(self) -> list[str]:
        """Display names of the methods."""
        return [standing.row.name for standing in self.standings.values()]

    @property
    def reference_name(self) -> str:
        """Display name of the reference."""
        return self.standings[self.reference].row.name

    @property
    def encoders(self) -> Encoders:
        """Identity of each encoder that the methods rest on, as far as it is recorded."""
        return encoders_of(standing.encoders for standing in self.standings.values())

    @property
    def how_ranked(self) -> str:
        """The caption of ranks and letters."""
        pairs = len(self.standings) * (len(self.standings) - 1) // 2
        return HOW_RANKED.format(pairs=counted(pairs, "pair"))


def compare(
    folders: Iterable[Path],
    annotations: Path,
    vocabulary: Vocabulary,
    reference: str,
    published: Sequence[PublishedRow],
    dataset: str,
    out: Path,
    pseudo_labels: Path | None = None,
) -> str:
    """Write compare.html, .md and .csv, compare_pairs.csv and plots; return the leaderboard.

    Parameters
    ----------
    folders, annotations, vocabulary, reference
        See ``read_standings``.
    published, dataset
        Published results, and the name of the dataset; only LLP's share one table with them.
    out
        Output folder.
    pseudo_labels
        Folder of the pseudo-labels, to note which dense labels they rest on; or None.

    Raises
    ------
    PipelineError
        See ``read_standings``.
    """
    meta = _labels_meta(pseudo_labels)
    standings = read_standings(folders, annotations, vocabulary, reference, dense_labels(meta))
    differences = {
        method: paired_differences(standing.per_video, standings[reference].per_video)
        for method, standing in standings.items()
        if method != reference
    }
    comparison = Comparison(standings, reference, differences, assess_standings(standings))
    works = published if dataset == LLP else ()
    rows = board_rows(standings.values(), comparison.significance, works)
    captions = _captions(meta, has_published=bool(works))
    encoders = comparison.encoders
    title = run_title("Comparison of methods", dataset)
    parts = [f"# {title}", *encoder_lines(encoders), *captions, leaderboard(rows)]
    parts += [*_sections(comparison, rows), *_published_section(comparison, works)]
    write_text(out / "compare.md", "\n\n".join(parts) + "\n")
    _write_tables(out, comparison)
    texts = ComparisonTexts(
        title=title,
        notice=encoder_notice(encoders),
        captions=[*captions, HOW_RESAMPLED, comparison.how_ranked],
        encoders=[(name, encoder_text(each)) for name, each in sorted(encoders.items())],
    )
    write_compare_page(rows, works, texts, out)
    return leaderboard(rows)


def paired_differences(scores: Floats, reference: Floats) -> list[Difference]:
    """Return the differences between two methods on the same videos, for the metrics in ``TESTED``.

    Parameters
    ----------
    scores, reference : ``[M, N]``
        Scores of both methods in percent.
    """
    gaps = (scores - reference)[[index for index, _, _ in TESTED]]
    observed, resampled = gaps.mean(axis=1), bootstrap_means(gaps)
    flips = (resampled * observed <= 0).mean(axis=0)
    low, high = percentile_interval(resampled).T
    columns = (values.tolist() for values in (observed, low, high, flips))
    return [Difference(*values) for values in zip(*columns, strict=True)]


def _labels_meta(pseudo_labels: Path | None) -> Mapping[str, str]:
    """Return the metadata of the pseudo-labels; empty without them."""
    if pseudo_labels is None:
        return {}
    with ShardReader(pseudo_labels / LABELS_FILE) as labels:
        return labels.meta


def _captions(meta: Mapping[str, str], has_published: bool) -> list[str]:
    """Return the captions above the leaderboard."""
    parts = [HOW_COMPARED, HOW_DESCRIBED, *how_labelled(meta)]
    return parts + ([HOW_PUBLISHED] if has_published else [])


def _sections(comparison: Comparison, rows: Sequence[BoardRow]) -> list[str]:
    """Return the sections about this run's methods."""
    parts = ["## Ranks", comparison.how_ranked, rank_table(rows)]
    parts += ["## Intervals", HOW_RESAMPLED, interval_table(comparison.standings.values())]
    if comparison.differences:
        name = comparison.reference_name
        parts += [f"## Differences to {name}", HOW_TESTED.format(reference=name)]
        parts.append(_difference_table(comparison))
    return parts


def _published_section(comparison: Comparison, published: Sequence[PublishedRow]) -> list[str]:
    """Return the section that puts published results beside this run's; empty without them."""
    rows = [standing.row for standing in comparison.standings.values()]
    beside = published_differences(rows, published)
    return ["## Differences to published results", HOW_BESIDE, beside] if beside else []


def _difference_table(comparison: Comparison) -> str:
    header = ["Method", "Videos", *(METRIC_HEADER[index] for index, _, _ in TESTED)]
    body = []
    for method, gaps in comparison.differences.items():
        row = comparison.standings[method].row
        body.append([row.name, row.coverage, *map(str, gaps)])
    return aligned_markdown(header, body, text_columns=1)


def _write_tables(out: Path, comparison: Comparison) -> None:
    """Write compare.csv, one row per method, and compare_pairs.csv, one row per pair.

    Values are not rounded; differences of the reference to itself are empty.
    """
    standings = comparison.standings
    own = (standing.row for standing in standings.values())
    header, rows = csv_table(own, encoder_notice(comparison.encoders))
    added, cells = board_csv(standings.values(), comparison.significance)
    header += added
    for _, level, metric in TESTED:
        name = f"{level}_{metric}_difference"
        header += [name, f"{name}_low", f"{name}_high", f"{name}_flips"]
    for row, more, method in zip(rows, cells, standings, strict=True):
        gaps = comparison.differences.get(method, ())
        tested = [value for gap in gaps for value in astuple(gap)]
        row += [*more, *(tested or [None] * (4 * len(TESTED)))]
    write_csv(out / "compare.csv", header, rows)
    write_csv(out / "compare_pairs.csv", *pair_csv(comparison.names, comparison.significance))
