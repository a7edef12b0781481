"""A parsed video as an ELAN document (EAF 3.0, Max Planck Institute for Psycholinguistics)."""

import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from pipeline.core.vocabulary import display_name
from pipeline.data.annotations import find_runs
from pipeline.inference.events import Parsed, mean_confidence, two_decimals

SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
TIERS = ("heard", "seen")
TIER_TYPE = "event"
# ELAN requires a type, but looks at the file itself.
MIME_TYPES = {
    ".mp4": "video/mp4",
    ".mpg": "video/mpeg",
    ".mov": "video/quicktime",
    ".wav": "audio/x-wav",
}


def elan_document(parsed: Parsed, folder: Path) -> str:
    """Return the document: a tier for every class that is heard, and for every class that is seen.

    Annotations of one tier must not overlap, so classes cannot share a tier. The document has the
    date of the video's file, so that the same video gives the same bytes.

    Parameters
    ----------
    parsed
        The video.
    folder
        The document's folder, from which it names the video's file.
    """
    attributes = {
        "AUTHOR": "",
        "DATE": datetime.fromtimestamp(int(parsed.path.stat().st_mtime), UTC).isoformat(),
        "FORMAT": "3.0",
        "VERSION": "3.0",
        "xmlns:xsi": INSTANCE,
        "xsi:noNamespaceSchemaLocation": SCHEMA,
    }
    root = ElementTree.Element("ANNOTATION_DOCUMENT", attributes)
    _add_header(root, parsed.path, folder)
    order = ElementTree.SubElement(root, "TIME_ORDER")
    _add_tiers(root, order, parsed)
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        LINGUISTIC_TYPE_ID=TIER_TYPE,
        TIME_ALIGNABLE="true",
        GRAPHIC_REFERENCES="false",
    )
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def names_media(document: str, path: Path) -> bool:
    """Return whether a document is of the file at this path."""
    return f'MEDIA_URL="{_media_url(path)}"' in document


def _media_url(path: Path) -> str:
    return Path(os.path.abspath(path)).as_uri()


def _add_header(root: ElementTree.Element, path: Path, folder: Path) -> None:
    """Add the path of the video, absolute and relative to the document's folder."""
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    ElementTree.SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=_media_url(path),
        # File names need not be UTF-8.
        RELATIVE_MEDIA_URL=quote(os.fsencode(os.path.relpath(path, folder))),
        MIME_TYPE=MIME_TYPES.get(path.suffix.lower(), "unknown"),
    )


def _add_tiers(root: ElementTree.Element, order: ElementTree.Element, parsed: Parsed) -> None:
    """Add the tiers to the document, and their times to its time order.

    One time slot serves all annotations that start or end then: ELAN's format wants the slots in
    ascending order.
    """
    found = find_runs(parsed.labels)
    slot_of = {
        seconds: f"ts{number}"
        for number, seconds in enumerate(sorted({*found.onset.tolist(), *found.offset.tolist()}), 1)
    }
    for seconds, slot in slot_of.items():
        milliseconds = str(1000 * seconds)
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=milliseconds)
    tiers: dict[tuple[int, int], ElementTree.Element] = {}
    rows = (found.video, found.class_index, found.onset, found.offset)
    for number, (track, index, *times) in enumerate(
        zip(*(column.tolist() for column in rows), strict=True), start=1
    ):
        if (track, index) not in tiers:
            name = f"{TIERS[track]}: {display_name(parsed.class_names[index])}"
            tiers[track, index] = ElementTree.SubElement(
                root, "TIER", TIER_ID=name, LINGUISTIC_TYPE_REF=TIER_TYPE
            )
        slots = [slot_of[seconds] for seconds in times]
        annotation = ElementTree.SubElement(tiers[track, index], "ANNOTATION")
        aligned = ElementTree.SubElement(
            annotation,
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number}",
            TIME_SLOT_REF1=slots[0],
            TIME_SLOT_REF2=slots[1],
        )
        value = ElementTree.SubElement(aligned, "ANNOTATION_VALUE")
        confidence = two_decimals(mean_confidence(parsed.scores[track, slice(*times), index]))
        value.text = f"{display_name(parsed.class_names[index])} ({confidence})"
