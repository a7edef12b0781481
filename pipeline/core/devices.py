"""Device selection, and what a device may do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.core.errors import PipelineError
from pipeline.core.wording import counted

DEVICE = re.compile(r"cpu|cuda(:(?P<index>[0-9]+))?")


# How torch's inductor and Triton say that a machine has no compiler.
NO_COMPILER = re.compile(r"No working C\+\+ compiler|InvalidCxxCompiler|Failed to find C compiler")


@contextmanager
def naming_compiler(is_compiled: bool) -> Iterator[None]:
    """Say in one sentence that ``torch.compile`` needs a compiler, where there is none.

    Raises
    ------
    PipelineError
        The machine has none.
    """
    try:
        yield
    except Exception as error:  # torch wraps the compiler's error in several of its own
        if is_compiled and NO_COMPILER.search(f"{type(error)} {error} {error.__cause__!r}"):
            raise PipelineError(
                "compiled is true, but this machine has no C++ compiler; install one, such as g++,"
                " or set compiled to false."
            ) from error
        raise


@contextmanager
def tf32(is_allowed: bool) -> Iterator[None]:
    """Say whether a GPU may round the operands of fp32 products and convolutions to TF32.

    TF32 keeps 10 of 23 bits. PyTorch by default allows it for convolutions only. CPUs have none.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = is_allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


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
        seen = counted(torch.cuda.device_count(), "GPU")
        raise PipelineError(f"device is '{name}', but torch sees {seen}; use auto or cpu.")
    return torch.device(name)
