"""Outcomes of download requests: the site's error messages and the status of each."""

import re
from dataclasses import dataclass

from pipeline.core.errors import PipelineError, Status

# Statuses of the video itself: retrying does not help.
PERMANENT = frozenset(
    {
        Status.UNAVAILABLE,
        Status.PRIVATE,
        Status.AGE_RESTRICTED,
        Status.REGION_BLOCKED,
        Status.REMOVED,
        Status.BAD_ID,
        Status.TOO_SHORT,
    }
)
# Temporary failures: the video is requested again after a wait.
PASSING = frozenset({Status.RATE_LIMITED, Status.NETWORK_ERROR})

# The first pattern found in the messages of yt-dlp and ffmpeg decides, ignoring case. Blocking
# comes first, because YouTube also words it as "Video unavailable" and "Sign in".
REASONS: tuple[tuple[Status, str], ...] = (
    (Status.RATE_LIMITED, r"confirm you.{1,3}re not a bot|captcha challenge"),
    (
        Status.RATE_LIMITED,
        r"HTTP error 429|Too Many Requests|rate.limited|available, try again later",
    ),
    (Status.AGE_RESTRICTED, r"confirm your age|age.restricted|inappropriate for some users"),
    (Status.PRIVATE, r"private video|video is private|members.only|channel.s members"),
    (Status.PRIVATE, r"only available for registered users|requires payment"),
    (Status.REGION_BLOCKED, r"in your country|from your location|geo.?restrict|HTTP error 451"),
    (Status.REMOVED, r"HTTP error 410|been removed|removed by the (uploader|user)"),
    (Status.REMOVED, r"account .{0,60}(terminated|closed)|copyright (claim|grounds)"),
    (Status.UNAVAILABLE, r"HTTP error 404|404 Not Found|does(n.t| not) exist"),
    (Status.UNAVAILABLE, r"video (is )?unavailable|video is (not|no longer) available"),
    (Status.FORBIDDEN, r"HTTP error 40[13]|40[13] (Unauthorized|Forbidden)"),
    (Status.NETWORK_ERROR, r"HTTP error (408|425|5..)|5XX Server Error|timed? ?out|reset by peer"),
    (Status.NETWORK_ERROR, r"unable to (connect|resolve)|name resolution|network is unreachable"),
    (
        Status.NETWORK_ERROR,
        r"connection (refused|aborted|broken)|transport ?error|\bSSL|ProxyError",
    ),
    (
        Status.NETWORK_ERROR,
        r"bytes read|bytes, expected|remote end closed|ends prematurely|Input/output error",
    ),
    (Status.NETWORK_ERROR, r"packet corrupt|invalid data found"),
    (Status.TOO_SHORT, r"Nothing was written into output file"),
    (Status.NETWORK_ERROR, r"ffmpeg exited with code"),
    (Status.NOT_MEDIA, r"unsupported url|no video formats|no suitable extractor"),
)


FULL_DISK = re.compile(r"No space left on device|Read-only file system|Disk quota exceeded")


@dataclass(frozen=True)
class Response:
    """The outcome of one request for a video.

    Attributes
    ----------
    status
        ``ok``, or why there is no video.
    detail
        One sentence from the site or the tool; empty if the request succeeded.
    wait_seconds
        How long the site asks to wait before the next request; 0 if it does not say.
    """

    status: Status
    detail: str = ""
    wait_seconds: float = 0.0


def check_disk(said: str) -> None:
    """Check that what yt-dlp and ffmpeg said is not that the disk is full or read-only.

    Raises
    ------
    PipelineError
        It is.
    """
    if full := FULL_DISK.search(said):
        raise PipelineError(
            f"the clip cannot be written: {full[0]}; free some space, then run again."
        )


def response_from(messages: str, wait_seconds: float = 0.0) -> Response:
    """Return the status of yt-dlp and ffmpeg messages; ``site_error`` if no pattern matches."""
    for status, pattern in REASONS:
        if match := re.search(pattern, messages, re.IGNORECASE):
            return Response(status, _sentence(messages, match.start()), wait_seconds)
    return Response(Status.SITE_ERROR, _sentence(messages, 0), wait_seconds)


def _sentence(messages: str, position: int) -> str:
    """Return the line at ``position`` without yt-dlp's prefix and advice."""
    start = messages.rfind("\n", 0, position) + 1
    line = messages[start:].split("\n", 1)[0]
    line = re.sub(r"^(ERROR: )?(\[[^\]]*\] )?([A-Za-z0-9_-]{11}: )?", "", line)
    return re.split(r"; please report this|\. Use --| \(caused by", line)[0].strip()
