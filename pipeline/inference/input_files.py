"""The files that a user names, and what they are called in tables and folders."""

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.files import fingerprint
from pipeline.core.wording import counted
from pipeline.media.folder import EXTENSIONS, MediaFolder, read_folder

logger = logging.getLogger(__name__)

# Files that a run writes beside the videos' folders.
PAGE_FILE = "index.html"
STATUS_FILE = "status.tsv"
# Longest name of a video in tables and of its folder; file systems allow 255 bytes.
NAME_BYTES = 120


@dataclass(frozen=True)
class InputFiles:
    """The files to parse.

    Attributes
    ----------
    named
        Unique names, for tables and folders, to the files.
    passed_over
        Other entries of folders that were given, and why they are not parsed.
    """

    named: Mapping[str, Path]
    passed_over: Mapping[str, ItemError] = field(default_factory=dict)


def find_files(given: Iterable[Path], follow_links: bool = False) -> InputFiles:
    """Return the files as `expand_folders` does, and name those that do not exist.

    Raises
    ------
    PipelineError
        No file exists, or a folder contains no media files.
    """
    files = expand_folders(given, follow_links)
    paths = list(files.named.values())
    missing = [path for path in paths if not path.exists()]
    if len(missing) == len(paths):
        too = f", nor {counted(len(paths) - 1, 'other file')}" if len(paths) > 1 else ""
        raise PipelineError(f"'{printable(str(paths[0]))}' does not exist{too}; check the path.")
    for path in missing:
        logger.warning("'%s' does not exist; it is left out", printable(str(path)))
    return files


def expand_folders(given: Iterable[Path], follow_links: bool = False) -> InputFiles:
    """Return the files, with each folder replaced by the media files in it, sorted by name.

    Raises
    ------
    PipelineError
        A folder contains no media files.
    """
    files: list[Path] = []
    passed_over: dict[str, ItemError] = {}
    for path in given:
        if not path.is_dir():
            files.append(path)
            continue
        folder = read_folder(path, follow_links)
        for sentence in folder.summary():
            logger.warning("'%s': %s", path, printable(sentence))
        if not folder.files:
            raise PipelineError(_no_media(path, folder))
        files += [path / name for name in folder.files]
        for name, reason in folder.passed_over.items():
            passed_over[printable(str(path / name))] = ItemError(Status.PASSED_OVER, reason)
    return InputFiles(dict(zip(safe_names(files), files, strict=True)), passed_over)


def _no_media(path: Path, folder: MediaFolder) -> str:
    found = "; ".join(folder.summary()) or "it is empty"
    return (
        f"the folder '{path}' has no media files ({found}); their names must end in"
        f" {', '.join(f'.{extension}' for extension in EXTENSIONS)}."
    )


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


def folder_digest(folder: Path, follow_links: bool = False) -> str:
    """Return a digest that changes when a folder's media files, or their sizes, change.

    Raises
    ------
    PipelineError
        It is not a folder.
    """
    names = read_folder(folder, follow_links).files
    return fingerprint([[name, (folder / name).stat().st_size] for name in names])
