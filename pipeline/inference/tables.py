"""A parsed video in the formats of other programs: LLP's tables, JSON, WebVTT, Audacity."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import write_text
from pipeline.core.vocabulary import MODALITIES, Vocabulary, display_name
from pipeline.data.annotations import EVENT_COLUMNS, segments_to_events, write_events
from pipeline.inference.elan import elan_document
from pipeline.inference.events import BOTH, DECIMALS, Event, Parsed, two_decimals

EVENTS_FILE = "events.csv"
JSON_FILE = "parsed.json"
CAPTIONS_FILE = "events.vtt"
AUDACITY_FILE = "audacity.txt"
ELAN_FILE = "events.eaf"
# Increased when programs that read the JSON would have to change.
JSON_FORMAT = 1

EVENT_TABLE_COLUMNS = (*EVENT_COLUMNS, "modality", "confidence")
MODALITY_WORDS = {"audible": "heard", "visible": "seen", BOTH: "heard and seen"}


def write_parsed_files(folder: Path, parsed: Parsed, embed_bytes: int) -> None:
    """Write a video's tables into its folder.

    ``predicted_audio.csv`` and ``predicted_visual.csv`` are event tables in LLP's format
    (separated by tabs), as ``evaluate`` reads them; ``events.csv`` has LLP's columns and two more,
    one row per event, separated by commas as spreadsheets and pandas expect.
    """
    events, labels = parsed.events, parsed.labels
    vocabulary = Vocabulary.of_names(parsed.class_names)
    for index, modality in enumerate(MODALITIES):
        found = segments_to_events(labels[index, None], [parsed.name])
        write_events(folder / f"predicted_{modality}.csv", found, vocabulary)
    write_text(folder / EVENTS_FILE, events_table(parsed.name, events))
    write_text(folder / JSON_FILE, json_text(parsed, embed_bytes))
    write_text(folder / CAPTIONS_FILE, web_captions(events))
    write_text(folder / AUDACITY_FILE, audacity_labels(events))
    write_text(folder / ELAN_FILE, elan_document(parsed, folder))


def events_table(name: str, events: Sequence[Event]) -> str:
    """Return CSV with LLP's columns, ``modality`` and ``confidence``, separated by commas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(EVENT_TABLE_COLUMNS)
    for event in events:
        confidence = f"{event.confidence:.{DECIMALS}f}"
        row = [name, event.onset, event.offset, event.label, event.modality, confidence]
        writer.writerow(row)
    return text.getvalue()


def events_text(events: Sequence[Event]) -> str:
    """Return events as lines for a terminal: seconds, modality, class and confidence."""
    if not events:
        return "no events"
    rows = [(f"{event.onset}-{event.offset} s", event) for event in events]
    width = max(len(seconds) for seconds, _ in rows)
    return "\n".join(
        f"{seconds:>{width}}  {event.modality:<7}  {two_decimals(event.confidence)}"
        f"  {display_name(event.label)}"
        for seconds, event in rows
    )


def described_video(parsed: Parsed) -> dict[str, Any]:
    """Return what the JSON says of a video, and how it was parsed."""
    return {
        "format": JSON_FORMAT,
        "name": parsed.name,
        "file": parsed.title,
        "seconds": parsed.length,
        "has_sound": parsed.has_sound,
        "has_pictures": parsed.has_pictures,
        "status": str(parsed.status),
        "notice": parsed.notice,
        "notes": list(parsed.notes),
        "parsed_seconds": dict(parsed.seconds),
        "thresholds": vars(parsed.thresholds),
        "provenance": dict(parsed.provenance),
    }


def json_text(parsed: Parsed, embed_bytes: int) -> str:
    """Return the whole result as JSON; docs/reference/file-formats.md describes the keys.

    A later run compares them, with the largest video that the page embeds, to tell whether it would
    write the same.
    """
    value = described_video(parsed) | {
        "events": [
            {
                "class": event.label,
                "modality": event.modality,
                "onset": event.onset,
                "offset": event.offset,
                "confidence": event.confidence,
            }
            for event in parsed.events
        ],
        "embed_bytes": embed_bytes,
        "classes": list(parsed.class_names),
        "probabilities": _rounded(parsed.probabilities),
        "gates": _rounded(parsed.gates),
    }
    lines = [
        f"{json.dumps(key)}: {json.dumps(entry, ensure_ascii=False)}"
        for key, entry in value.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _rounded(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, list[list[float]]]:
    """Return arrays as numbers of four decimals; float32 holds those of [0, 1] exactly enough."""
    return {
        modality: arrays[modality].astype(np.float64).round(DECIMALS).tolist()
        for modality in MODALITIES
    }


def web_captions(events: Sequence[Event]) -> str:
    """Return WebVTT with a cue for each event; players show the events as subtitles."""
    cues = []
    for event in events:
        text = _described(event)
        # WebVTT escapes these three characters in cue texts.
        for mark, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(mark, escaped)
        cues.append(f"{_clock(event.onset)} --> {_clock(event.offset)}\n{text}\n")
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000"


def audacity_labels(events: Sequence[Event]) -> str:
    """Return Audacity's label track: onset, offset and text, separated by tabs."""
    return "".join(
        f"{event.onset:.6f}\t{event.offset:.6f}\t{_described(event)}\n" for event in events
    )


def _described(event: Event) -> str:
    words = MODALITY_WORDS[event.modality]
    return f"{display_name(event.label)} ({words}, {two_decimals(event.confidence)})"
