"""Run the tests that need a GPU; without one they fail, but for those that a rehearsal can run."""

import os
import sys
from pathlib import Path

from harness import REHEARSAL

HERE = Path(__file__).resolve().parent
FILES = (HERE / "test_on_gpu.py", HERE.parent / "unit" / "test_encoder_runner.py")


def main(chosen: str = "") -> None:
    """Become pytest, for the tests whose names have ``chosen`` in them."""
    os.environ["ROWS"] = sys.argv[1]
    if not REHEARSAL:
        os.environ["FAIL_WITHOUT_CUDA"] = "1"
    # cuBLAS reads it once, and training asks for deterministic results.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    options = [
        "-m",
        "needs_cuda",
        "-p",
        "no:cacheprovider",
        f"--timeout={500 if REHEARSAL else 100}",
        "-v",
        "--durations=8",
        *(["-k", chosen] if chosen else []),
    ]
    words = [sys.executable, "-m", "pytest", *options, *map(str, FILES)]
    os.execv(sys.executable, words)


if __name__ == "__main__":
    main()
