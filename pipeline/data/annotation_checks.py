"""Annotation checks: list every irregularity of the annotation tables and repair none.

LLP's own tables have a few hundred. All published results are based on them, so they are reported
and kept. ``FINDING_KINDS`` describes each kind.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of, write_tsv
from pipeline.core.vocabulary import Vocabulary
from pipeline.data.annotations import (
    EVENT_TABLES,
    FULL_TABLE,
    SCORED_SPLITS,
    SPLIT_TABLES,
    EventRow,
    describe_event,
    events_to_segments,
    read_events,
    read_rows,
    read_weak_labels,
    weak_matrix,
    window_problem,
)

logger = logging.getLogger(__name__)

FINDING_KINDS = {
    "version": "release of each LLP table, identified by its SHA-256",
    "missing_table": "tables that do not exist",
    "repeated_video": "videos with several rows in a weak table",
    "repeated_label": "weak labels that a row lists twice",
    "no_label": "videos without a weak label",
    "absent_class": "classes that no video of a split has",
    "fractional_time": "videos whose window starts or ends at a fraction of a second",
    "two_splits": "videos that are in two splits",
    "full_table_differs": "videos on which the full table and the split tables disagree",
    "unknown_video": "videos with events that are in neither val nor test",
    "sets_nothing": "events that cover no segment",
    "outside_window": "events before 0 or after the last segment, which are not scored",
    "cut_event": "events that start before 0 or end after the last segment, which are cut",
    "fractional_event": "events whose onset or offset is truncated to a whole second",
    "repeated_event": "events that are listed more than once",
    "overlapping_events": "overlapping events of one class, which are merged",
    "event_without_weak_label": "classes with events in a video whose weak label lacks them",
    "weak_label_without_event": "weak labels without an event in either modality",
}

# SHA-256 to release. AVVP_eval_audio.csv was corrected upstream on 2024-04-16 (three rows had a
# wrong filename); most published results use the earlier one (MD5 a8b6b747e59a4ea2...).
LLP_RELEASES = {
    "89f112ffc602279c87cc2b2040c4cd42eaf163a9d7e61cf4e74250a343d21e56": "LLP",
    "bbeb83e8af46a85075216b213d3464f92dd4ab71468c852ae454b82cc745c0a4": "LLP",
    "1811813b54c5f43c3be0a97bd0971cfb8a93818ca7b3ab96cdc7f4ac37ef37a6": "LLP",
    "3f7a2b040e3b67c15d08efef25002bf8c5b2320f11049eb99ae0eb2d62f8eb9b": "LLP",
    "e2274af694f3f27e38b840e0cd91a9d8d9ac85280f193e90828d26b22db69abe": "LLP",
    "d5435664668bec6e7eafb39059d2f424ed2682f6b55395262fc3cb691b7d0778": "LLP, corrected in 2024",
    "249122f65501d8d611c0027a48643798fe622bedee60f7e6224b5a8e3c02f886": (
        "LLP, before the correction of 2024"
    ),
}


@dataclass(frozen=True)
class Finding:
    """One irregularity of the tables.

    Attributes
    ----------
    kind
        One of ``FINDING_KINDS``.
    table
        Name of the table.
    filename
        Full video name; empty if the finding concerns a whole table.
    detail
        Details for people.
    """

    kind: str
    table: str
    filename: str
    detail: str


def check_annotations(folder: Path, vocabulary: Vocabulary, segments: int = 10) -> list[Finding]:
    """List every irregularity of a folder of annotation tables, in the order of ``FINDING_KINDS``.

    Parameters
    ----------
    folder
        Folder with the tables of ``SPLIT_TABLES`` and ``EVENT_TABLES``; ``FULL_TABLE`` is optional.
    vocabulary
        The classes.
    segments
        T, segments per video (LLP: 10).

    Raises
    ------
    PipelineError
        The folder has no table, or one is malformed.
    """
    expected = [*SPLIT_TABLES.values(), *EVENT_TABLES.values()]
    present = [table for table in [*expected, FULL_TABLE] if (folder / table).is_file()]
    if not present:
        raise PipelineError(
            f"'{folder}' has none of the tables {', '.join(expected)}; check the path."
        )
    weak = {
        split: read_weak_labels(folder / table, vocabulary)
        for split, table in SPLIT_TABLES.items()
        if table in present
    }
    events = {
        modality: read_events(folder / table, vocabulary)
        for modality, table in EVENT_TABLES.items()
        if table in present
    }
    annotated = weak.get("val", {}) | weak.get("test", {})
    found = [*_versions(folder, present)]
    found += [
        Finding("missing_table", table, "", "stages that need it will fail")
        for table in expected
        if table not in present
    ]
    for split, labels in weak.items():
        table = SPLIT_TABLES[split]
        found += _weak_rows(folder / table)
        found += [Finding("no_label", table, name, "") for name in labels if not labels[name]]
        occurring = {vocabulary.names[index] for indices in labels.values() for index in indices}
        absent = [name for name in vocabulary.names if name not in occurring]
        found += [Finding("absent_class", table, "", name) for name in absent]
    found += _splits(weak)
    if FULL_TABLE in present:
        found += _full_table(read_weak_labels(folder / FULL_TABLE, vocabulary), weak)
    for modality, rows in events.items():
        table = EVENT_TABLES[modality]
        found += _event_rows(table, rows, annotated, vocabulary, segments)
        found += _event_pairs(table, rows, vocabulary, segments)
    for split in [split for split in SCORED_SPLITS if split in weak]:
        found += _labels_of_videos(split, weak[split], events, vocabulary.names, segments)
    kinds = list(FINDING_KINDS)
    return sorted(found, key=lambda finding: kinds.index(finding.kind))


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """Write the findings as a tab-separated table and log one line per kind."""
    header = [column.name for column in fields(Finding)]
    write_tsv(path, header, (astuple(finding) for finding in findings))
    for finding in findings:
        if finding.kind == "version":
            logger.info("%s: %s", finding.table, finding.detail)
    counts = Counter(finding.kind for finding in findings if finding.kind != "version")
    for kind, count in counts.items():
        logger.warning("%s (%s): %d, listed in '%s'", kind, FINDING_KINDS[kind], count, path)


def _versions(folder: Path, tables: Iterable[str]) -> Iterator[Finding]:
    digests = {table: sha256_of(folder / table) for table in tables}
    # Tables of another dataset are no release of LLP, which says nothing about them.
    unknown = "not a known LLP release; " if LLP_RELEASES.keys() & digests.values() else ""
    for table, digest in digests.items():
        release = f"{LLP_RELEASES[digest]}; " if digest in LLP_RELEASES else unknown
        yield Finding("version", table, "", f"{release}SHA-256 {digest}")


def _weak_rows(path: Path) -> Iterator[Finding]:
    seen: set[str] = set()
    for line, (filename, joined) in read_rows(path, ("filename", "event_labels")):
        if filename in seen:
            yield Finding("repeated_video", path.name, filename, f"again in line {line}")
        seen.add(filename)
        counts = Counter(name.strip() for name in joined.split(","))
        for name in (name for name, count in counts.items() if count > 1):
            yield Finding("repeated_label", path.name, filename, name)
        window = filename.rsplit("_", 2)[1:]
        if any("." in second for second in window):
            yield Finding("fractional_time", path.name, filename, " to ".join(window))


def _splits(weak: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for split, names in weak.items():
        for name in names:
            other = first.setdefault(name, split)
            if other != split:
                yield Finding("two_splits", SPLIT_TABLES[split], name, f"also in {other}")


def _full_table(
    full: Mapping[str, Sequence[int]], weak: Mapping[str, Mapping[str, Sequence[int]]]
) -> Iterator[Finding]:
    labels = {name: indices for videos in weak.values() for name, indices in videos.items()}
    for name in sorted(full.keys() | labels.keys()):
        if name not in full:
            detail = "only in a split table"
        elif name not in labels:
            detail = "only in the full table"
        elif set(full[name]) != set(labels[name]):
            detail = "labels differ from those of the split table"
        else:
            continue
        yield Finding("full_table_differs", FULL_TABLE, name, detail)


def _event_rows(
    table: str,
    events: Sequence[EventRow],
    annotated: Mapping[str, object],
    vocabulary: Vocabulary,
    segments: int,
) -> Iterator[Finding]:
    for name in dict.fromkeys(event.filename for event in events):
        if name not in annotated:
            yield Finding("unknown_video", table, name, "its events are ignored")
    for event in events:
        detail = describe_event(event, vocabulary)
        if kind := window_problem(event, segments):
            yield Finding(kind, table, event.filename, detail)
        if event.onset % 1 or event.offset % 1:
            yield Finding("fractional_event", table, event.filename, detail)
    for event, count in Counter(events).items():
        if count > 1:
            detail = f"{describe_event(event, vocabulary)}, {count} times"
            yield Finding("repeated_event", table, event.filename, detail)


def _event_pairs(
    table: str, events: Iterable[EventRow], vocabulary: Vocabulary, segments: int
) -> Iterator[Finding]:
    furthest: dict[tuple[str, int], EventRow] = {}
    distinct = {event for event in events if _sets_segments(event, segments)}
    for event in sorted(distinct, key=astuple):
        key = event.filename, event.class_index
        before = furthest.get(key)
        if before is not None and before.offset > event.onset:
            both = describe_event(before, vocabulary), describe_event(event, vocabulary)
            yield Finding("overlapping_events", table, event.filename, " and ".join(both))
        if before is None or before.offset < event.offset:
            furthest[key] = event


def _labels_of_videos(
    split: str,
    weak: Mapping[str, Sequence[int]],
    events: Mapping[str, Sequence[EventRow]],
    class_names: Sequence[str],
    segments: int,
) -> Iterator[Finding]:
    names, class_count = list(weak), len(class_names)
    labelled = weak_matrix(weak, names, class_count) > 0
    occurring = {
        modality: events_to_segments(rows, names, segments, class_count).any(axis=1)
        for modality, rows in events.items()
    }

    def listed(kind: str, table: str, surplus: NDArray[np.bool_]) -> Iterator[Finding]:
        for row in np.flatnonzero(surplus.any(axis=1)):
            classes = ",".join(class_names[index] for index in np.flatnonzero(surplus[row]))
            yield Finding(kind, table, names[row], classes)

    for modality, occurs in occurring.items():
        yield from listed("event_without_weak_label", EVENT_TABLES[modality], occurs & ~labelled)
    if len(occurring) == len(EVENT_TABLES):
        absent = labelled & ~np.logical_or(*occurring.values())
        yield from listed("weak_label_without_event", SPLIT_TABLES[split], absent)


def _sets_segments(event: EventRow, segments: int) -> bool:
    return window_problem(event, segments) in ("", "cut_event")
