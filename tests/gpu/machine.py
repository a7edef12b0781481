"""What the figures were measured on."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "open_clip_torch", "av", "numpy")


def machine() -> dict[str, str]:
    """Return the card, its driver, the versions of the packages, the commit and the CPU."""
    asked = "name,driver_version,memory.total,clocks.sm,power.limit"
    card = said("nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader")
    return {
        "card": card or "none",
        "commit": os.environ.get("AVVP_COMMIT") or said("git", "rev-parse", "HEAD") or "unknown",
        "python": platform.python_version(),
        **{package: version_of(package) for package in PACKAGES},
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": processor(),
    }


def said(*words: str) -> str:
    """Return what a program prints; empty if it is not there or fails."""
    if shutil.which(words[0]) is None:
        return ""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def version_of(package: str) -> str:
    """Return a package's version, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Return the CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
