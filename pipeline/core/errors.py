"""The two kinds of failure: a user error, and a single video that cannot be used."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

# How alike two words must be for one to be suggested in place of the other.
CLOSE = 0.65


class PipelineError(Exception):
    """A user error, in one sentence: the value, what it must be, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def one_of(given: object, known: Iterable[object]) -> str:
    """Return what a word must be, and which was probably meant, for a sentence: ``must be ...``."""
    words = [str(each) for each in known]
    listed = " or ".join(words) if len(words) < 3 else f"one of {', '.join(words)}"
    by_lower = {word.lower(): word for word in words}
    near = get_close_matches(str(given).lower(), by_lower, n=1, cutoff=CLOSE)
    meant = f" (did you mean '{by_lower[near[0]]}'?)" if near else ""
    return f"must be {listed}{meant}"


class Status(StrEnum):
    """The outcome for one video; docs/how-to/troubleshooting.md explains every code."""

    OK = "ok"
    MISSING = "missing"
    PASSED_OVER = "passed_over"
    EMPTY_FILE = "empty_file"
    NOT_MEDIA = "not_media"
    NO_VIDEO_STREAM = "no_video_stream"
    NO_AUDIO_STREAM = "no_audio_stream"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    DECODE_ERROR = "decode_error"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    NOT_FINITE = "not_finite"
    BAD_ARRAY = "bad_array"
    UNAVAILABLE = "unavailable"
    PRIVATE = "private"
    AGE_RESTRICTED = "age_restricted"
    REGION_BLOCKED = "region_blocked"
    REMOVED = "removed"
    BAD_ID = "bad_id"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    NETWORK_ERROR = "network_error"
    SITE_ERROR = "site_error"


class ItemError(Exception):
    """A video that cannot be used; it becomes a row of the shard's status table.

    Parameters
    ----------
    status
        Reason, as a code.
    detail
        Reason, as one sentence.
    """

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail

    def __reduce__(self) -> tuple[type["ItemError"], tuple[Status, str]]:
        """Support pickling: the default for exceptions expects a single argument."""
        return type(self), (self.status, self.detail)
