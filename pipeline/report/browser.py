"""Data of the video browser: JSON for the page's script, and the same as CSV tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.vocabulary import MODALITIES, display_name
from pipeline.report.tables import write_csv
from pipeline.report.timelines import TIMELINE_KINDS, TimelinePlot

VIDEOS_FILE = "videos.csv"
BROWSER_EVENTS_FILE = "videos_events.csv"


def browser_data(timelines: Sequence[TimelinePlot]) -> dict[str, Any]:
    """Return the videos in the format of the page's script, in the given order.

    ``videos`` has one list per video: name, split, segment-level and event-level Type@AV, and
    bars. A bar is a list of numbers: modality (0 audio, 1 visual), kind (0 annotated,
    1 predicted), class, onset and offset.
    """
    classes = {name: index for index, name in enumerate(timelines[0].class_names)}
    return {
        "seconds": len(timelines[0].truth[0]),
        "classes": [display_name(name) for name in classes],
        "videos": [
            [
                video.filename,
                video.split,
                round(video.f1, 1),
                round(video.event_f1, 1),
                [
                    [
                        MODALITIES.index(modality),
                        TIMELINE_KINDS.index(kind),
                        classes[name],
                        onset,
                        offset,
                    ]
                    for modality, kind, name, onset, offset in video.bars()
                ],
            ]
            for video in timelines
        ],
    }


def write_browser_tables(folder: Path, timelines: Sequence[TimelinePlot]) -> None:
    """Write the scores of all videos, and all annotated and predicted events."""
    header = ["filename", "split", "segment_type_percent", "event_type_percent", "annotated_events"]
    rows = [
        [video.filename, video.split, video.f1, video.event_f1, video.event_count]
        for video in timelines
    ]
    write_csv(folder / VIDEOS_FILE, header, rows)
    header = ["filename", "modality", "kind", "class", "onset_seconds", "offset_seconds"]
    events = [[video.filename, *bar] for video in timelines for bar in video.bars()]
    write_csv(folder / BROWSER_EVENTS_FILE, header, events)
