"""Download of single files: resumable, and accepted only with the expected checksum.

``retried``, ``append_rest`` and ``writing_to`` also serve the Hub's files, see
``pipeline.data.hub``.
"""

import http.client
import logging
import os
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from pipeline.core.errors import PipelineError
from pipeline.core.files import UNWRITABLE, sha256_of, where_offered
from pipeline.core.progress import track
from pipeline.core.wording import first_line

logger = logging.getLogger(__name__)

SCHEMES = ("https", "http", "file")
CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 60.0
# Waits before the second, third and fourth attempt, in seconds.
BACKOFF_SECONDS = (2.0, 8.0, 30.0)
# Responses worth a retry: timeouts, too many requests and temporary server errors.
TRANSIENT_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
RANGE_NOT_SATISFIABLE = 416
# A server that asks for a longer wait gets none: the user is told instead.
LONGEST_RETRY_SECONDS = 300.0

Answer = TypeVar("Answer")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirect handler that follows http and https only, and keeps a token from other hosts."""

    def redirect_request(self, request, file, code, message, headers, url):  # type: ignore[no-untyped-def]
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise PipelineError(
                f"'{request.full_url}' redirects to '{url}'; a redirect must be http or https."
            )
        redirected = super().redirect_request(request, file, code, message, headers, url)
        token = request.unredirected_hdrs.get("Authorization")
        if redirected and token and _origin(url) == _origin(request.full_url):
            redirected.add_unredirected_header("Authorization", token)
        return redirected


def fetch(url: str, path: Path, sha256: str) -> None:
    """Download ``url`` to ``path``, unless the file already exists with this checksum.

    The data goes to ``path`` + ``.part``, which later calls resume, and is renamed only when the
    checksum matches. If the checksum of a resumed download does not match, for example because the
    file on the server has changed, the download starts over once.

    Parameters
    ----------
    url
        ``https``, ``http`` or ``file``.
    path
        Path to write.
    sha256
        Expected checksum, 64 hex digits.

    Raises
    ------
    PipelineError
        The scheme is not supported, the download fails, the file cannot be written, or the
        checksum differs.
    """
    if (scheme := urllib.parse.urlsplit(url).scheme) not in SCHEMES:
        raise PipelineError(
            f"the scheme of '{url}' must be one of {', '.join(SCHEMES)}, not '{scheme}'."
        )
    if path.is_file() and sha256_of(path) == sha256:
        logger.info("%s already exists with the expected checksum", path)
        return
    part = path.with_name(path.name + ".part")
    with writing_to(path):
        _download_checked(url, part, sha256)
        part.replace(path)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Make the folder of a download, and report a file that cannot be written in one sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise PipelineError(
            f"'{path}' cannot be written ({error.strerror}); {UNWRITABLE[error.errno]}, and run"
            " again: the partial download is kept."
        ) from None


def _download_checked(url: str, part: Path, sha256: str) -> None:
    """Fill ``part``; if an earlier part leads to a wrong checksum, start over once."""
    was_begun = part.is_file()
    _download(url, part)
    if was_begun and sha256_of(part) != sha256:
        logger.warning("%s: wrong checksum after resuming; starting over", url)
        part.unlink()
        _download(url, part)
    if (seen := sha256_of(part)) != sha256:
        part.unlink()
        raise PipelineError(
            f"'{url}' has sha256 {seen}, but {sha256} was expected; the file on the server has"
            " changed or the expected checksum is wrong."
        )


def _download(url: str, part: Path) -> None:
    """Fill ``part``, resuming it if it exists, with a few retries.

    Raises
    ------
    PipelineError
        The download fails.
    OSError
        The file cannot be written; retries would not help.
    """
    try:
        retried(lambda: append_rest(url, part), url, lambda error: _is_transient(url, error))
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        # Refusals by the server are URLErrors, which have no errno.
        if getattr(error, "errno", None) in UNWRITABLE:
            raise
        kept = ": the partial download is kept" if part.is_file() else ""
        raise PipelineError(
            f"'{url}' could not be downloaded ({error}); check the address and the"
            f" network, then run again{kept}."
        ) from None


def _is_transient(url: str, error: Exception) -> bool:
    """Return whether a failed request may succeed later; a missing network is not awaited."""
    code = getattr(error, "code", None)
    is_offline = isinstance(getattr(error, "reason", None), socket.gaierror)
    lasting = is_offline or url.startswith("file:") or (code and code not in TRANSIENT_CODES)
    is_written = getattr(error, "errno", None) not in UNWRITABLE
    return isinstance(error, (http.client.HTTPException, OSError)) and is_written and not lasting


def retried(
    action: Callable[[], Answer], what: str, is_transient: Callable[[Exception], bool]
) -> Answer:
    """Call ``action`` until it succeeds, at most four times.

    The waits grow, and are longer if the server asks for it (``Retry-After``); each is logged.

    Parameters
    ----------
    action
        What may fail.
    what
        Name of the download, for the log.
    is_transient
        Tells whether an error is worth another attempt; others are raised at once.
    """
    for wait in (*BACKOFF_SECONDS, None):
        try:
            return action()
        except Exception as error:
            asked = retry_after(error)
            if wait is None or not is_transient(error) or asked > LONGEST_RETRY_SECONDS:
                raise
            seconds = asked or wait
            logger.warning("%s: %s; retrying in %.0f s", what, first_line(error), seconds)
            time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")


def retry_after(error: Exception) -> float:
    """Return how many seconds the server asked to wait; 0 if it did not."""
    headers = getattr(getattr(error, "response", error), "headers", None) or {}
    asked = headers.get("Retry-After") or ""
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


def append_rest(
    url: str, part: Path, private: Mapping[str, str] | None = None, label: str | None = None
) -> None:
    """Request the bytes that ``part`` lacks and append them.

    A server that cannot resume makes it start over.

    Parameters
    ----------
    url
        Address of the file.
    part
        Partial download; need not exist.
    private
        Headers for the address's own host, which a redirect to another host does not get.
    label
        Name of the download, for its progress (default: the name of ``part``).

    Raises
    ------
    OSError
        The server refuses, the connection breaks, or the file cannot be written.
    http.client.HTTPException
        The response ends early or is malformed.
    """
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "avvp-pipeline"})
    for name, value in (private or {}).items():
        request.add_unredirected_header(name, value)
    if have and not url.startswith("file:"):
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.build_opener(_SafeRedirects).open(
            request, timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if have and error.code == RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the caller checks the checksum
        raise
    with response:
        resumed = getattr(response, "status", None) == http.client.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        with part.open("ab" if resumed else "wb") as file:
            name = label or part.name.removesuffix(".part")
            _copy(response, file, name, int(length) if length else 0)
            file.flush()
            with where_offered("fsync"):
                os.fsync(file.fileno())


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


def _copy(response: BinaryIO, file: BinaryIO, label: str, length: int) -> None:
    """Copy the response in chunks; raise an error if the connection ends early."""

    def chunks() -> Iterator[bytes]:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk

    copied = 0
    for chunk in track(chunks(), -(-length // CHUNK_BYTES), f"fetch {label}", unit="MiB"):
        file.write(chunk)
        copied += len(chunk)
    if copied < length:
        raise http.client.IncompleteRead(b"", length - copied)
