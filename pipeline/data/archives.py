"""Arrays in folders of ``.npy`` files and in zip archives of them, read one by one.

An archive is never extracted: each member is read straight from it, so that a broken or hostile
archive writes nothing, and a half-extracted folder cannot be taken for a whole one. Nothing is
unpickled. Names are relative paths with slashes, such as ``CLIP/features/BjCEufrlXm4.npy``.
"""

import io
import logging
import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint
from pipeline.core.references import file_of_repository, is_hub_reference, located
from pipeline.core.shards import Array
from pipeline.core.wording import counted

logger = logging.getLogger(__name__)

ARRAY_SUFFIX = ".npy"
ARCHIVE_SUFFIX = ".zip"
# Largest header of an .npy file of a plain array, with room to spare; NumPy pads to 64 bytes.
HEADER_BYTES = 4096
# More members than any released archive has; each takes memory before anything is read.
MOST_MEMBERS = 1_000_000
# The end of an archive that is hashed: its list of members, with their sizes and checksums.
HASHED_BYTES = 4 * 2**20
# Resource forks that macOS adds to archives.
IGNORED_FOLDER = "__MACOSX"
_IS_ENCRYPTED = 1


class ArraySource(Protocol):
    """Arrays by name, in a folder or an archive."""

    path: Path

    def names(self) -> Sequence[str]:
        """Return the names of all arrays, sorted."""

    def read(self, name: str, largest: int) -> Array:
        """Return one array, whose values may take ``largest`` bytes."""

    def __enter__(self) -> Self:
        """Open the source."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the source."""


class ArrayFolder:
    """The ``.npy`` files in a folder and its subfolders.

    Links that lead out of the folder are ignored, with a warning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: tuple[str, ...] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def names(self) -> Sequence[str]:
        """Return the names of all arrays, sorted."""
        if self._names is None:
            self._names = tuple(name for name, _ in list_arrays(self.path))
        return self._names

    def read(self, name: str, largest: int) -> Array:
        """Return one array.

        Raises
        ------
        PipelineError
            The file is larger than ``largest`` bytes and a header, or not a plain array.
        """
        path = self.path / name
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                _check_size(str(path), size, largest)
                content = file.read(size)
        except OSError as error:
            raise PipelineError(
                f"'{path}' cannot be read ({error.strerror}); check the file and run again."
            ) from None
        return parse_npy(content, str(path))


class ArrayArchive:
    """The ``.npy`` members of a zip archive.

    Raises
    ------
    PipelineError
        The file is not a zip archive, or a member has a name that leaves the folder, is a link, is
        encrypted, or is listed twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise PipelineError(f"cannot find the archive '{path}'; check the path.") from None
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            raise PipelineError(
                f"'{path}' is not a whole zip archive ({error}); delete it and download it again."
            ) from None
        try:
            self._members = self._checked_members()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def names(self) -> Sequence[str]:
        """Return the names of all arrays, sorted."""
        return sorted(self._members)

    def read(self, name: str, largest: int) -> Array:
        """Return one array, after checking the member's checksum.

        No more than the stated size is ever read, so a small member cannot fill the memory.

        Raises
        ------
        PipelineError
            The member states a size above ``largest`` bytes and a header, is corrupt, or is not a
            plain array.
        """
        member = self._members[name]
        what = f"{self.path}: {name}"
        _check_size(what, member.file_size, largest)
        try:
            content = self._file.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise PipelineError(
                f"'{what}' is corrupt ({error or type(error).__name__}); delete the archive and"
                " download it again."
            ) from None
        except (NotImplementedError, RuntimeError) as error:
            raise PipelineError(
                f"'{what}' cannot be unpacked ({error}); it must be stored or deflated."
            ) from None
        if len(content) != member.file_size:
            raise PipelineError(
                f"'{what}' has {counted(len(content), 'byte')}, but the archive states"
                f" {member.file_size:,}; delete the archive and download it again."
            )
        return parse_npy(content, what)

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        listed = self._file.infolist()
        if len(listed) > MOST_MEMBERS:
            raise PipelineError(
                f"'{self.path}' lists {len(listed)} members; it must have at most {MOST_MEMBERS}."
            )
        members: dict[str, zipfile.ZipInfo] = {}
        for member in listed:
            if problem := _problem_of(member):
                raise PipelineError(
                    f"'{self.path}' has a member '{member.filename}' {problem}; download the"
                    " archive again from its authors."
                )
            if not _is_array(member.filename):
                continue
            if member.filename in members:
                raise PipelineError(
                    f"'{self.path}' lists the member '{member.filename}' twice; download the"
                    " archive again from its authors."
                )
            members[member.filename] = member
        return members


