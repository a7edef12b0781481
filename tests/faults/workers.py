"""What decode workers are given to do here; a module that is quickly loaded, as each loads it."""

import os
import signal
from pathlib import Path

from pipeline.core.errors import PipelineError


def die_once(item: tuple[Path, str]) -> str:
    mark, name = item
    if name == "dies" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def die(item: tuple[Path, str]) -> str:
    with item[0].open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def refuse(item: str) -> str:
    raise PipelineError(f"'{item}' cannot be written.")
