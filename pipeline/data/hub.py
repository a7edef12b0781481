"""Files and repositories of the Hugging Face Hub, checked and pinned from then on.

``huggingface_hub`` says where a file is, at which commit, and what it must be; the file itself is
downloaded as any other, because that library does not resume what an earlier process began.
"""

import fcntl
import hashlib
import http.client
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.files import UNWRITABLE, fingerprint, sha256_of, write_json
from pipeline.core.references import HubReference, parse_hub_reference
from pipeline.core.wording import counted, first_line
from pipeline.data.fetch import (
    TRANSIENT_CODES,
    Answer,
    append_rest,
    retried,
    retry_after,
    writing_to,
)

logger = logging.getLogger(__name__)

HASH = r"[0-9a-f]{64}|[0-9a-f]{40}"  # SHA-256 or git's
RECORD_SUFFIX = ".hub.json"
FETCH, UPDATE = "`avvp fetch {} --out {}`", "`avvp fetch {} --out {} --update`"
# A connection that broke, and one that was not made.
BROKEN = frozenset(
    {"ReadTimeout", "ReadError", "RemoteProtocolError", "HTTPException", "TimeoutError", "SSLError"}
    | {"ConnectionResetError", "ConnectionAbortedError", "BrokenPipeError"}
)
UNREACHABLE = frozenset({"TransportError", "URLError", "OfflineModeIsEnabled"})


@dataclass(frozen=True)
class HubRecord:
    """What a fetched file was on the Hub.

    Attributes
    ----------
    repository, file, revision, kind
        The reference.
    commit
        The commit that the revision stood for; empty if the Hub was not asked.
    sha256, size
        The file's checksum and its size in bytes.
    verified
        Whether the Hub states the same size and checksum. Not so for a file that was put there by
        hand while the Hub could not be asked.
    """

    repository: str
    file: str
    revision: str
    commit: str
    sha256: str
    size: int
    kind: str = "model"
    verified: bool = True

    @property
    def reference(self) -> HubReference:
        """What was asked for."""
        return HubReference(self.repository, self.file, self.revision, self.kind)


@dataclass(frozen=True)
class StatedFile:
    """What the Hub states about a file.

    Attributes
    ----------
    commit
        The commit that the revision stands for.
    size
        Size in bytes; None if not stated.
    digest
        SHA-256 of a file in large file storage, and git's hash of any other.
    """

    commit: str
    size: int | None
    digest: str


class HubUnreachableError(PipelineError):
    """The Hub cannot be asked: there is no network, or it must not be used."""


def record_path(path: Path) -> Path:
    """Return where the record of a fetched file is kept: beside it."""
    return path.with_name(path.name + RECORD_SUFFIX)


