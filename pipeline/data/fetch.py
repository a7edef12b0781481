"""Downloads: one file, resumed where it was cut off, and kept only with the right checksum."""

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
# Waits before the second, third and fourth attempt.
BACKOFF_SECONDS = (2.0, 8.0, 30.0)
# Answers that another attempt may change: too many requests, and the server's own troubles.
TRANSIENT_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
RANGE_NOT_SATISFIABLE = 416


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def redirect_request(self, request, file, code, message, headers, url):  # type: ignore[no-untyped-def]
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise PipelineError(f"{request.full_url} redirects to '{url}', which is not followed.")
        return super().redirect_request(request, file, code, message, headers, url)


def fetch(url: str, path: Path, sha256: str) -> None:
    """Download ``url`` to ``path``, unless it is there already.

    The bytes go to ``path`` + ``.part``, which a later call carries on with, and get their name
    only when the checksum is right. Where it is not right and the part was begun earlier, maybe of
    an older file, the download starts over once.

    Parameters
    ----------
    url
        ``https``, ``http`` or ``file``.
    path
        Where the file goes.
    sha256
        Its checksum, 64 hex digits.

    Raises
    ------
    PipelineError
        The scheme is another, the server does not serve the file, the disk is full or may not be
        written, or the checksum differs.
    """
    if (scheme := urllib.parse.urlsplit(url).scheme) not in SCHEMES:
        raise PipelineError(f"'{url}' has scheme '{scheme}'; allowed are {', '.join(SCHEMES)}.")
    if path.is_file() and sha256_of(path) == sha256:
        logger.info("%s is there already, checksum as expected", path)
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
            " again: what has arrived is kept."
        ) from None


def _download_checked(url: str, part: Path, sha256: str) -> None:
    """Fill ``part``; start over once where it was begun earlier and its checksum is another."""
    was_begun = part.is_file()
    _download(url, part)
    if was_begun and sha256_of(part) != sha256:
        logger.warning("%s has another checksum with its earlier part; it starts over", url)
        part.unlink()
        _download(url, part)
    if (seen := sha256_of(part)) != sha256:
        part.unlink()
        raise PipelineError(
            f"'{url}' has sha256 {seen}, but {sha256} is asked for; the file there has changed or"
            " the checksum is another file's."
        )


def _download(url: str, part: Path) -> None:
    """Fill ``part``, carrying on with what is there, in a few attempts.

    Raises
    ------
    PipelineError
        The server does not serve it.
    OSError
        It cannot be written, which no attempt changes.
    """
    for wait in (*BACKOFF_SECONDS, None):
        try:
            _attempt(url, part)
            return
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            # The server's own refusals come as a URLError, which has no number.
            if getattr(error, "errno", None) in UNWRITABLE:
                raise
            code = getattr(error, "code", None)
            lasting = url.startswith("file:") or (code and code not in TRANSIENT_CODES)
            if wait is None or lasting:
                raise PipelineError(
                    f"'{url}' could not be downloaded ({error}); check the address and the"
                    " network, then run again: what has arrived is kept."
                ) from None
            logger.warning("%s: %s; next attempt in %.0f s", url, error, wait)
            time.sleep(wait)


def _attempt(url: str, part: Path) -> None:
    """Ask for what is missing and append it; start over where the server cannot resume."""
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
            return  # nothing is missing; the checksum decides
        raise
    with response:
        resumed = getattr(response, "status", None) == http.client.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        with part.open("ab" if resumed else "wb") as file:
            _copy(response, file, part.name.removesuffix(".part"), int(length) if length else 0)
            file.flush()
            os.fsync(file.fileno())


def _copy(response: BinaryIO, file: BinaryIO, label: str, length: int) -> None:
    """Copy the answer chunk by chunk; a connection that ends early is an error."""

    def chunks() -> Iterator[bytes]:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk

    copied = 0
    for chunk in track(chunks(), -(-length // CHUNK_BYTES), f"fetch {label}", unit="MiB"):
        file.write(chunk)
        copied += len(chunk)
    if copied < length:
        raise http.client.IncompleteRead(b"", length - copied)
