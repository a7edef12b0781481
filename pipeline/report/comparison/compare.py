"""Compare trained parsers: a leaderboard, ranks, and the significance of differences.

All scores are on the test split. Scores of a video are averaged over the seeds of a method before
videos are resampled: intervals show the variation over videos, and standard deviations the
variation over seeds. Ranks and differences resample both (``significance``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.files import write_csv, write_text
from pipeline.core.shards import LABELS_FILE, ShardReader
from pipeline.core.vocabulary import Vocabulary
from pipeline.core.wording import counted
from pipeline.evaluation.bootstrap import BOOTSTRAP_DRAWS
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
    TESTED,
    Standing,
    assess_standings,
    read_standings,
)
from pipeline.report.published import (
    HOW_BESIDE,
    PublishedRow,
    published_differences,
)
from pipeline.report.significance import PairedComparison, Tested, pair_csv
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
    "Difference to {reference} in percentage points: mean, 95% interval, and two-sided p value "
    "after Holm's correction for {pairs}, from the resamples that give the ranks."
)
HOW_PUBLISHED = (
    "Published results: LLP's 1,200 test videos, published evaluator, one value per work, as "
    "printed in the source."
)


@dataclass(frozen=True)
class Comparison:
    """The compared methods.

    Attributes
    ----------
    standings
        Method to its results, best first.
    reference
        Method that the others are compared with.
    tested
        What can be said of the methods in each tested metric, in the order of ``standings``.
    """

    standings: Mapping[str, Standing]
    reference: str
    tested: Tested

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
    def pairs(self) -> str:
        """How many pairs of methods there are."""
        return counted(len(self.standings) * (len(self.standings) - 1) // 2, "pair")

    @property
    def how_ranked(self) -> str:
        """The caption of ranks and letters."""
        return HOW_RANKED.format(pairs=self.pairs)

    def differences(self) -> dict[str, list[PairedComparison]]:
        """Return method to its differences to the reference, which has none itself."""
        index = list(self.standings).index(self.reference)
        return {
            method: [found.between(row, index) for found in self.tested.values()]
            for row, method in enumerate(self.standings)
            if row != index
        }


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
    comparison = Comparison(standings, reference, assess_standings(standings))
    works = published if dataset == LLP else ()
    rows = board_rows(standings.values(), comparison.tested, works)
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
    if len(comparison.standings) > 1:
        name = comparison.reference_name
        how_tested = HOW_TESTED.format(reference=name, pairs=comparison.pairs)
        parts += [f"## Differences to {name}", how_tested, _difference_table(comparison)]
    return parts


def _published_section(comparison: Comparison, published: Sequence[PublishedRow]) -> list[str]:
    """Return the section that puts published results beside this run's; empty without them."""
    rows = [standing.row for standing in comparison.standings.values()]
    beside = published_differences(rows, published)
    return ["## Differences to published results", HOW_BESIDE, beside] if beside else []


def _difference_table(comparison: Comparison) -> str:
    header = ["Method", "Videos", *(METRIC_HEADER[SCORE_ROWS.index(tested)] for tested in TESTED)]
    body = []
    for method, gaps in comparison.differences().items():
        row = comparison.standings[method].row
        body.append([row.name, row.coverage, *map(str, gaps)])
    return aligned_markdown(header, body, text_columns=1)


def _write_tables(out: Path, comparison: Comparison) -> None:
    """Write compare.csv, one row per method, and compare_pairs.csv, one row per pair.

    Values are not rounded; differences of the reference to itself are empty.
    """
    standings, differences = comparison.standings, comparison.differences()
    own = (standing.row for standing in standings.values())
    header, rows = csv_table(own, encoder_notice(comparison.encoders))
    added, cells = board_csv(standings.values(), comparison.tested)
    header += added
    for level, metric in TESTED:
        name = f"{level}_{metric}_difference"
        header += [name, f"{name}_low", f"{name}_high", f"{name}_p_holm"]
    for row, more, method in zip(rows, cells, standings, strict=True):
        row += more
        for gap in differences.get(method, ()):
            row += [gap.difference, gap.low, gap.high, gap.p_holm]
        row += [None] * (len(header) - len(row))
    write_csv(out / "compare.csv", header, rows)
    write_csv(out / "compare_pairs.csv", *pair_csv(comparison.names, comparison.tested))
