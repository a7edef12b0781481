"""Files from the Hugging Face Hub, named ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``."""

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import PipelineError

HUB_PREFIX = "hf:"
_REFERENCE = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def is_hub_reference(value: object) -> bool:
    """Return whether a value names a repository on the Hub."""
    return isinstance(value, str) and value.startswith(HUB_PREFIX)


def download_snapshot(
    reference: str, patterns: Sequence[str], repository_type: str = "model"
) -> Path:
    """Download some files of a repository into the Hub's cache and return their folder.

    Files that are in the cache are not downloaded again. ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN``
    and ``HF_HUB_OFFLINE`` have their usual meaning.

    Parameters
    ----------
    reference
        ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``: a branch, tag or commit.
    patterns
        Which files, such as ``*.json``.
    repository_type
        ``model`` or ``dataset``.

    Raises
    ------
    PipelineError
        The reference is malformed, the repository or revision does not exist or cannot be
        accessed, the Hub cannot be reached, or it is offline and the files are not in the cache.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise PipelineError(
            f"'{reference}' is not a repository on the Hub; it must be {HUB_PREFIX}OWNER/NAME or"
            f" {HUB_PREFIX}OWNER/NAME@REVISION."
        )
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                match["repository"],
                repo_type=repository_type,
                revision=match["revision"],
                allow_patterns=list(patterns),
            )
        )
    except RevisionNotFoundError:
        why, remedy = "it has no such revision", "check the name after @"
    except GatedRepoError:
        why, remedy = "access to it must be requested", "request it on the Hub and set HF_TOKEN"
    except RepositoryNotFoundError:
        why = f"{constants.ENDPOINT} has no such repository, or it is private"
        remedy = "check the name, or set HF_TOKEN"
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            why, remedy = (
                "it is not in the cache, and HF_HUB_OFFLINE is set",
                "unset HF_HUB_OFFLINE",
            )
        else:
            why = (
                f"{constants.ENDPOINT} cannot be reached ({_first_line(error.__cause__ or error)})"
            )
            remedy = "check the network and try again"
    except Exception as error:  # what the network, a proxy or a server of one's own may answer
        why, remedy = f"{type(error).__name__}: {_first_line(error)}", "try again"
    raise PipelineError(f"'{reference}' cannot be downloaded ({why}); {remedy}.") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
