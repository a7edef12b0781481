"""The two kinds of failure: a person's mistake, and one video that cannot be used."""

from enum import StrEnum


class PipelineError(Exception):
    """A mistake that a person can mend: one sentence with the value, what is allowed, what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class Status(StrEnum):
    """What became of one video; every code is one row of docs/how-to/troubleshooting.md."""

    OK = "ok"
    MISSING = "missing"
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
    """One video that cannot be used; it becomes a row of the shard's status table.

    Parameters
    ----------
    status
        Why, as a code.
    detail
        Why, as one sentence.
    """

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail

    def __reduce__(self) -> tuple[type["ItemError"], tuple[Status, str]]:
        """Say how another process rebuilds it; an exception's default knows only one argument."""
        return type(self), (self.status, self.detail)
