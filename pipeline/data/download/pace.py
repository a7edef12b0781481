"""The pace of requests to a site: pauses, retries, and when to stop."""

import logging
import random
import time
from collections.abc import Callable

from pipeline.core.errors import Status
from pipeline.data.download.options import DownloadOptions
from pipeline.data.download.responses import PASSING, PERMANENT, Response

logger = logging.getLogger(__name__)

# This many failures in a row that are not the videos' own mean an outage, or an outdated yt-dlp.
OUTAGE = 10
# If a site asks for a longer wait, the run stops.
LONGEST_WAIT_SECONDS = 3600.0


class Pace:
    """Requests one video after another at the configured pace, and knows when to stop."""

    def __init__(self, options: DownloadOptions) -> None:
        self.options = options
        self._random = random.Random(options.seed)
        self._blocks = 0
        self._failures = 0
        self._last = Response(Status.OK)

    def ask(self, request: Callable[[], Response]) -> tuple[Response, int]:
        """Return the response to a request and the number of attempts."""
        for attempt in range(1, self.options.attempts + 1):
            response = request()
            self._blocks += response.status is Status.RATE_LIMITED
            self._last = response
            is_last = attempt == self.options.attempts
            if response.status not in PASSING or is_last or self._is_blocked or self._is_put_off:
                break
            self._back_off(attempt, response)
        is_failure = response.status is not Status.OK and response.status not in PERMANENT
        self._failures = self._failures + 1 if is_failure else 0
        return response, attempt

    def pause(self) -> None:
        """Wait between two videos."""
        time.sleep(self._jittered(self.options.sleep_seconds))

    def reason_to_stop(self) -> str:
        """Return why the run should stop and what to do then; empty to continue."""
        if self._is_blocked:
            return (
                f"the site blocks further requests ({self._last.detail}); wait some hours, raise"
                " download.sleep_seconds, then run the same command again."
            )
        if self._is_put_off:
            return (
                f"the site asks for a wait of {self._last.wait_seconds / 3600:.1f} hours"
                f" ({self._last.detail}); run the same command again after that."
            )
        if self._failures >= OUTAGE:
            other_way = " or try download.cut: file," if self.options.cut == "stream" else ""
            return (
                f"the last {OUTAGE} videos all failed, the last one with {self._last.status}"
                f" ({self._last.detail}); check the network and whether yt-dlp is up to date,"
                f"{other_way} then run the same command again."
            )
        return ""

    @property
    def _is_blocked(self) -> bool:
        return self._blocks >= self.options.stop_after

    @property
    def _is_put_off(self) -> bool:
        return self._last.wait_seconds > LONGEST_WAIT_SECONDS

    def _back_off(self, attempt: int, response: Response) -> None:
        wait = self._jittered(self.options.backoff_seconds * 2 ** (attempt - 1))
        wait = max(min(wait, LONGEST_WAIT_SECONDS), response.wait_seconds)
        logger.warning("%s (%s); next attempt in %.0f s", response.status, response.detail, wait)
        time.sleep(wait)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.5, 1.5)
