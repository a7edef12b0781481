"""Download of single files: resumable, and accepted only with the expected checksum."""

import http.client
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import PipelineError
from pipeline.core.files import UNWRITABLE, sha256_of
from pipeline.core.progress import track

logger = logging.getLogger(__name__)

SCHEMES = ("https", "http", "file")
CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 60.0
# Waits before the second, third and fourth attempt, in seconds.
BACKOFF_SECONDS = (2.0, 8.0, 30.0)
# Responses worth a retry: timeouts, too many requests and temporary server errors.
TRANSIENT_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
RANGE_NOT_SATISFIABLE = 416


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirect handler that follows http and https only."""

    def redirect_request(self, request, file, code, message, headers, url):  # type: ignore[no-untyped-def]
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise PipelineError(
                f"'{request.full_url}' redirects to '{url}'; a redirect must be http or https."
            )
        return super().redirect_request(request, file, code, message, headers, url)


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download_checked(url, part, sha256)
        part.replace(path)
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
    for wait in (*BACKOFF_SECONDS, None):
        try:
            _attempt(url, part)
            return
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            # Refusals by the server are URLErrors, which have no errno.
            if getattr(error, "errno", None) in UNWRITABLE:
                raise
            code = getattr(error, "code", None)
            lasting = url.startswith("file:") or (code and code not in TRANSIENT_CODES)
            if wait is None or lasting:
                raise PipelineError(
                    f"'{url}' could not be downloaded ({error}); check the address and the"
                    " network, then run again: the partial download is kept."
                ) from None
            logger.warning("%s: %s; retrying in %.0f s", url, error, wait)
            time.sleep(wait)


def _attempt(url: str, part: Path) -> None:
    """Request the missing bytes and append them; start over if the server cannot resume."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "avvp-pipeline"})
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
            _copy(response, file, part.name.removesuffix(".part"), int(length) if length else 0)
            file.flush()
            os.fsync(file.fileno())


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
