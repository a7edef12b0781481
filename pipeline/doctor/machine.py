"""Check the machine: one line for each thing that the pipeline needs."""

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import PipelineError
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.core.files import RESOURCES, license_path
from pipeline.core.vocabulary import read_vocabulary
from pipeline.core.wording import counted
from pipeline.report.published import read_published

SUPPORTED_PYTHON = ((3, 11), (3, 13))
# Module to distribution of what parsing a video imports.
NEEDED_LIBRARIES = {
    "av": "av",
    "huggingface_hub": "huggingface-hub",
    "laion_clap": "laion-clap",
    "numpy": "numpy",
    "open_clip": "open-clip-torch",
    "safetensors": "safetensors",
    "torchaudio": "torchaudio",
    "torchvision": "torchvision",
    "transformers": "transformers",
}
# Files of the package that are not Python modules.
PACKAGE_FILES = ("vocabulary.yaml", "published.yaml", "demo_encoders")
GIGABYTE = 10**9
MINIMUM_FREE_BYTES = GIGABYTE
FFMPEG_SECONDS = 30.0
# Present where an NVIDIA driver is installed.
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class CheckLine:
    """The outcome of one check.

    Attributes
    ----------
    name
        What was checked.
    detail
        What was found, in a few words or one sentence.
    state
        ``wrong`` fails the whole check; ``note`` is worth knowing and fails nothing.
    """

    name: str
    detail: str
    state: Literal["ok", "note", "wrong"] = "ok"

    def __str__(self) -> str:
        return f"{self.state:5}  {self.name}: {self.detail}"


def has_failed(lines: Iterable[CheckLine]) -> bool:
    """Return whether a check found something wrong."""
    return any(line.state == "wrong" for line in lines)


def check_environment(folder: Path) -> Iterator[CheckLine]:
    """Check Python, the libraries, GPUs, ffmpeg, the package's data and the disk of a folder."""
    yield guarded("Python", _check_python)
    yield guarded("torch", _check_torch)
    yield guarded("GPU", _check_gpu)
    yield guarded("libraries", _check_libraries)
    yield guarded("ffmpeg", _check_ffmpeg)
    yield guarded("package data", _check_package_data)
    yield guarded("disk", _check_disk, folder)


def guarded(name: str, check: Callable[..., CheckLine], *arguments: Any) -> CheckLine:
    """Return the line of a check, or of the error that it raised."""
    try:
        return check(*arguments)
    except Exception as error:  # a broken installation may raise anything
        first = (str(error).strip().splitlines() or [""])[0]
        detail = first if isinstance(error, PipelineError) else f"{type(error).__name__}: {first}"
        return CheckLine(name, detail, "wrong")


def _check_python() -> CheckLine:
    lowest, above = SUPPORTED_PYTHON
    found = platform.python_version()
    if lowest <= sys.version_info[:2] < above:
        return CheckLine("Python", found)
    supported = f"{_dotted(lowest)} or later, below {_dotted(above)}"
    return CheckLine("Python", f"{found}, but it must be {supported}; install it.", "wrong")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _check_torch() -> CheckLine:
    import torch

    total = torch.ones(2, 2).matmul(torch.ones(2, 2)).sum().item()
    if total != 8:
        return CheckLine("torch", f"{torch.__version__} computes 2 * 2 * 2 = {total}.", "wrong")
    threads = counted(torch.get_num_threads(), "CPU thread")
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return CheckLine("torch", f"{torch.__version__}, built with {cuda}, {threads}")


def _check_gpu() -> CheckLine:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        for index in range(len(names)):
            torch.ones(1, device=f"cuda:{index}").add(1).item()
        return CheckLine("GPU", ", ".join(names))
    if NVIDIA_DRIVER.exists():
        return CheckLine(
            "GPU",
            "an NVIDIA driver is installed, but torch sees no GPU; check CUDA_VISIBLE_DEVICES, the"
            " driver's version, and that torch is built with CUDA.",
            "wrong",
        )
    return CheckLine("GPU", "none visible; everything runs on the CPU", "note")


def _check_libraries() -> CheckLine:
    absent = [
        name for module, name in NEEDED_LIBRARIES.items() if not importlib.util.find_spec(module)
    ]
    if absent:
        detail = f"{', '.join(absent)} must be installed, but cannot be imported; install again."
        return CheckLine("libraries", detail, "wrong")
    versions = (f"{name} {importlib.metadata.version(name)}" for name in NEEDED_LIBRARIES.values())
    return CheckLine("libraries", ", ".join(versions))


def _check_ffmpeg() -> CheckLine:
    path = ffmpeg_path()
    done = subprocess.run(
        [path, "-hide_banner", "-version"],
        capture_output=True,
        text=True,
        timeout=FFMPEG_SECONDS,
        check=False,
    )
    if done.returncode:
        detail = f"'{path} -version' exits with {done.returncode}; install ffmpeg again."
        return CheckLine("ffmpeg", detail, "wrong")
    first = done.stdout.partition("\n")[0].partition(" Copyright")[0]
    return CheckLine("ffmpeg", f"{first.removeprefix('ffmpeg ')}, {path}")


def _check_package_data() -> CheckLine:
    absent = [name for name in PACKAGE_FILES if not (RESOURCES / name).exists()]
    if not license_path().is_file():
        absent.append("LICENSE")
    if absent:
        detail = f"the package lacks {', '.join(absent)}; install it again."
        return CheckLine("package data", detail, "wrong")
    classes = len(read_vocabulary())
    rows = len(read_published(RESOURCES / "published.yaml"))
    return CheckLine("package data", f"{classes} classes, {rows} published results, demo encoders")


def _check_disk(folder: Path) -> CheckLine:
    existing = next(place for place in (folder, *folder.parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    detail = f"{free / GIGABYTE:.1f} GB free in '{existing}'"
    if free >= MINIMUM_FREE_BYTES:
        return CheckLine("disk", detail)
    least = MINIMUM_FREE_BYTES / GIGABYTE
    return CheckLine("disk", f"{detail}; must be {least:g} GB or more: free some space.", "wrong")
