"""Progress of a stage: a bar on a terminal, periodic lines in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing import parent_process
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LOG_EVERY_SECONDS = 30.0
logger = logging.getLogger("pipeline")


def configure_logging(debug: bool = False) -> None:
    """Log to standard error, one line per message."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    logger.setLevel(logging.DEBUG if debug else logging.INFO)


def duration(seconds: float) -> str:
    """Return a time span as a person would say it: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def track(items: Iterable[Item], total: int, label: str, unit: str = "videos") -> Iterator[Item]:
    """Yield ``items`` and report progress and speed.

    Worker processes log lines on a terminal too, because their bars would overwrite each other.

    Parameters
    ----------
    items
        Items to iterate over.
    total
        Number of items.
    label
        Stage name, printed first.
    unit
        Plural noun for the items.
    """
    if sys.stderr and sys.stderr.isatty() and parent_process() is None:
        yield from tqdm(items, total=total, desc=label, unit=f" {unit}")
        return
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS:
            last = now
            speed = done / (now - start)
            left = duration((total - done) / speed)
            logger.info("%s %d/%d %s, %.1f/s, %s left", label, done, total, unit, speed, left)
    seconds = max(time.monotonic() - start, 1e-9)
    logger.info("%s %d/%d %s in %.1f s, %.1f/s", label, done, total, unit, seconds, done / seconds)
