"""What a person sees of a workflow run: a line per finished stage, progress and time left.

The workflow attaches `RunDisplay` to Snakemake's logger. What a job prints stays in its log file.
"""

import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, TextIO

from pipeline.core.progress import duration
from pipeline.core.wording import counted

# Seconds between two lines on running jobs: on a terminal, where they replace each other, and
# in a file.
TERMINAL_SECONDS, FILE_SECONDS = 1.0, 30.0
# How much of the end of a job's log is read for its progress, and shown if the job fails.
TAIL_BYTES, TAIL_LINES = 4096, 15
# Information of Snakemake's that is shown.
SHOWN = ("Nothing to be done", "Complete log")
# The text of a line that `pipeline.core.progress.track` logs.
PROGRESS = re.compile(r"^[\d:]+ INFO (.+ \d+/\d+ .+ left)$", re.MULTILINE)


@dataclass
class Stage:
    """The jobs of one rule.

    Attributes
    ----------
    total, done
        Number of jobs, and of finished ones.
    started
        When the first job started, in seconds; 0 before.
    running
        Log files of the running jobs by job id.
    """

    total: int
    done: int = 0
    started: float = 0.0
    running: dict[int, Sequence[str]] = field(default_factory=dict)

    def text(self, name: str, now: float) -> str:
        """Return what the stage is at, and how long it still takes where that is known."""
        parts = [name if self.total == 1 else f"{name} {self.done}/{self.total} jobs"]
        if self.done:
            left = (now - self.started) / self.done * (self.total - self.done)
            parts.append(f"about {duration(left)} left")
        elif inside := [found for logs in self.running.values() if (found := progress_of(logs))]:
            parts.append(inside[-1])
        else:
            parts.append(f"for {duration(now - self.started)}")
        return ", ".join(parts)


class RunDisplay(logging.Handler):
    """Shows the stages of a run from Snakemake's log events, and nothing else of its log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self.stream = sys.stderr if stream is None else stream
        self.is_terminal = self.stream.isatty()
        self.stages: dict[str, Stage] = {}
        self.rules: dict[int, str] = {}
        self.width = 0
        self.ended = Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Show an event if it begins a run, ends a stage or tells of a failure."""
        self._clear()
        event, values = str(getattr(record, "event", "")), vars(record)
        if event == "run_info" and not self.stages:
            self._begin(values["stats"])
        elif event == "job_info":
            self._start(values)
        elif event == "job_finished":
            self._finish(values["job_id"])
        elif event == "job_error":
            self._fail(values)

    def close(self) -> None:
        """Stop watching the running jobs."""
        self.ended.set()
        super().close()

    def running_text(self, now: float) -> str:
        """Return what the running stages are at."""
        running = {name: stage for name, stage in self.stages.items() if stage.running}
        return "; ".join(stage.text(name, now) for name, stage in running.items())

    def _begin(self, counts: Mapping[str, int]) -> None:
        self.stages = {name: Stage(count) for name, count in counts.items() if name != "total"}
        jobs, stages = counted(counts["total"], "job"), counted(len(self.stages), "stage")
        self._print(f"{jobs} in {stages}")
        Thread(target=self._watch, daemon=True).start()

    def _start(self, values: Mapping[str, Any]) -> None:
        name, job = values["rule_name"], values["jobid"]
        stage = self.stages.setdefault(name, Stage(1))
        stage.started = stage.started or time.monotonic()
        stage.running[job] = values["log"]
        self.rules[job] = name

    def _finish(self, job: int) -> None:
        name = self.rules.get(job)
        if name is None:
            return
        stage = self.stages[name]
        logs = stage.running.pop(job, ())
        stage.done += 1
        # What has no log, like `all`, only collects files.
        if stage.done >= stage.total and logs:
            jobs = "" if stage.total == 1 else f", {stage.total} jobs"
            done = sum(each.done for each in self.stages.values())
            total = sum(each.total for each in self.stages.values())
            took = duration(time.monotonic() - stage.started)
            self._print(f"[{done}/{total}] {name}{jobs}: {took}")

    def _fail(self, values: Mapping[str, Any]) -> None:
        name, job = values["rule_name"], values["jobid"]
        if self.rules.pop(job, None) is None:
            return  # Snakemake repeats failures at the end
        self.stages[name].running.pop(job, None)
        logs = values["log"] or ()
        self._print(f"{name} failed; its log: {', '.join(logs) or 'above'}")
        self._print("\n".join(f"    {line}" for log in logs for line in reason_of(log)))

    def _watch(self) -> None:
        """Show the running jobs' progress until the run ends."""
        seconds = TERMINAL_SECONDS if self.is_terminal else FILE_SECONDS
        while not self.ended.wait(seconds):
            self.acquire()
            try:
                self._clear()
                if text := self.running_text(time.monotonic()):
                    self._show(text)
            finally:
                self.release()

    def _clear(self) -> None:
        """Remove the line that shows progress on a terminal."""
        if self.width:
            self.stream.write(f"\r{' ' * self.width}\r")
            self.width = 0

    def _show(self, text: str) -> None:
        """Show progress: in place on a terminal, else as a line."""
        if not self.is_terminal:
            self._print(f"    {text}")
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write(text)
        self.stream.flush()
        self.width = len(text)

    def _print(self, text: str) -> None:
        self.stream.write(f"{text}\n" if text else "")
        self.stream.flush()


def replace_log(logger: logging.Logger) -> None:
    """Show stages instead of Snakemake's log on the screen; its log file stays as it is."""
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(_is_shown)
    # First, so that the line in place is gone when the others write.
    logger.handlers.insert(0, RunDisplay())


def progress_of(logs: Sequence[str]) -> str:
    """Return the last progress that a job has logged, or nothing."""
    found = [text for log in logs for text in PROGRESS.findall(_tail(log))]
    return found[-1] if found else ""


def reason_of(log: str) -> list[str]:
    """Return the lines of a failed job's log that say why: from its error on, or the last ones."""
    lines = _tail(log).splitlines()
    errors = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    return lines[errors[-1] :] if errors else lines[-TAIL_LINES:]


def _tail(path: str) -> str:
    """Return the end of a text file, or nothing of one that is not there."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _is_shown(record: logging.LogRecord) -> bool:
    """Return whether a record of Snakemake's is shown beside the stages."""
    event, message = str(getattr(record, "event", "")), record.getMessage()
    # A failed job's command is in the log file.
    if event in {"job_error", "group_error"} or "returned non-zero exit status" in message:
        return False
    return record.levelno >= logging.WARNING or message.startswith(SHOWN)
