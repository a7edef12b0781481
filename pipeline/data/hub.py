"""Files from the Hugging Face Hub, checked against what the Hub states and pinned from then on."""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of, write_json
from pipeline.core.references import HubReference

logger = logging.getLogger(__name__)

RECORD_SUFFIX = ".hub.json"
# Partial downloads, beside the file; a later attempt resumes them.
PARTIAL_FOLDER = ".partial"


@dataclass(frozen=True)
class HubRecord:
    """What a fetched file was on the Hub.

    Attributes
    ----------
    repository, file, revision
        The reference.
    commit
        The commit that the revision stood for.
    sha256, size
        The file's checksum and its size in bytes.
    """

    repository: str
    file: str
    revision: str
    commit: str
    sha256: str
    size: int


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


def fetch_hub_file(reference: HubReference, path: Path, update: bool = False) -> HubRecord:
    """Download a file of a Hub repository, unless it is there already.

    A file that was fetched before is pinned: if it has to be downloaded again, it must have the
    recorded checksum. ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and proxies work as usual;
    interrupted downloads resume.

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
    PipelineError
        The Hub does not serve it, it is offline, the file is not what the Hub states, or it changed
        since it was recorded.
    """
    record = read_record(path)
    is_pinned = record is not None and not update
    if record and is_pinned and path.is_file() and path.stat().st_size == record.size:
        logger.info("%s is there already", path)
        return record
    fetched = _download(reference, path)
    if record and is_pinned and fetched.sha256 != record.sha256:
        path.unlink()
        raise PipelineError(
            f"'{reference.file}' of {reference.repository} changed on the Hub: it has SHA-256"
            f" {fetched.sha256}, but {record.sha256} was recorded; add --update to accept it."
        )
    write_json(record_path(path), asdict(fetched))
    return fetched


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
    PipelineError
        The Hub does not serve it, or is offline and the cache does not have it.
    """
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(
            snapshot_download(
                reference.repository,
                repo_type=reference.kind,
                revision=reference.revision,
                allow_patterns=list(patterns),
            )
        )
    except Exception as error:  # what the network, a proxy or the server may raise
        if constants.HF_HUB_OFFLINE:
            raise PipelineError(
                f"{reference.repository} is not in the cache, and HF_HUB_OFFLINE is set; unset it"
                " to download the repository."
            ) from None
        raise hub_error(reference.repository, error) from None


def list_hub_files(reference: HubReference) -> list[str]:
    """Return the paths of the files in a repository, sorted.

    Raises
    ------
    PipelineError
        The Hub does not serve the repository, or it is offline.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise PipelineError(
            f"the files of {reference.repository} cannot be listed because HF_HUB_OFFLINE is set;"
            " unset it, or give the path of a file that you have."
        )
    try:
        return sorted(
            HfApi().list_repo_files(
                reference.repository, revision=reference.revision, repo_type=reference.kind
            )
        )
    except Exception as error:  # what the network, a proxy or the server may raise
        raise hub_error(reference.repository, error) from None


def _download(reference: HubReference, path: Path) -> HubRecord:
    """Download and check the file; return its record."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise PipelineError(
            f"'{path}' is missing and HF_HUB_OFFLINE is set; unset it, or download"
            f" '{reference.file}' of {reference.repository} elsewhere and put it there."
        )
    partial = path.parent / PARTIAL_FOLDER
    try:
        partial.mkdir(parents=True, exist_ok=True)
        url = hf_hub_url(
            reference.repository,
            reference.file,
            repo_type=reference.kind,
            revision=reference.revision,
        )
        stated = get_hf_file_metadata(url, retry_on_errors=True)
        commit = stated.commit_hash or reference.revision
        logger.info(
            "fetching %s of %s at %s (%s bytes)",
            *(reference.file, reference.repository, commit, stated.size),
        )
        found = Path(
            hf_hub_download(
                reference.repository,
                reference.file,
                repo_type=reference.kind,
                revision=commit,
                local_dir=partial,
            )
        )
    except Exception as error:  # what the network, a proxy or the server may raise
        raise hub_error(f"'{reference.file}' of {reference.repository}", error) from None
    size, sha256 = found.stat().st_size, sha256_of(found)
    problem = _mismatch(found, sha256, size, stated.size, stated.etag)
    if problem:
        shutil.rmtree(partial)
        raise PipelineError(
            f"'{reference.file}' of {reference.repository} {problem}; run again to download it"
            " again."
        )
    os.replace(found, path)
    shutil.rmtree(partial)
    return HubRecord(reference.repository, reference.file, reference.revision, commit, sha256, size)


def hub_error(what: str, error: Exception) -> PipelineError:
    """Return why something could not be downloaded from the Hub, as one sentence."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, RevisionNotFoundError):
        why, remedy = "there is no such revision", "check the name after @"
    elif isinstance(error, GatedRepoError):
        why, remedy = "access must be requested", "request it on the Hub and set HF_TOKEN"
    elif isinstance(error, RepositoryNotFoundError):
        why = f"{constants.ENDPOINT} has no such repository, or it is private"
        remedy = "check the name, or set HF_TOKEN"
    elif isinstance(error, LocalEntryNotFoundError):
        why = f"{constants.ENDPOINT} cannot be reached ({_first_line(error.__cause__ or error)})"
        remedy = "check the network and run again: partial downloads resume"
    elif isinstance(error, EntryNotFoundError):
        why, remedy = "the repository has no such file", "check the name"
    else:
        why = f"{type(error).__name__}: {_first_line(error)}"
        remedy = "run again: partial downloads resume"
    return PipelineError(f"{what} cannot be downloaded ({why}); {remedy}.")


def _mismatch(path: Path, sha256: str, size: int, stated_size: int | None, etag: str | None) -> str:
    """Return how a download differs from what the Hub states; empty if it does not."""
    if stated_size is not None and size != stated_size:
        return f"arrived with {size} bytes, but the Hub states {stated_size}"
    if etag and re.fullmatch(r"[0-9a-f]{64}", etag) and etag != sha256:
        return f"arrived with SHA-256 {sha256}, but the Hub states {etag}"
    if etag and re.fullmatch(r"[0-9a-f]{40}", etag) and etag != _git_hash(path):
        return f"arrived with git hash {_git_hash(path)}, but the Hub states {etag}"
    return ""


def _git_hash(path: Path) -> str:
    """Return git's hash of a file, by which the Hub names files outside of large file storage."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
