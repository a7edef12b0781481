"""What a site answers when a video is asked for, and which status its words stand for."""

import re
from dataclasses import dataclass

from pipeline.core.errors import Status

# What a site says of the video itself: asking again changes nothing.
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
# Troubles that may be over in a moment: the same video is asked for again, after a wait.
PASSING = frozenset({Status.RATE_LIMITED, Status.NETWORK_ERROR})

# The first pattern that the messages of yt-dlp and ffmpeg match, case aside, decides. Blocking
# comes first, because YouTube words it as "Video unavailable" and as "Sign in" too.
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
    (Status.NETWORK_ERROR, r"bytes read|remote end closed|ends prematurely|Input/output error"),
    (Status.NETWORK_ERROR, r"packet corrupt|invalid data found"),
    (Status.TOO_SHORT, r"Nothing was written into output file"),
    (Status.NETWORK_ERROR, r"ffmpeg exited with code"),
    (Status.NOT_MEDIA, r"unsupported url|no video formats|no suitable extractor"),
)


@dataclass(frozen=True)
class Response:
    """What came of asking for a video once.

    Attributes
    ----------
    status
        ``ok``, or why the video is not there.
    detail
        The site's or the tool's own words, one sentence; empty when all is well.
    wait_seconds
        How long the site asks to wait before the next request; 0 where it says nothing.
    """

    status: Status
    detail: str = ""
    wait_seconds: float = 0.0


def response_from(messages: str, wait_seconds: float = 0.0) -> Response:
    """Return what error messages of yt-dlp and ffmpeg mean; ``site_error`` where none is known."""
    for status, pattern in REASONS:
        if match := re.search(pattern, messages, re.IGNORECASE):
            return Response(status, _sentence(messages, match.start()), wait_seconds)
    return Response(Status.SITE_ERROR, _sentence(messages, 0), wait_seconds)


def _sentence(messages: str, place: int) -> str:
    """Return the line at ``place`` without what yt-dlp puts around the reason."""
    start = messages.rfind("\n", 0, place) + 1
    line = messages[start:].split("\n", 1)[0]
    line = re.sub(r"^(ERROR: )?(\[[^\]]*\] )?([A-Za-z0-9_-]{11}: )?", "", line)
    return re.split(r"; please report this|\. Use --| \(caused by", line)[0].strip()
