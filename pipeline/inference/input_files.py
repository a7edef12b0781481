"""The files that a user names, and what they are called in tables and folders."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint
from pipeline.data.manifest import EXTENSIONS

SOUND_EXTENSIONS = ("m4a", "mp3", "wav", "flac", "ogg", "opus", "aac", "weba", "wma")
# Files that a run writes beside the videos' folders.
PAGE_FILE = "index.html"
STATUS_FILE = "status.tsv"
# Longest name of a video in tables and of its folder; file systems allow 255 bytes.
NAME_BYTES = 120


def list_files(given: Iterable[Path]) -> list[Path]:
    """Return the files, with each folder replaced by the media files in it, sorted by name.

    Raises
    ------
    PipelineError
        A folder contains no media files.
    """
    known = {f".{extension}" for extension in (*EXTENSIONS, *SOUND_EXTENSIONS)}
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [p for p in path.iterdir() if p.suffix.lower() in known and p.is_file()]
        if not inside:
            raise PipelineError(
                f"the folder '{path}' has no media files; their names must end in"
                f" {', '.join(sorted(known))}."
            )
        found += sorted(inside)
    return found


def safe_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each file: its stem with unsafe characters as ``_``, numbered if taken.

    Names of the run's own files are taken: the folder of ``index.html.mp4`` is ``index.html-2``.
    """
    taken = {PAGE_FILE, STATUS_FILE}
    names = []
    for path in paths:
        stem = re.sub(r"[^\w.()+-]", "_", path.stem).lstrip(".") or "video"
        stem = stem.encode(errors="replace")[:NAME_BYTES].decode(errors="ignore")
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def printable(text: str) -> str:
    """Return a file name for display, with undecodable bytes and control characters as �."""
    hidden = {"Cc", "Cs"}
    return "".join("�" if unicodedata.category(mark) in hidden else mark for mark in text)


def folder_digest(folder: Path) -> str:
    """Return a digest that changes when a folder's media files, or their sizes, change.

    Raises
    ------
    PipelineError
        The folder contains no media files.
    """
    return fingerprint([[path.name, path.stat().st_size] for path in list_files([folder])])
