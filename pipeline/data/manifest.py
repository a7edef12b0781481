"""The video manifest: name, split, shard, file and window of every video."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import check_file_name, write_tsv
from pipeline.data.annotations import SPLIT_TABLES, read_splits
from pipeline.media.folder import EXTENSIONS, MediaFolder, read_folder
from pipeline.media.video_window import NO_FILE, VideoWindow

# {id}_{start}_{end}; ids may contain '_' and '-', and five names of LLP have decimals.
NAME = re.compile(r"^(?P<id>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One video of the annotation tables.

    Attributes
    ----------
    filename
        Full video name, ``{id}_{start}_{end}``.
    split
        ``train``, ``val`` or ``test``.
    shard
        1 to the number of shards, from a stable hash of the name.
    path
        Its file; empty if the folder has none.
    start, end
        The window in that file, in seconds.
    note
        Why it has no file; empty if it has one.
    """

    filename: str
    split: str
    shard: int
    path: str
    start: float
    end: float
    note: str = ""

    @property
    def window(self) -> VideoWindow:
        """The part of the file to decode."""
        return VideoWindow(self.filename, self.path, self.start, self.end, self.note)


COLUMNS = [column.name for column in fields(ManifestRow)]
# Like `dataclasses.astuple`, but without its deep copy: a manifest may have a million rows.
as_columns: Callable[[ManifestRow], tuple[object, ...]] = attrgetter(*COLUMNS)


def list_videos(
    annotations: Path,
    videos: Path,
    shards: int,
    untrimmed: bool = False,
    follow_links: bool = False,
) -> list[ManifestRow]:
    """List every video of the tables, in table order, with its file in ``videos``.

    Files are named after the full video name or after the id. A file with the full name is the clip
    itself, so its window starts at 0. A file with the id is the clip too, or with ``untrimmed`` the
    full video, in which the window starts at the start time in the name. Links to files outside the
    folder are taken with ``follow_links``.

    Raises
    ------
    PipelineError
        A table or the folder is missing, a name is not ``{id}_{start}_{end}`` or is in two splits,
        a clip named after its id matches two names, or ``shards`` is below 1.
    """
    if shards < 1:
        raise PipelineError(f"shards must be 1 or more, not {shards}.")
    folder = read_folder(videos, follow_links)
    files, others = _by_stem(folder, videos), _notes(folder)
    rows: dict[str, ManifestRow] = {}
    owners: dict[str, str] = {}
    for split, names in read_splits(annotations).items():
        for name in names:
            path, start, end = _locate(name, files, untrimmed)
            if path and not untrimmed and (owner := owners.setdefault(path, name)) != name:
                raise PipelineError(
                    f"'{path}' could be the clip '{owner}' or the clip '{name}'; name each clip by "
                    "its full name, or set untrimmed: true if the file is the full video."
                )
            note = "" if path else _note(name, others)
            rows[name] = ManifestRow(name, split, shard_of(name, shards), path, start, end, note)
    return list(rows.values())


def unused_files(folder: MediaFolder, rows: Iterable[ManifestRow]) -> str:
    """Return a sentence about the media files of a folder that no row takes; empty without any."""
    used = {os.path.basename(row.path) for row in rows}
    unused = [name for name in folder.files if name not in used]
    if not unused:
        return ""
    return (
        f"{len(unused)} of {len(folder.files)} media files not used, such as '{unused[0]}': no"
        " table has such a video, or its full name or another format is preferred"
    )


def window_of(name: str) -> tuple[str, float, float]:
    """Return the id of a name, and the start and end of its window in the full video, in seconds.

    Raises
    ------
    PipelineError
        The name cannot be a file name, or is not ``{id}_{start}_{end}``.
    """
    check_file_name(name)
    match = NAME.match(name)
    if match is None or float(match["end"]) <= float(match["start"]):
        raise PipelineError(
            f"the video name {name!r} must be ID_START_END with START before END, such as "
            "BjCEufrlXm4_20_30; rename it in the tables."
        )
    return match["id"], float(match["start"]), float(match["end"])


