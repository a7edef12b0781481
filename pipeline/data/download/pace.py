"""How fast a site is asked, how long troubles are waited out, and when to stop asking."""

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.core.errors import PipelineError, Status
from pipeline.data.download.responses import PASSING, PERMANENT, Response

logger = logging.getLogger(__name__)

# So many videos in a row that fail for no reason of their own are an outage, or an old yt-dlp.
OUTAGE = 10
# The longest wait that a site may ask for; whoever wants more is not asked again in this run.
LONGEST_WAIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Politeness:
    """How a site is treated.

    Attributes
    ----------
    sleep_seconds
        Mean pause between two videos.
    attempts
        How often a video is asked for while the trouble may pass.
    backoff_seconds
        The wait before the second attempt; it doubles from one to the next.
    stop_after
        The sign of blocking at which the run ends, 1 or more.
    seed
        Of the jitter: every pause and wait is drawn between half and one and a half of its length.

    Raises
    ------
    PipelineError
        A number is out of its range.
    """

    sleep_seconds: float = 5.0
    attempts: int = 3
    backoff_seconds: float = 10.0
    stop_after: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"sleep_seconds": 0, "attempts": 1, "backoff_seconds": 0, "stop_after": 1}
        for name, limit in least.items():
            if not limit <= (value := getattr(self, name)) < math.inf:
                raise PipelineError(f"{name} is {value}; allowed is a number, {limit} or more.")


class Pace:
    """Asks for one video after another as ``Politeness`` says, and knows when it is enough."""

    def __init__(self, politeness: Politeness) -> None:
        self.politeness = politeness
        self._random = random.Random(politeness.seed)
        self._blocks = 0
        self._failures = 0
        self._last = Response(Status.OK)

    def ask(self, request: Callable[[], Response]) -> tuple[Response, int]:
        """Return the answer to a request, and how often it was made."""
        for attempt in range(1, self.politeness.attempts + 1):
            answer = request()
            self._blocks += answer.status is Status.RATE_LIMITED
            self._last = answer
            is_last = attempt == self.politeness.attempts
            if answer.status not in PASSING or is_last or self._is_blocked or self._is_put_off:
                break
            self._back_off(attempt, answer)
        is_failure = answer.status is not Status.OK and answer.status not in PERMANENT
        self._failures = self._failures + 1 if is_failure else 0
        return answer, attempt

    def pause(self) -> None:
        """Wait between two videos."""
        time.sleep(self._jittered(self.politeness.sleep_seconds))

    def reason_to_stop(self) -> str:
        """Return why no more videos should be asked for, with what to do; empty to go on."""
        if self._is_blocked:
            return (
                f"the site has had enough ({self._last.detail}); wait some hours, ask more slowly"
                " (download.sleep_seconds), then run the same command again."
            )
        if self._is_put_off:
            return (
                f"the site asks for a wait of {self._last.wait_seconds / 3600:.1f} hours"
                f" ({self._last.detail}); run the same command again after that."
            )
        if self._failures >= OUTAGE:
            return (
                f"the last {OUTAGE} videos all failed, this one as {self._last.status}"
                f" ({self._last.detail}); check the network and whether yt-dlp is the newest,"
                " then run the same command again."
            )
        return ""

    @property
    def _is_blocked(self) -> bool:
        return self._blocks >= self.politeness.stop_after

    @property
    def _is_put_off(self) -> bool:
        return self._last.wait_seconds > LONGEST_WAIT_SECONDS

    def _back_off(self, attempt: int, answer: Response) -> None:
        wait = self._jittered(self.politeness.backoff_seconds * 2 ** (attempt - 1))
        wait = max(min(wait, LONGEST_WAIT_SECONDS), answer.wait_seconds)
        logger.warning("%s (%s); next attempt in %.0f s", answer.status, answer.detail, wait)
        time.sleep(wait)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.5, 1.5)
