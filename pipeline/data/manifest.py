"""Which videos there are: name, split, shard, file and the window inside the file."""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from operator import attrgetter
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import check_file_name, existing_file, write_tsv
from pipeline.data.annotations import SPLIT_TABLES, read_names
from pipeline.media.video_window import VideoWindow

logger = logging.getLogger(__name__)

# In the order of preference where a video has several files.
EXTENSIONS = ("mp4", "mkv", "webm", "mov", "avi", "m4v", "mpg", "mpeg", "ts", "flv", "ogv", "wmv")

# {id}_{start}_{end}; ids hold '_' and '-', five LLP names have decimals (methods.md 3).
NAME = re.compile(r"^(?P<id>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One video of the tables.

    Attributes
    ----------
    filename
        Whole name ``{id}_{start}_{end}``.
    split
        ``train``, ``val`` or ``test``.
    shard
        1 to the number of shards, a stable hash of the name.
    path
        Its file, or empty where the folder has none.
    start, end
        The window inside that file, in seconds.
    """

    filename: str
    split: str
    shard: int
    path: str
    start: float
    end: float

    @property
    def window(self) -> VideoWindow:
        """What is decoded of it."""
        return VideoWindow(self.filename, self.path, self.start, self.end)


COLUMNS = [column.name for column in fields(ManifestRow)]
# What `dataclasses.astuple` returns, without its deep copy: a plan may hold a million rows.
as_columns: Callable[[ManifestRow], tuple[object, ...]] = attrgetter(*COLUMNS)


def list_videos(
    annotations: Path, videos: Path, shards: int, untrimmed: bool = False
) -> list[ManifestRow]:
    """List every video of the tables, in table order, with its file in ``videos``.

    A file is named by the whole name or by the id. Named by the whole name it is the clip itself,
    so its window starts at 0; named by the id it is the clip too, or with ``untrimmed`` the full
    video, where the window starts at the name's start.

    Raises
    ------
    PipelineError
        A table or the folder is missing, a name is not of the form ``{id}_{start}_{end}`` or
        stands in two splits, a clip named by its id could be that of two names, or ``shards`` is
        below 1.
    """
    if shards < 1:
        raise PipelineError(f"shards is {shards}; allowed is 1 or more.")
    files = _list_videos(videos)
    rows: dict[str, ManifestRow] = {}
    owners: dict[str, str] = {}
    for split, table in SPLIT_TABLES.items():
        for name in read_names(annotations / table):
            if name in rows:
                raise PipelineError(
                    f"'{name}' is in the splits {rows[name].split} and {split}; "
                    f"remove it from one table in '{annotations}'."
                )
            path, start, end = _locate(name, files, untrimmed)
            if path and not untrimmed and (owner := owners.setdefault(path, name)) != name:
                raise PipelineError(
                    f"'{path}' is one clip, but '{owner}' and '{name}' are two; name each clip by "
                    "its whole name, or set untrimmed: true if the file is the full video."
                )
            rows[name] = ManifestRow(name, split, shard_of(name, shards), path, start, end)
    return list(rows.values())


def window_of(name: str) -> tuple[str, float, float]:
    """Return a name's id, and the start and end of its window in the full video, in seconds.

    Raises
    ------
    PipelineError
        The name cannot be a file name, or is not of the form ``{id}_{start}_{end}``.
    """
    check_file_name(name)
    match = NAME.match(name)
    if match is None or float(match["end"]) <= float(match["start"]):
        raise PipelineError(
            f"the video name {name!r} is not of the form id_start_end with start before end, as in "
            "BjCEufrlXm4_20_30; rename it in the tables."
        )
    return match["id"], float(match["start"]), float(match["end"])


def shard_of(name: str, shards: int) -> int:
    """Return the shard (1 to ``shards``) of a name; other names do not change it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % shards + 1


def rows_of_shard(rows: Iterable[ManifestRow], shard: int, shards: int) -> list[ManifestRow]:
    """Return the rows of one shard.

    Raises
    ------
    PipelineError
        ``shard`` is not 1 to ``shards``, or the rows were divided into another number of shards.
    """
    if not 1 <= shard <= shards:
        raise PipelineError(f"shard is {shard}; it must be 1 to {shards}, the number of shards.")
    chosen = [row for row in rows if row.shard == shard]
    for row in chosen:
        if shard_of(row.filename, shards) != shard:
            raise PipelineError(
                f"the manifest is not divided into {shards} shards; write it again with"
                f" --shards {shards}."
            )
    return chosen


def shard_digest(rows: Iterable[ManifestRow], shard: int) -> str:
    """Return 16 hex digits that change when what the shard's decoding reads changes.

    That is its names, and of each the window and the name and size of its file. Rows of other
    shards are skipped. Neither the folder, nor a file's time stamp, nor a video's split counts:
    moving or copying a folder keeps its digests.
    """
    digest = hashlib.sha256()
    for row in sorted((row for row in rows if row.shard == shard), key=lambda row: row.filename):
        file = os.path.basename(row.path)
        digest.update(repr((row.filename, file, row.start, row.end, _size(row.path))).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class ManifestSource:
    """Where tables and videos are; what stands for them changes when they do.

    They are listed once for each state of the tables: a workflow that asks before it has fetched
    them asks again when they are there.

    Attributes
    ----------
    annotations, videos, shards, untrimmed
        As `list_videos` takes them.
    """

    annotations: Path
    videos: Path
    shards: int
    untrimmed: bool = False

    def shard_digest(self, shard: int) -> str:
        """Return a shard's digest; empty while a table or the folder is not there."""
        stamps = self._stamps()
        return _shard_digest(self, stamps, shard) if stamps else ""

    def digest(self) -> str:
        """Return what changes when the manifest does; empty while it cannot be written."""
        if not (stamps := self._stamps()):
            return ""
        digest = hashlib.sha256()
        for rows in _rows_by_shard(self, stamps).values():
            digest.update(repr([*map(as_columns, rows)]).encode())
        return digest.hexdigest()[:16]

    def _stamps(self) -> tuple[int, ...]:
        tables = [self.annotations / table for table in SPLIT_TABLES.values()]
        if not self.videos.is_dir() or not all(table.is_file() for table in tables):
            return ()
        return tuple(table.stat().st_mtime_ns for table in tables)


@lru_cache(maxsize=1)
def _rows_by_shard(
    sources: ManifestSource, _stamps: tuple[int, ...]
) -> dict[int, list[ManifestRow]]:
    shards: dict[int, list[ManifestRow]] = {}
    for row in list_videos(sources.annotations, sources.videos, sources.shards, sources.untrimmed):
        shards.setdefault(row.shard, []).append(row)
    return shards


@cache
def _shard_digest(sources: ManifestSource, stamps: tuple[int, ...], shard: int) -> str:
    return shard_digest(_rows_by_shard(sources, stamps).get(shard, []), shard)


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write the rows as a tab-separated table, atomically."""
    write_tsv(path, COLUMNS, map(as_columns, rows))


def read_manifest(path: Path, videos: Path) -> list[ManifestRow]:
    """Read a manifest; its files are looked for in ``videos``, wherever that folder is now.

    Raises
    ------
    PipelineError
        The table is missing, or was not written by ``write_manifest``.
    """
    text = existing_file(path, "the manifest").read_text("utf-8")
    header, *lines = [line.split("\t") for line in text.splitlines()]
    try:
        if header != COLUMNS:
            raise ValueError(f"the columns are not {', '.join(COLUMNS)}")
        return [_manifest_row(videos, *values) for values in lines]
    except (TypeError, ValueError) as error:
        raise PipelineError(f"'{path}' is not a manifest ({error}); write it again.") from None


def _manifest_row(
    videos: Path, filename: str, split: str, shard: str, path: str, start: str, end: str
) -> ManifestRow:
    found = os.path.join(videos, os.path.basename(path)) if path else ""
    return ManifestRow(filename, split, int(shard), found, float(start), float(end))


def _list_videos(folder: Path) -> dict[str, str]:
    """Return stem -> path of the folder's videos; links that lead out of it are left out."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_inside(entry, folder))
    except (FileNotFoundError, NotADirectoryError):
        raise PipelineError(
            f"the videos were looked for in '{folder}', but no folder is there; check the path."
        ) from None
    ranks = {extension: rank for rank, extension in enumerate(EXTENSIONS)}
    best: dict[str, tuple[int, str]] = {}
    for name in names:
        stem, _, extension = name.rpartition(".")
        rank = ranks.get(extension.lower())
        if rank is not None and stem and (stem not in best or rank < best[stem][0]):
            best[stem] = (rank, os.path.join(folder, name))
    return {stem: path for stem, (_, path) in best.items()}


def _is_inside(entry: os.DirEntry[str], folder: Path) -> bool:
    if not entry.is_file():
        return False
    if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(folder.resolve()):
        logger.warning("'%s' is a link that leaves its folder; it is not followed", entry.path)
        return False
    return True


def _locate(name: str, files: dict[str, str], untrimmed: bool) -> tuple[str, float, float]:
    """Return the path (or nothing) and the window of a name."""
    identity, start, end = window_of(name)
    if name in files or not untrimmed:
        path = files.get(name) or files.get(identity, "")
        return path, 0.0, round(end - start, 6)
    return files.get(identity, ""), start, end


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size if path else -1
    except FileNotFoundError:
        return -1
