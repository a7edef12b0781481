"""The two kinds of failure: a user error, and a single video that cannot be used."""

from enum import StrEnum


class PipelineError(Exception):
    """A user error, in one sentence: the value, what it must be, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


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
