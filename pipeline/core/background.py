"""Work done ahead, in threads, while the caller uses what is ready."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def run_ahead(
    function: Callable[[Given], Made], items: Iterable[Given], threads: int, ahead: int
) -> Iterator[Made]:
    """Yield ``function(item)`` of every item, in order.

    Parameters
    ----------
    function
        Called in a thread; what it raises is raised here, in its turn.
    items
        Read one by one, as they are started.
    threads
        Calls at a time.
    ahead
        Calls that may be started, or done, while the caller uses a result.
    """
    with ThreadPoolExecutor(max_workers=threads) as pool:
        started: deque[Future[Made]] = deque()
        for item in items:
            started.append(pool.submit(function, item))
            if len(started) > ahead:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
