"""Containers and stream layouts: every decoded window against what the ffmpeg program decodes.

``python tests/benchmarks/fuzz_containers.py --count 400 --seed 0`` prints every file with a window
that differs, and how; ``--keep FOLDER`` keeps those files. The test suite runs a small one.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "unit")]

from containers import plan_of
from truth import compare


def main() -> None:
    """Run all plans and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    began = time.monotonic()
    differing: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for number in range(options.first, options.first + options.count):
            plan = plan_of(options.seed, number)
            found = compare(plan, (options.keep or Path(name)), number)
            if found:
                print(number, plan, *found, sep="\n    ", flush=True)
            differing.update(plan.twists if found else [])
    print(f"{options.count} files, {time.monotonic() - began:.0f} s; differing:", dict(differing))
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
