"""File helpers: atomic writes, checksums, and names that cannot leave their folder."""

import csv
import errno
import functools
import hashlib
import json
import logging
import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError

logger = logging.getLogger(__name__)

# Permissions of new files; some libraries create theirs readable by the owner only.
UMASK = os.umask(0)
os.umask(UMASK)

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).resolve().parents[1]
RESOURCES = PACKAGE / "resources"


# Errors that prevent writing, and the advice for each.
FULL, CLOSED = "free some space there", "make its folder writable, or choose another"
FILE_ABOVE = "one of its parent folders is a file, so choose another path"
FOLDER = "give the path of a file inside this folder"
UNWRITABLE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EROFS: CLOSED,
    errno.EACCES: CLOSED,
    errno.EPERM: CLOSED,
    errno.EEXIST: FILE_ABOVE,
    errno.ENOTDIR: FILE_ABOVE,
    errno.EISDIR: FOLDER,
    errno.EBUSY: FOLDER,  # raised for `.` and `..`
    errno.ENAMETOOLONG: "choose a shorter name",
}


# Errors of what a file system does not offer: chmod on CIFS and gvfs, flock on Lustre and NFS.
NOT_OFFERED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@contextmanager
def where_offered(call: str, *refusals: int) -> Iterator[None]:
    """Make a system call, or go on without it where the file system has none, and say so once.

    ``refusals`` are further errors that mean that it has none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {*NOT_OFFERED, *refusals}:
            raise
        _say_not_offered(call, str(error.strerror))


@functools.cache
def _say_not_offered(call: str, reason: str) -> None:
    logger.warning("the file system has no %s (%s); going on without it", call, reason)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` if the block succeeds.

    Readers see either the old file or the complete new one. A killed process leaves only a
    ``.tmp`` file behind, which the next run overwrites or ignores.

    Raises
    ------
    PipelineError
        The disk is full, the folder is not writable, or the path cannot be a file.
    """
    # The host name keeps machines that share the folder apart: process ids repeat across them.
    temporary = path.parent / f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written, where_offered("fsync"):
            os.fsync(written.fileno())
        mode = 0o666 & ~UMASK
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            with where_offered("chmod", errno.EPERM):
                temporary.chmod(mode)
        temporary.replace(path)
    except Exception as error:
        number = _error_number(error)
        if number not in UNWRITABLE:
            raise
        raise PipelineError(
            f"'{path}' cannot be written ({os.strerror(number)}); {UNWRITABLE[number]}, and run"
            " again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _error_number(error: BaseException) -> int | None:
    """Return the errno behind an exception, or None.

    safetensors gives it only in its message; torch wraps the system's error in its own.
    """
    if isinstance(number := getattr(error, "errno", None), int):
        return number
    if mentioned := re.search(r"\(os error (\d+)\)", str(error)):
        return int(mentioned[1])
    return _error_number(error.__context__) if error.__context__ else None


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, before work that takes long.

    Raises
    ------
    PipelineError
        They cannot; see `atomic_path`.
    """
    trial = folder / ".writable"
    write_text(trial, "")
    trial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; key order is kept."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a tab-separated table, atomically."""
    _write_table(path, header, rows, "\t")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated table, atomically; None becomes an empty cell."""
    _write_table(path, header, rows, ",")


def _write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str
) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(parts: object) -> str:
    """Return a 10-digit hex digest of ``parts`` (JSON values)."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def existing_file(path: Path, what: str) -> Path:
    """Return ``path`` if it is a file.

    Raises
    ------
    PipelineError
        There is no such file.
    """
    if not path.is_file():
        why = "it is a folder" if path.is_dir() else "no such file"
        raise PipelineError(f"cannot find {what} at '{path}': {why}; check the path.")
    return path


def license_path() -> Path:
    """Return the licence's file: in the package when it is installed, else in the checkout."""
    installed = PACKAGE / "LICENSE"
    return installed if installed.is_file() else REPOSITORY / "LICENSE"


def child_path(folder: Path, name: str) -> Path:
    """Return ``folder/name``, where the name must not leave the folder; see `check_file_name`."""
    check_file_name(name)
    return folder / name


def check_file_name(name: str) -> None:
    """Check that a name cannot leave the folder it is joined to.

    Raises
    ------
    PipelineError
        The name is empty, contains a slash, a backslash or a NUL, or is ``.`` or ``..``.
    """
    if not name or name in {".", ".."} or any(mark in name for mark in "/\\\0"):
        raise PipelineError(f"{name!r} cannot be used as a file name; rename the video.")
