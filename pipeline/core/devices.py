"""Device selection."""

import re

import torch

from pipeline.core.errors import PipelineError

DEVICE = re.compile(r"cpu|cuda(:(?P<index>[0-9]+))?")


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Raises
    ------
    PipelineError
        The name is none of these, or the machine has no such GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    match = DEVICE.fullmatch(name)
    if match is None:
        raise PipelineError(f"device must be auto, cpu, cuda or cuda:INDEX, not '{name}'.")
    if name != "cpu" and int(match["index"] or 0) >= torch.cuda.device_count():
        raise PipelineError(
            f"device is '{name}', but only {torch.cuda.device_count()} GPUs are visible; use auto"
            " or cpu."
        )
    return torch.device(name)