def read_record(path: Path) -> HubRecord | None:
    """Return the record of a fetched file; None without one.

    Raises
    ------
    PipelineError
        The record is damaged.
    """
    place = record_path(path)
    if not place.is_file():
        return None
    try:
        return HubRecord(**json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise PipelineError(
            f"'{place}' is damaged ({error}); delete it to fetch '{path}' again."
        ) from None


def hub_records(references: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the records of files, as JSON values by reference; without those not yet fetched."""
    read = {text: read_record(parse_hub_reference(text).path) for text in references}
    return {text: asdict(record) for text, record in read.items() if record}


def pinned_record(reference: HubReference) -> HubRecord:
    """Return the record of a file that was fetched, without asking the Hub.

    A file that was put there by hand gets a record that pins its checksum, as unverified.

    Raises
    ------
    PipelineError
        The file is missing, or is that of another reference.
    """
    path = reference.path
    if not path.is_file():
        raise PipelineError(
            f"'{path}' is missing; run {FETCH.format(reference, path)} where there is a network."
        )
    record = read_record(path)
    if record is None:
        return _accept_unverified(reference, path)
    if record.reference != reference:
        raise PipelineError(
            f"'{path}' is {record.reference}, but {reference} is configured; run"
            f" {FETCH.format(reference, path)} to replace it."
        )
    return record


def fetch_hub_file(reference: HubReference, path: Path, update: bool = False) -> HubRecord:
    """Download a file of a Hub repository, unless it is there already.

    A file that was fetched before is pinned: if it has to be downloaded again, it must have the
    recorded checksum. A file that was put there by hand is compared with what the Hub states; if
    the Hub cannot be asked, it is accepted with a warning and recorded as unverified.

    ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and proxies work as usual. Interrupted
    downloads resume.

    Parameters
    ----------
    reference
        The file.
    path
        Where it goes.
    update
        Accept a file that changed on the Hub, and record it.

    Raises
    ------
    HubUnreachableError
        The file is not there, and the Hub cannot be asked.
    PipelineError
        The Hub does not serve it, the file is not what the Hub states, or it changed since it was
        recorded.
    """
    if not reference.file:
        raise PipelineError(
            f"'{reference}' is a repository; it must be a file, such as"
            f" hf:{reference.repository}/FILE."
        )
    with writing_to(path), _locked(path.parent):
        return _fetched(reference, path, update)


def fetch_snapshot(reference: HubReference, patterns: Sequence[str]) -> Path:
    """Download some files of a repository into the Hub's own cache and return their folder.

    Files in the cache are not downloaded again. ``HF_HOME`` says where the cache is; see
    ``fetch_hub_file`` for the other variables.

    Parameters
    ----------
    reference
        The repository.
    patterns
        Which files, such as ``*.json``.

    Raises
    ------
    HubUnreachableError
        The Hub cannot be asked, and the cache does not have the files.
    PipelineError
        The Hub does not serve them.
    """
    from huggingface_hub import constants, snapshot_download

    def download() -> Path:
        return Path(
            snapshot_download(
                reference.repository,
                repo_type=reference.kind,
                revision=reference.revision,
                allow_patterns=list(patterns),
            )
        )

    if not constants.HF_HUB_OFFLINE:
        return _asked(download, reference.repository)
    try:
        return download()
    except FileNotFoundError:
        raise HubUnreachableError(
            f"{reference.repository} is not in the cache, and HF_HUB_OFFLINE is set; unset it"
            " to download the repository."
        ) from None


def list_hub_files(reference: HubReference) -> list[str]:
    """Return the paths of the files in a repository, sorted.

    Raises
    ------
    HubUnreachableError
        The Hub cannot be asked.
    PipelineError
        The Hub does not serve the repository.
    """
    from huggingface_hub import HfApi, constants

    by_hand = ", or pass the path of a file that you have"
    if constants.HF_HUB_OFFLINE:
        raise HubUnreachableError(
            f"the files of {reference.repository} cannot be listed because HF_HUB_OFFLINE is set;"
            f" unset it{by_hand}."
        )

    def files() -> list[str]:
        return HfApi().list_repo_files(
            reference.repository, revision=reference.revision, repo_type=reference.kind
        )

    return sorted(_asked(files, reference.repository, by_hand))


def _fetched(reference: HubReference, path: Path, update: bool) -> HubRecord:
    """Return the record of a file that is there, downloaded now if need be."""
    from huggingface_hub import constants

    record, is_there = read_record(path), path.is_file()
    if record and record.reference != reference:
        record, update = None, True  # what is there is another file, which may be replaced
    is_pinned = record is not None and not update
    if record and is_pinned and is_there and path.stat().st_size == record.size:
        logger.info("%s is there already", path)
        return record
    try:
        if constants.HF_HUB_OFFLINE:
            raise HubUnreachableError(
                f"'{path}' {'must be fetched' if is_there else 'is missing'}, but HF_HUB_OFFLINE"
                f" is set; download {hub_url(reference)} on another machine and put it there, or"
                " unset HF_HUB_OFFLINE."
            )
        stated = _stated(reference, path)
    except HubUnreachableError:
        if is_there and record is None and not update:
            return _accept_unverified(reference, path)
        raise
    if record and is_pinned:
        _check_unchanged(reference, path, record, stated.digest)
    problem = _mismatch(path, stated) if is_there else "is missing"
    if problem and is_there and record is None and not update:
        raise PipelineError(
            f"'{path}' {problem} for {reference}; delete it, or add --update to replace it."
        )
    if problem:
        _download(reference, path, stated, record if is_pinned else None)
    fetched = HubRecord(
        repository=reference.repository,
        file=reference.file,
        revision=reference.revision,
        commit=stated.commit,
        sha256=sha256_of(path),
        size=path.stat().st_size,
        kind=reference.kind,
        verified=bool(re.fullmatch(HASH, stated.digest)),
    )
    write_json(record_path(path), asdict(fetched))
    return fetched


def _accept_unverified(reference: HubReference, path: Path) -> HubRecord:
    """Record a file that was put there by hand."""
    sha256, size = sha256_of(path), path.stat().st_size
    logger.warning(
        "%s was not fetched from the Hub, which cannot be asked about it: accepted unverified, with"
        " SHA-256 %s; %s verifies it",
        *(path, sha256, UPDATE.format(reference, path)),
    )
    words = (reference.repository, reference.file, reference.revision)
    record = HubRecord(*words, "", sha256, size, reference.kind, verified=False)
    with suppress(PipelineError):  # a folder that is read-only
        write_json(record_path(path), asdict(record))
    return record


def hub_url(reference: HubReference) -> str:
    """Return the address of a file on the Hub."""
    from huggingface_hub import hf_hub_url

    words = (reference.repository, reference.file)
    return str(hf_hub_url(*words, repo_type=reference.kind, revision=reference.revision))


def _stated(reference: HubReference, path: Path) -> StatedFile:
    """Ask the Hub what a file is."""
    from huggingface_hub import constants, get_hf_file_metadata

    url = hub_url(reference)
    what = f"'{reference.file}' of {reference.repository}"
    by_hand = f", or download {url} elsewhere and put it at '{path}'"
    found = _asked(lambda: get_hf_file_metadata(url), what, by_hand)
    if found.commit_hash is None or found.etag is None:
        raise PipelineError(
            f"{constants.ENDPOINT} does not state the commit and checksum of {what}; HF_ENDPOINT"
            " must be the Hub or a mirror of it."
        )
    return StatedFile(found.commit_hash, found.size, found.etag)


def _download(
    reference: HubReference, path: Path, stated: StatedFile, pinned: HubRecord | None
) -> None:
    """Download the file at the stated commit and check it."""
    from huggingface_hub import constants, get_token

    url = hub_url(HubReference(reference.repository, reference.file, stated.commit, reference.kind))
    what = f"'{reference.file}' of {reference.repository}"
    # The name tells the partial downloads of different contents apart.
    part = path.with_name(f"{path.name}.{fingerprint(stated.digest)}.part")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    private = {"Authorization": f"Bearer {token}"} if token else {}
    logger.info("fetching %s at %s (%s bytes)", what, stated.commit, stated.size)
    was_begun = part.is_file()
    _asked(lambda: append_rest(url, part, private, path.name), what)
    if was_begun and _mismatch(part, stated):
        logger.warning("%s: not what the Hub states after resuming; starting over", what)
        part.unlink()
        _asked(lambda: append_rest(url, part, private, path.name), what)
    if problem := _mismatch(part, stated):
        part.unlink()
        raise PipelineError(f"the download of {what} {problem}; run again to repeat it.")
    if pinned:
        try:
            _check_unchanged(reference, path, pinned, sha256_of(part))
        except PipelineError:
            part.unlink()
            raise
    os.replace(part, path)
    for stale in path.parent.glob(f"{path.name}.*.part"):
        stale.unlink(missing_ok=True)


def _check_unchanged(reference: HubReference, path: Path, record: HubRecord, digest: str) -> None:
    """Raise an error if a SHA-256 is not the recorded one; other hashes say nothing."""
    if re.fullmatch(r"[0-9a-f]{64}", digest) and digest != record.sha256:
        raise PipelineError(
            f"'{reference.file}' of {reference.repository} changed on the Hub: it has SHA-256"
            f" {digest}, but {record.sha256} was recorded; {UPDATE.format(reference, path)} accepts"
            " it."
        )


def _asked(action: Callable[[], Answer], what: str, by_hand: str = "") -> Answer:
    """Call what asks the Hub, again if it fails for a time.

    Parameters
    ----------
    action
        The request.
    what
        What is asked for, for messages.
    by_hand
        What can be done without a network, to be appended to an error.

    Raises
    ------
    HubUnreachableError
        There is no connection.
    PipelineError
        The Hub refuses.
    OSError
        The file cannot be written.
    """
    try:
        with _library_tries_once():
            return retried(action, what, _is_transient)
    except PipelineError:
        raise
    except Exception as error:  # what the network, a proxy or the server may raise
        if getattr(error, "errno", None) in UNWRITABLE:
            raise
        raise hub_error(what, _cause(error), by_hand) from None


@contextmanager
def _library_tries_once() -> Iterator[None]:
    """Leave retries to ``retried``: the library's own come on top, and wait for a network too."""
    from huggingface_hub.utils import http_backoff  # type: ignore[attr-defined]

    defaults = http_backoff.__kwdefaults__ or {}
    before = defaults.copy()
    defaults.update({"max_retries": 0} if "max_retries" in defaults else {})
    try:
        yield
    finally:
        defaults.update(before)


def _cause(error: Exception) -> Exception:
    """Return the error that made the library look into its cache, where nothing was."""
    cause = error.__cause__
    is_lookup = type(error).__name__ == "LocalEntryNotFoundError"
    return cause if is_lookup and isinstance(cause, Exception) else error


def _status_code(error: Exception) -> int | None:
    """Return the HTTP status of an error; None if there was no response."""
    code = getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None))
    return code if isinstance(code, int) else None


