"""Read the results of trained methods on the test split, scored again from their predictions.

All scores are in percent. Axes: S seeds, M metrics of both levels, N videos sorted by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import Vocabulary
from pipeline.data.annotations import SPLIT_TABLES, read_names
from pipeline.evaluation.bootstrap import Floats, bootstrap_means, percentile_interval
from pipeline.evaluation.evaluate import read_predictions
from pipeline.evaluation.metrics import LEVELS, METRICS, score
from pipeline.parsers.checkpoint import read_checkpoint
from pipeline.report.comparable import SPLIT, read_comparable, seed_mismatch_note
from pipeline.report.significance import Tested, assess
from pipeline.report.tables import ResultRow, parser_row
from pipeline.report.titles import encoders_of
from pipeline.report.trained import Encoders, TrainedParser

# Rows of a score table ``[M, N]``: its level and metric.
SCORE_ROWS = tuple(product(LEVELS, METRICS))
# Level to the row of its Type@AV, by which methods are ranked.
TYPE_ROWS = {level: SCORE_ROWS.index((level, "type")) for level in LEVELS}
# Level and metric of the rows whose differences are tested.
TESTED = tuple(row for row in SCORE_ROWS if row[1] in {"type", "event"})
# Largest rounding difference in percent between metrics.json and a recomputed score.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Standing:
    """Results of one method on the test split.

    Attributes
    ----------
    row
        Its row of the result table.
    scores : ``[S, M, N]``
        Scores of every seed.
    parameters
        Number of trainable parameters.
    seconds
        Training wall time, averaged over seeds; None for released weights.
    selected_by
        Validation metric that chose its epochs.
    selected_type, best_type
        Segment-level Type@AV on validation at the selected epoch, and at the best epoch in that
        metric, averaged over seeds; NaN for released weights.
    encoders
        Identity of each encoder that it rests on, as far as it is recorded.
    """

    row: ResultRow
    scores: Floats
    parameters: int
    seconds: float | None
    selected_by: str
    selected_type: float
    best_type: float
    encoders: Encoders = field(default_factory=dict)

    @property
    def per_video(self) -> Floats:
        """Scores averaged over seeds, ``[M, N]``."""
        means: Floats = self.scores.mean(axis=0)
        return means

    @property
    def segment_type(self) -> float:
        """Segment-level Type@AV, averaged over seeds."""
        return self.row.scores["segment"]["type"].mean

    def intervals(self) -> list[list[float]]:
        """Return the 95% interval ``[low, high]`` of each metric over videos."""
        ends: list[list[float]] = percentile_interval(bootstrap_means(self.per_video)).tolist()
        return ends


def read_standings(
    folders: Iterable[Path],
    annotations: Path,
    vocabulary: Vocabulary,
    reference: str,
    dense: Sequence[str] = (),
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
    dense
        Dense labels that the run's pseudo-labels rest on (``artifacts.dense_labels``).

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
            f"({', '.join(parsers)}); train it, or name one of them as --reference (in a"
            " configuration: comparison.reference)."
        )
    total = len(read_names(annotations / SPLIT_TABLES[SPLIT]))
    standings = {}
    for method, group in parsers.items():
        scored = [_rescore(parser, annotations, vocabulary) for parser in group]
        note = seed_mismatch_note(group, parsers[reference])
        row = parser_row([parser for parser, _ in scored], SPLIT, total, note, dense)
        standings[method] = _standing(group, row, np.stack([table for _, table in scored]))
    ranked = sorted(standings, key=lambda method: -standings[method].segment_type)
    return {method: standings[method] for method in ranked}


def assess_standings(standings: Mapping[str, Standing]) -> Tested:
    """Return what can be said of the methods, in the order given."""
    rows = [SCORE_ROWS.index(tested) for tested in TESTED]
    found = assess([standing.scores[:, rows] for standing in standings.values()])
    return dict(zip(TESTED, found, strict=True))


def _standing(parsers: Sequence[TrainedParser], row: ResultRow, scores: Floats) -> Standing:
    trained = [parser for parser in parsers if not parser.released]
    seconds = [sum(epoch["seconds"] for epoch in parser.curve) for parser in trained]
    selected, best = np.mean([parser.validation_type for parser in parsers], axis=0).tolist()
    return Standing(
        row=row,
        scores=scores,
        parameters=read_checkpoint(parsers[0].folder).build().parameter_count(),
        seconds=float(np.mean(seconds)) if seconds else None,
        selected_by=parsers[0].selected_by,
        selected_type=selected,
        best_type=best,
        encoders=encoders_of(parser.encoders for parser in parsers),
    )


def _rescore(
    parser: TrainedParser, annotations: Path, vocabulary: Vocabulary
) -> tuple[TrainedParser, Floats]:
    """Score the test predictions of a parser; all scores of a comparison come from here.

    Returns
    -------
    tuple
        The parser with only these scores, and the scores of its videos ``[M, N]``, sorted by name.

    Raises
    ------
    PipelineError
        metrics.json, which report and ablation use, has different scores.
    """
    parsed = read_predictions(parser.folder, SPLIT, annotations, vocabulary)
    scores = score(*parsed.truth, *parsed.predicted)
    metrics, recorded = scores.metrics(), parser.evaluations[SPLIT]["metrics"]
    for level, metric in SCORE_ROWS:
        if abs(metrics[level][metric] - recorded[level][metric]) > TOLERANCE:
            raise PipelineError(
                f"'{parser.folder / 'metrics.json'}' has {recorded[level][metric]:.4f} for "
                f"{SPLIT} {level} {metric}, but the predicted events score "
                f"{metrics[level][metric]:.4f} with these annotations; evaluate again."
            )
    evaluations = {SPLIT: {"videos": len(parsed.names), "metrics": metrics}}
    by_name = np.argsort(parsed.names)
    return replace(parser, evaluations=evaluations), 100 * scores.table[:, by_name]
