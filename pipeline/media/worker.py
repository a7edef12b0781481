"""Process isolation for untrusted files: a crash or a hang costs one item.

Decoders are C code that runs on files from anywhere. A worker is a new Python process (forked ones
inherit locks and threads on which decoders can deadlock). Unlike those of ``multiprocessing``, it
does not run the caller's main module again, so that a plain script, a notebook and a process of a
pool can decode. It leads a process group, so that its children end with it, and it is replaced
after some items, which bounds memory leaks.

If a worker dies, its item is retried once: a file that crashes its decoder does so again, whereas
a worker may also be killed for lack of memory or by a user.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Generic, TypeVar

from pipeline.core.errors import ItemError, PipelineError, Status

WorkItem = TypeVar("WorkItem")
WorkResult = TypeVar("WorkResult")

RECYCLE_AFTER = 200
# RLIMIT_DATA counts private memory; RLIMIT_AS would add library mappings and every thread's
# reserved stack and arena, several GB that are never touched. 8K H.264 and 10-bit HEVC took 1.2 GB;
# 16 reference frames of 10-bit 8K, the most that a level allows, alone take 1.6 GB. Together with a
# shard's arrays this stays below the memory that the workflow requests for a decode job.
MEMORY_BYTES = 5 << 29
STARTUP_SECONDS = 120.0
# A worker may fail to start because the kernel killed it; this many in a row are not chance.
FAILED_STARTS = 3
# A worker whose parent was killed exits this long after its item's time limit.
ORPHAN_SECONDS = 10

# What a worker runs; it finds modules where its parent does.
PROGRAM = "import sys; sys.path[:] = {path!r}; from pipeline.media.worker import serve; serve({fd})"


def run_isolated(
    function: Callable[[WorkItem], WorkResult],
    items: Sequence[WorkItem],
    workers: int,
    timeout_seconds: float,
    recycle_after: int = RECYCLE_AFTER,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[tuple[int, WorkResult | ItemError]]:
    """Yield ``(index, result)`` for every item, in order of completion.

    Parameters
    ----------
    function
        Called as ``function(item)`` in a worker; must be importable by name, from another module
        than the program's main one.
    items
        Items to process.
    workers
        Number of processes.
    timeout_seconds
        Time limit per item; beyond it the worker is killed and the result is ``timeout``.
    recycle_after
        Number of items after which a worker is replaced.
    memory_bytes
        Limit on private memory of a worker, and of any program it starts.

    Raises
    ------
    PipelineError
        Workers fail to start, ``workers`` is below 1, or ``function`` raised it.
    """
    if workers < 1:
        raise PipelineError(f"workers must be 1 or more, not {workers}.")
    todo = list(enumerate(items))[::-1]
    tried_again: set[int] = set()
    failed_starts = 0
    pool = [_Worker(function, memory_bytes) for _ in range(min(workers, len(items)))]
    try:
        while todo or any(worker.index is not None for worker in pool):
            for number, worker in enumerate(pool):
                if todo and worker.index is None and worker.done >= recycle_after:
                    worker.stop()
                    pool[number] = worker = _Worker(function, memory_bytes)
                if todo and worker.index is None and worker.is_ready:
                    worker.give(*todo.pop(), timeout_seconds)
            _wait_for(pool)
            for number, worker in enumerate(pool):
                outcome = worker.collect()
                if outcome is not None:
                    index, result = outcome
                    if _is_crash(result) and index not in tried_again:
                        tried_again.add(index)
                        todo.append((index, items[index]))
                    else:
                        yield index, result
                failed_starts = 0 if worker.is_ready else failed_starts + worker.is_gone
                if failed_starts == FAILED_STARTS:
                    raise PipelineError(
                        f"{failed_starts} decode workers in a row failed to start"
                        f" ({worker.ending}); see the messages above."
                    )
                if worker.is_gone:
                    worker.stop()
                    pool[number] = _Worker(function, memory_bytes)
    finally:
        for worker in pool:
            worker.stop()


def _is_crash(result: object) -> bool:
    return isinstance(result, ItemError) and result.status == Status.CRASHED


def _wait_for(pool: Sequence["_Worker[Any, Any]"]) -> None:
    """Sleep until a busy worker sends a message, ends, or reaches its time limit."""
    busy = [worker for worker in pool if worker.index is not None or not worker.is_ready]
    remaining = min((worker.deadline - time.monotonic() for worker in busy), default=0.0)
    wait([worker.connection for worker in busy], timeout=max(0.0, remaining))


@dataclass
class _Worker(Generic[WorkItem, WorkResult]):
    """One process and its current item."""

    function: Callable[[WorkItem], WorkResult]
    memory_bytes: int
    index: int | None = None
    done: int = 0
    is_ready: bool = False
    is_gone: bool = False
    timeout_seconds: float = STARTUP_SECONDS
    deadline: float = 0.0
    ending: str = ""
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection, theirs = Pipe()
        program = PROGRAM.format(path=sys.path, fd=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,
        )
        theirs.close()
        self._send((self.function, self.memory_bytes))
        self.deadline = time.monotonic() + STARTUP_SECONDS

    def give(self, index: int, item: WorkItem, timeout_seconds: float) -> None:
        """Send the worker an item."""
        self.index, self.timeout_seconds = index, timeout_seconds
        self.deadline = time.monotonic() + timeout_seconds
        self._send((item, timeout_seconds))

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            self.is_gone = True

    def collect(self) -> tuple[int, WorkResult | ItemError] | None:
        """Return the outcome of the current item, or None if it is not finished."""
        result: WorkResult | ItemError | PipelineError
        try:
            if self.is_gone:
                raise EOFError
            if self.connection.poll():
                result = self.connection.recv()
            elif time.monotonic() >= self.deadline:
                self.is_gone = True
                result = ItemError(
                    Status.TIMEOUT, f"decoding took longer than {self.timeout_seconds:g} s"
                )
            else:
                return None
        except (EOFError, OSError):
            self.is_gone = True
            result = ItemError(Status.CRASHED, f"the decoder ended with {self._ending()}")
        return self._settle(result)

    def _settle(
        self, result: WorkResult | ItemError | PipelineError
    ) -> tuple[int, WorkResult | ItemError] | None:
        if not self.is_ready:
            self.is_ready, self.ending = not self.is_gone, str(result)
            return None
        if self.index is None:
            return None
        if isinstance(result, PipelineError):
            raise result
        index, self.index = self.index, None
        self.done += 1
        return index, result

    def _ending(self) -> str:
        try:
            code = self._process.wait(timeout=10.0)  # exiting can be slow on a busy machine
        except subprocess.TimeoutExpired:
            return "an error"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """Kill the process and everything it started."""
        self.connection.close()
        with suppress(ProcessLookupError, PermissionError):  # all have exited
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def serve(fd: int) -> None:
    """Process items from a connection until it closes; runs in the worker."""
    connection = Connection(fd)
    function, memory_bytes = connection.recv()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent kills the workers
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(EOFError, ConnectionError):  # the parent has ended
        connection.send(None)
        while True:
            item, timeout_seconds = connection.recv()
            signal.alarm(int(timeout_seconds) + ORPHAN_SECONDS)
            connection.send(_outcome(function, item, memory_bytes))
            signal.alarm(0)


def _outcome(
    function: Callable[[WorkItem], WorkResult], item: WorkItem, memory_bytes: int
) -> WorkResult | ItemError | PipelineError:
    try:
        return function(item)
    except (ItemError, PipelineError) as error:  # concerns this item, or the whole stage
        return error
    except MemoryError:
        return ItemError(
            Status.DECODE_ERROR, f"decoding needs more than {memory_bytes >> 20} MB of memory"
        )
    except Exception as error:  # any other exception of a library concerns this file only
        return ItemError(Status.DECODE_ERROR, f"{type(error).__name__}: {error}")
