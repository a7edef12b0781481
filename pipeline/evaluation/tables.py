"""Event tables as labels, and the events in them that are not scored."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.core.wording import counted
from pipeline.data.annotations import (
    EventRow,
    Labels,
    describe_event,
    events_to_segments,
    read_events,
    window_problem,
)

logger = logging.getLogger(__name__)

Side = Literal["truth", "predicted", "corrected"]

# Annotation checks that keep events from being scored, and what a warning says of them.
UNSCORED = {
    "unknown_video": "of videos that are not listed",
    "sets_nothing": "that cover no segment",
    "outside_window": "before 0 or after the last segment",
}
# Events that are scored in part.
CUT = {"cut_event": "that are cut at 0 or at the last segment"}


@dataclass(frozen=True)
class ScoredTable:
    """The events of one modality, and which of them count in the scores of N videos.

    Attributes
    ----------
    side, modality
        What the events are.
    source
        Where they are from.
    labels : ``[N, T, C]``
        The scored events.
    events
        Number of events in the table.
    unscored
        Annotation check (see ``UNSCORED`` and ``CUT``) to the events that fail it.
    """

    side: Side
    modality: str
    source: Path
    labels: Labels
    events: int
    unscored: Mapping[str, Sequence[EventRow]]

    @property
    def is_lost(self) -> bool:
        """Whether there are events, but none of them is scored."""
        return self.events > 0 and not self.labels.any()


def score_events(
    side: Side,
    modality: str,
    source: Path,
    events: Iterable[EventRow],
    names: Sequence[str],
    size: tuple[int, int],
    known: Collection[str] = (),
) -> ScoredTable:
    """Return the labels of N videos, and what of the events is not scored.

    Parameters
    ----------
    side, modality, source
        What the events are, and where they are from.
    events
        The events.
    names
        The N videos.
    size
        T and C.
    known
        Videos that are listed elsewhere: their events are another score's.
    """
    events, listed = list(events), set(names)
    unscored: dict[str, list[EventRow]] = {kind: [] for kind in (*UNSCORED, *CUT)}
    for event in events:
        if event.filename in listed:
            if problem := window_problem(event, size[0]):
                unscored[problem].append(event)
        elif event.filename not in known:
            unscored["unknown_video"].append(event)
    labels = events_to_segments(events, names, *size)
    found = {kind: rows for kind, rows in unscored.items() if rows}
    return ScoredTable(side, modality, source, labels, len(events), found)


def read_scored(
    side: Side,
    tables: Iterable[Path],
    names: Sequence[str],
    segments: int,
    vocabulary: Vocabulary,
    known: Collection[str] = (),
) -> list[ScoredTable]:
    """Read the event tables of audio and visual; see `score_events`.

    Raises
    ------
    PipelineError
        A table is missing or malformed, or see `check_scored`.
    """
    size = segments, len(vocabulary)
    scored = [
        score_events(side, modality, path, read_events(path, vocabulary), names, size, known)
        for modality, path in zip(MODALITIES, tables, strict=True)
    ]
    check_scored(scored, names, vocabulary)
    return scored


def check_scored(
    tables: Sequence[ScoredTable], names: Sequence[str], vocabulary: Vocabulary
) -> None:
    """Check that some event of every predicted table is scored, and of the annotated ones together.

    A few videos may have annotated events of one modality only. Tables without events pass, and
    so does everything if ``names`` is empty.

    Raises
    ------
    PipelineError
        There are events, but no event is scored.
    """
    annotated = [table for table in tables if table.side != "predicted" and table.events]
    lost = [table for table in tables if table.side == "predicted" and table.is_lost]
    lost += annotated if all(table.is_lost for table in annotated) else []
    if not lost or not names:
        return
    table, segments = lost[0], lost[0].labels.shape[1]
    reasons = _reasons(table, UNSCORED, vocabulary) or "their videos are in another split"
    raise PipelineError(
        f"no event in '{table.source}' is scored ({reasons}); check that their videos are among the"
        f" {len(names):,} to score (the first is '{names[0]}'), by the full name ID_START_END, and"
        f" that a video has {counted(segments, 'segment')}."
    )


def warn_of_unscored(tables: Iterable[ScoredTable], vocabulary: Vocabulary, where: str) -> None:
    """Log the events that are not scored, by table; ``where`` says where videos are listed.

    Annotation tables usually serve several splits, so their events of other videos are logged as
    information unless no other event is left.
    """
    for table in tables:
        for kind, meaning in (UNSCORED | CUT).items():
            if not (rows := table.unscored.get(kind)):
                continue
            is_usual = (
                kind == "unknown_video" and table.side == "truth" and len(rows) < table.events
            )
            logger.log(
                logging.INFO if is_usual else logging.WARNING,
                "%d of %s in '%s' %s %s (%s: %s%s), such as %s of '%s'",
                *(len(rows), counted(table.events, "event"), table.source),
                "is" if len(rows) == 1 else "are",
                "scored in part" if kind in CUT else "not scored",
                *(kind, meaning, f" in {where}" if kind == "unknown_video" else ""),
                *(describe_event(rows[0], vocabulary), rows[0].filename),
            )


def unscored_counts(tables: Iterable[ScoredTable]) -> dict[str, Any]:
    """Return side to modality to annotation check to ``events`` and the first one's ``video``."""
    counts: dict[str, Any] = {}
    for table in tables:
        if table.unscored:
            counts.setdefault(table.side, {})[table.modality] = {
                kind: {"events": len(rows), "video": rows[0].filename}
                for kind, rows in table.unscored.items()
            }
    return counts


def stacked_labels(tables: Iterable[ScoredTable]) -> Labels:
    """Return the labels of audio and visual, ``[2, N, T, C]``."""
    return np.stack([table.labels for table in tables])


def read_labels(
    tables: Iterable[Path], names: Sequence[str], segments: int, vocabulary: Vocabulary
) -> Labels:
    """Read annotated events of audio and visual as labels of N videos, ``[2, N, T, C]``.

    Raises
    ------
    PipelineError
        A table is missing or malformed, or there are events, but no event is of these videos and
        within their segments.
    """
    return stacked_labels(read_scored("truth", tables, names, segments, vocabulary))


def _reasons(table: ScoredTable, meanings: Mapping[str, str], vocabulary: Vocabulary) -> str:
    return ", ".join(
        f"{len(rows):,} {meanings[kind]}, such as {describe_event(rows[0], vocabulary)} of"
        f" '{rows[0].filename}'"
        for kind, rows in table.unscored.items()
        if kind in meanings
    )