def array_path(source: str, name: str) -> Path:
    """Return where the arrays ``name`` of a release are: in ``name.zip`` or in the folder ``name``.

    An archive comes first: a folder beside it may be half extracted. A repository on the Hub has
    archives only.

    Parameters
    ----------
    source
        Folder of the release, or its reference on the Hub.
    name
        Name of the archive or folder.

    Raises
    ------
    PipelineError
        The folder has neither.
    """
    if is_hub_reference(source):
        return Path(located(file_of_repository(source, f"{name}{ARCHIVE_SUFFIX}")))
    folder = Path(source)
    archive = folder / f"{name}{ARCHIVE_SUFFIX}"
    if archive.is_file():
        return archive
    if (folder / name).is_dir():
        return folder / name
    raise PipelineError(
        f"'{folder}' has neither {archive.name} nor a folder {name}/; check the path."
    )


def open_arrays(path: Path) -> ArraySource:
    """Open an archive or a folder of arrays.

    Raises
    ------
    PipelineError
        There is no such file or folder, or see ``ArrayArchive``.
    """
    return ArrayFolder(path) if path.is_dir() else ArrayArchive(path)


def array_digest(path: Path) -> str:
    """Return a digest that changes with the arrays of an archive or a folder, without reading them.

    It covers an archive's size and its list of members with their checksums, and the names and
    sizes of a folder's files. Time stamps and the path do not count.

    Raises
    ------
    PipelineError
        There is no such file or folder.
    """
    if path.is_dir():
        return fingerprint(list_arrays(path))
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - HASHED_BYTES))
            return fingerprint([size, zlib.crc32(end := file.read()), zlib.adler32(end)])
    except OSError as error:
        raise PipelineError(
            f"'{path}' cannot be read ({error.strerror}); check the path."
        ) from None


def list_arrays(folder: Path) -> list[tuple[str, int]]:
    """Return name and size of every ``.npy`` file of a folder and its subfolders, sorted.

    Raises
    ------
    PipelineError
        There is no such folder.
    """
    if not folder.is_dir():
        raise PipelineError(f"cannot find the folder '{folder}'; check the path.")
    root = folder.resolve()
    return sorted(_arrays_below(folder, "", root))


def parse_npy(content: bytes, what: str) -> Array:
    """Return the array of a file in NumPy's format.

    Parameters
    ----------
    content
        The whole file.
    what
        Its name, for errors.

    Raises
    ------
    PipelineError
        It is not one plain array: it has pickled objects, another format, or another size.
    """
    try:
        shape, is_fortran, dtype, start = _header(bytes(content[: _header_end(content)]))
    except (ValueError, EOFError, TypeError, SyntaxError, OverflowError) as error:
        why = " ".join(str(error).split())
        raise PipelineError(f"'{what}' is not an .npy file ({why}); write it again.") from None
    if dtype.hasobject:
        raise PipelineError(
            f"'{what}' has pickled objects, which can run code; it must be an array of numbers."
        )
    count = 1
    for length in shape:
        count *= length
    if len(content) - start != count * dtype.itemsize:
        raise PipelineError(
            f"'{what}' has {counted(len(content) - start, 'byte')} of values, but its header"
            f" {shape} of {dtype} needs {count * dtype.itemsize:,}; write it again."
        )
    array = np.frombuffer(content, dtype, count, start)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _header_end(content: bytes) -> int:
    """Return where the values begin, from the first bytes of the file."""
    major, _ = np.lib.format.read_magic(io.BytesIO(content[:8]))
    width = 2 if major == 1 else 4
    end = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    if end > HEADER_BYTES:
        raise ValueError(f"its header has {end} bytes")
    return end


# The files of a folder nearly all have the same header, which takes longer to parse than to read.
@lru_cache(maxsize=64)
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"format version {version} holds names of fields")
    shape, is_fortran, dtype = read(file)
    return shape, is_fortran, dtype, file.tell()


def _check_size(what: str, size: int, largest: int) -> None:
    if size > largest + HEADER_BYTES:
        raise PipelineError(
            f"'{what}' has {size} bytes; it must have at most {largest + HEADER_BYTES} for an array"
            " of this kind."
        )


def _problem_of(member: zipfile.ZipInfo) -> str:
    """Return what makes a member of an archive unacceptable; empty if nothing does."""
    name = member.orig_filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ":" in parts[0] or ".." in parts or "\0" in name:
        return "whose name leaves the folder"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "that is a link"
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "that is neither a file nor a folder"
    if member.flag_bits & _IS_ENCRYPTED:
        return "that is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks others, such as bz2, in one piece, whatever size they state.
        return "that is neither stored nor deflated"
    return ""


def _is_array(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    is_hidden = file.startswith("._") or IGNORED_FOLDER in folder.split("/")
    return file.endswith(ARRAY_SUFFIX) and not is_hidden


def _arrays_below(folder: Path, prefix: str, root: Path) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root):
                logger.warning("'%s' links out of its folder; it is ignored", entry.path)
            elif entry.is_dir(follow_symlinks=False):
                found += _arrays_below(Path(entry.path), f"{prefix}{entry.name}/", root)
            elif _is_array(entry.name) and entry.is_file():
                found.append((f"{prefix}{entry.name}", entry.stat().st_size))
    return found