def _is_transient(error: Exception) -> bool:
    """Return whether a failed request may succeed later; a missing network is not awaited."""
    error = _cause(error)
    code = _status_code(error)
    return code in TRANSIENT_CODES if code is not None else _is_any(error, BROKEN)


def _is_any(error: Exception, names: frozenset[str]) -> bool:
    """Return whether an error is of a class that has one of these names.

    The library's errors are httpx's or httpx2's, depending on its version.
    """
    return not names.isdisjoint(each.__name__ for each in type(error).__mro__)


def hub_error(what: str, error: Exception, by_hand: str) -> PipelineError:
    """Return why something could not be downloaded from the Hub, as one sentence.

    Parameters
    ----------
    what
        What was asked for.
    error
        What the request raised.
    by_hand
        What can be done without a network, to be appended.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub, code = constants.ENDPOINT, _status_code(error)
    kind: type[PipelineError] = PipelineError
    if isinstance(error, RevisionNotFoundError):
        why, remedy = "there is no such revision", "check the name after @"
    elif isinstance(error, GatedRepoError):
        why, remedy = "access must be requested", "request it on the Hub and set HF_TOKEN"
    elif isinstance(error, RepositoryNotFoundError):
        why = f"{hub} has no such repository, or it is private"
        remedy = "check the name, or set HF_TOKEN"
    elif isinstance(error, EntryNotFoundError) and code == http.client.NOT_FOUND:
        why, remedy = "the repository has no such file", "check the name"
    elif code == http.client.UNAUTHORIZED:
        why = f"{hub} does not accept the token, error 401"
        remedy = "check HF_TOKEN, or unset it for public files"
    elif code == http.client.FORBIDDEN:
        why, remedy = f"{hub} denies access, error 403", "check that HF_TOKEN may read it"
    elif code == http.client.TOO_MANY_REQUESTS:
        why = f"{hub} has had too many requests, error 429"
        when = f"in {wait:.0f} s" if (wait := retry_after(error)) else "later"
        remedy = f"run again {when}: partial downloads resume"
    elif code is not None:
        why, remedy = (
            f"{hub} answers with error {code}",
            "run again later: partial downloads resume",
        )
    elif _is_any(error, BROKEN):
        why = f"the connection broke: {first_line(error)}"
        remedy = "run again: partial downloads resume"
    elif _is_any(error, UNREACHABLE):
        why, kind = f"{hub} cannot be reached: {first_line(error)}", HubUnreachableError
        remedy = f"check the network and run again{by_hand}"
    else:
        why = f"{type(error).__name__}: {first_line(error)}"
        remedy = "run again: partial downloads resume"
    return kind(f"{what} cannot be downloaded ({why}); {remedy}.")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time download into a folder, where the file system has locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _mismatch(path: Path, stated: StatedFile) -> str:
    """Return how a file differs from what the Hub states; empty if it does not."""
    size = path.stat().st_size
    if stated.size is not None and size != stated.size:
        return f"has {counted(size, 'byte')}, but the Hub states {stated.size:,}"
    if re.fullmatch(r"[0-9a-f]{64}", stated.digest) and stated.digest != sha256_of(path):
        return f"has SHA-256 {sha256_of(path)}, but the Hub states {stated.digest}"
    if re.fullmatch(r"[0-9a-f]{40}", stated.digest) and stated.digest != _git_hash(path):
        return f"has git hash {_git_hash(path)}, but the Hub states {stated.digest}"
    return ""


def _git_hash(path: Path) -> str:
    """Return git's hash of a file, by which the Hub names files outside of large file storage."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