def shard_of(name: str, shards: int) -> int:
    """Return the shard (1 to ``shards``) of a name, independent of all other names."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % shards + 1


def rows_of_shard(rows: Iterable[ManifestRow], shard: int, shards: int) -> list[ManifestRow]:
    """Return the rows of one shard.

    Raises
    ------
    PipelineError
        ``shard`` is not between 1 and ``shards``.
    """
    if not 1 <= shard <= shards:
        raise PipelineError(f"shard must be 1 to {shards} (the number of shards), not {shard}.")
    return [row for row in rows if row.shard == shard]


def shard_digest(rows: Iterable[ManifestRow], shard: int) -> str:
    """Return a 16-digit hex digest of everything that decoding the shard reads.

    It covers each video's name, window, file name and file size. Rows of other shards are ignored.
    Folders, time stamps and splits do not count, so moving or copying a folder keeps its digests.
    """
    digest = hashlib.sha256()
    for row in sorted((row for row in rows if row.shard == shard), key=lambda row: row.filename):
        file = os.path.basename(row.path)
        digest.update(repr((row.filename, file, row.start, row.end, _size(row.path))).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class ManifestSource:
    """The tables and the video folder of a manifest, with digests that change with their contents.

    The videos are listed once per state of the tables, so that a workflow that asks for digests
    before the tables are fetched gets new ones afterwards.

    Attributes
    ----------
    annotations, videos, shards, untrimmed, follow_links
        See `list_videos`.
    """

    annotations: Path
    videos: Path
    shards: int
    untrimmed: bool = False
    follow_links: bool = False

    def shard_digest(self, shard: int) -> str:
        """Return a shard's digest; empty while a table or the folder is missing."""
        stamps = self._stamps()
        return _shard_digest(self, stamps, shard) if stamps else ""

    def digest(self) -> str:
        """Return a digest of the manifest; empty while a table or the folder is missing."""
        if not (stamps := self._stamps()):
            return ""
        digest = hashlib.sha256()
        for rows in _rows_by_shard(self, stamps).values():
            digest.update(repr([*map(as_columns, rows)]).encode())
        return digest.hexdigest()[:16]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return for each split how many videos have a file, and how many its table lists.

        Empty while a table or the folder is missing.
        """
        if not (stamps := self._stamps()):
            return {}
        rows = [*chain.from_iterable(_rows_by_shard(self, stamps).values())]
        found = Counter(row.split for row in rows if row.path)
        listed = Counter(row.split for row in rows)
        return {split: (found[split], listed[split]) for split in SPLIT_TABLES}

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
    options = (sources.shards, sources.untrimmed, sources.follow_links)
    for row in list_videos(sources.annotations, sources.videos, *options):
        shards.setdefault(row.shard, []).append(row)
    return shards


@cache
def _shard_digest(sources: ManifestSource, stamps: tuple[int, ...], shard: int) -> str:
    return shard_digest(_rows_by_shard(sources, stamps).get(shard, []), shard)


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write the rows as a tab-separated table, atomically."""
    write_tsv(path, COLUMNS, map(as_columns, rows))


def _by_stem(folder: MediaFolder, path: Path) -> dict[str, str]:
    """Return stem to path of a folder's files; of several with one stem, the preferred one."""
    ranks = {extension: rank for rank, extension in enumerate(EXTENSIONS)}
    best: dict[str, tuple[int, str]] = {}
    for name in folder.files:
        stem, _, extension = name.rpartition(".")
        rank = ranks[extension.lower()]
        if stem not in best or rank < best[stem][0]:
            best[stem] = (rank, os.path.join(path, name))
    return {stem: file for stem, (_, file) in best.items()}


def _notes(folder: MediaFolder) -> dict[str, str]:
    """Return stem or whole name of what is passed over to a phrase about it."""
    return {
        key: f"'{name}' is {reason}"
        for name, reason in folder.passed_over.items()
        for key in (name.rpartition(".")[0], name)
    }


def _note(name: str, others: dict[str, str]) -> str:
    """Return why a video has no file."""
    found = others.get(name) or others.get(window_of(name)[0])
    return f"{NO_FILE}; {found}" if found else NO_FILE


def _locate(name: str, files: dict[str, str], untrimmed: bool) -> tuple[str, float, float]:
    """Return the path (or an empty string) and the window of a name."""
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
