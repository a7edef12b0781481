"""Videos that an earlier run parsed alike: their results are read, not made again."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.core.errors import Status
from pipeline.core.vocabulary import MODALITIES
from pipeline.inference.elan import names_media
from pipeline.inference.events import DecisionThresholds, Parsed
from pipeline.inference.input_files import PAGE_FILE
from pipeline.inference.page import FILES
from pipeline.inference.parser import Parser
from pipeline.inference.playback import PLAYS_NOTHING
from pipeline.inference.tables import ELAN_FILE, JSON_FILE, JSON_FORMAT
from pipeline.inference.videos import MediaFacts

# Problems of the machine rather than of the video.
MACHINE_PROBLEMS = {Status.TIMEOUT, Status.CRASHED}


def read_previous(
    named: Mapping[str, Path], out: Path, parser: Parser, overlap: int | None, embed_bytes: int
) -> dict[str, Parsed]:
    """Return the videos whose results are complete and would be the same again.

    File, parser, encoders, windows, thresholds, page and version are compared.
    """
    found = {name: _read(out / name, name, path, embed_bytes) for name, path in named.items()}
    return {
        name: parsed
        for name, parsed in found.items()
        if parsed is not None
        and parsed.status not in MACHINE_PROBLEMS
        and not any(note.startswith(PLAYS_NOTHING) for note in parsed.notes)
        and parsed.class_names == parser.class_names
        and parsed.thresholds == parser.thresholds
        and parsed.provenance == parser.provenance(parsed.path, overlap)
    }


def _read(folder: Path, name: str, path: Path, embed_bytes: int) -> Parsed | None:
    """Return a folder's parsed video; None if it is not complete or of another version."""
    # The page is written last.
    if not path.is_file() or not all((folder / file).is_file() for file in (*FILES, PAGE_FILE)):
        return None
    try:
        if not names_media((folder / ELAN_FILE).read_text(encoding="utf-8"), path):
            return None
        value = json.loads((folder / JSON_FILE).read_bytes())
        if (value["format"], value["embed_bytes"]) != (JSON_FORMAT, embed_bytes):
            return None
        arrays = [
            {modality: np.array(value[key][modality], np.float32) for modality in MODALITIES}
            for key in ("probabilities", "gates")
        ]
        return Parsed(
            name=name,
            title=value["file"],
            path=path,
            media=MediaFacts(float(value["seconds"]), "", None, None),
            class_names=tuple(value["classes"]),
            probabilities=arrays[0],
            gates=arrays[1],
            thresholds=DecisionThresholds(**value["thresholds"]),
            has_sound=value["has_sound"],
            has_pictures=value["has_pictures"],
            notes=tuple(value["notes"]),
            provenance=value["provenance"],
            status=Status(value["status"]),
            seconds=value["parsed_seconds"],
            notice=value["notice"],
        )
    except (KeyError, TypeError, ValueError):
        return None
