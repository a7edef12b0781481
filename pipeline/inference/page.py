"""The parse page: one HTML file in which a video plays above the events heard and seen in it."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from pipeline.core import html as pages
from pipeline.core.errors import ItemError
from pipeline.core.files import write_text
from pipeline.core.vocabulary import display_name
from pipeline.inference.events import DECIMALS, Parsed, two_decimals
from pipeline.inference.input_files import PAGE_FILE
from pipeline.inference.playback import Playback
from pipeline.inference.tables import (
    AUDACITY_FILE,
    CAPTIONS_FILE,
    ELAN_FILE,
    EVENT_TABLE_COLUMNS,
    EVENTS_FILE,
    JSON_FILE,
    MODALITY_WORDS,
    described_video,
)

_HERE = Path(__file__).parent
# The slider's range, widened to include the threshold in use. The page leaves out classes that
# never reach its lower end.
LOWEST, HIGHEST = 0.05, 0.95

FILES = {
    EVENTS_FILE: "events: LLP's columns, modality and confidence",
    "predicted_audio.csv": "events heard, in LLP's format",
    "predicted_visual.csv": "events seen, in LLP's format",
    JSON_FILE: "probabilities per second, events, provenance",
    CAPTIONS_FILE: "subtitles (WebVTT)",
    AUDACITY_FILE: "label track (Audacity)",
    ELAN_FILE: "annotation document (ELAN)",
}


def write_page(folder: Path, parsed: Parsed, playback: Playback | None) -> None:
    """Write a video's page into its folder.

    Parameters
    ----------
    folder
        The video's folder, which contains the files that the page links.
    parsed
        The video.
    playback
        What the page plays; None if nothing can be played.
    """
    script, script_hash = pages.script_and_hash(_HERE / "page.js")
    embedded = playback is not None and playback.is_embedded
    chosen = parsed.thresholds.chosen
    context = {
        "parsed": parsed,
        "chosen": np.format_float_positional(chosen, min_digits=2),
        "facts": _facts(parsed),
        "files": FILES,
        "events": parsed.events,
        "playback": playback,
        "source": quote(playback.path.name) if playback and not embedded else "",
        "content": _base64(playback.path) if playback and embedded else "",
        "data": pages.as_json(page_data(parsed)),
        "script": script,
        "script_hash": script_hash,
        "lowest": min(LOWEST, chosen),
        "highest": max(HIGHEST, chosen),
    }
    write_text(folder / PAGE_FILE, _render("page.html.j2", context))


def write_index(out: Path, parsed: Sequence[Parsed], failures: Mapping[str, ItemError]) -> None:
    """Write the page that lists a run's videos, including those that could not be parsed."""
    rows = [
        {
            "video": video,
            "link": f"{quote(video.name)}/{PAGE_FILE}",
            "heard": _named(video, 0),
            "seen": _named(video, 1),
        }
        for video in parsed
    ]
    notices = sorted({video.notice for video in parsed} - {""})
    context = {"rows": rows, "failures": failures, "notices": notices}
    write_text(out / PAGE_FILE, _render("index.html.j2", context))


def page_data(parsed: Parsed) -> dict[str, Any]:
    """Return the page's data: scores as whole numbers, ``[modality][class][second]``."""
    scale = 10**DECIMALS
    scores = np.rint(parsed.scores * scale).astype(np.int64)
    lowest = min(LOWEST, parsed.thresholds.chosen)
    reached = np.flatnonzero((scores / scale >= lowest).any(axis=(0, 1)))
    return {
        "seconds": parsed.length,
        "scale": scale,
        "threshold": parsed.thresholds.chosen,
        "labels": [parsed.class_names[index] for index in reached],
        "classes": [display_name(parsed.class_names[index]) for index in reached],
        "scores": scores[:, :, reached].transpose(0, 2, 1).tolist(),
        "present": [parsed.has_sound, parsed.has_pictures],
        "about": described_video(parsed),
        "words": MODALITY_WORDS,
        "columns": EVENT_TABLE_COLUMNS,
    }


def _facts(parsed: Parsed) -> list[tuple[str, str]]:
    return [
        ("classes", ", ".join(map(display_name, parsed.class_names))),
        *parsed.provenance.items(),
    ]


def _named(video: Parsed, track: int) -> str:
    """Return the classes of a track, longest first."""
    seconds = video.labels[track].sum(axis=0)
    order = [index for index in np.argsort(-seconds, kind="stable") if seconds[index]]
    return ", ".join(display_name(video.class_names[index]) for index in order)


def _base64(path: Path) -> Markup:
    return Markup(base64.b64encode(path.read_bytes()).decode())


def _render(template: str, context: Mapping[str, Any]) -> str:
    style = pages.style(_HERE / "page.css")
    filters = {"display_name": display_name, "two_decimals": two_decimals}
    return pages.render(_HERE / template, {**context, "style": style}, **filters)
