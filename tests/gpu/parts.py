"""Run every part as a process of its own, with its own time limit, and keep what each has found.

A part writes rows, one JSON object a line, to the file that it is given; a part that fails or
takes too long keeps the rows that it had written, and costs the others nothing.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine
from table import markdown

HERE = Path(__file__).resolve().parent
# Seconds of all parts together: parts that would start later are left out.
BUDGET = 470.0
# A rehearsal shares its cores with whatever else runs there.
PATIENCE = 5
# Seconds that a part must have left to be worth its start.
LEAST = 15.0
# Lines of a part's log that the table shows if it failed, and characters that are kept of each.
SHOWN, KEPT = 25, 200_000


@dataclass(frozen=True)
class Part:
    """A script beside this one, and the seconds that it may take.

    Attributes
    ----------
    name
        The script's name.
    limit
        Seconds after which it is stopped.
    about
        What its table shows.
    """

    name: str
    limit: float
    about: str


# The most important first: what comes last is lost if the time runs out.
PARTS = (
    Part("card", 45, "What the card can do: the ceilings that the rest is measured against"),
    Part("proofs", 140, "Tests marked `needs_cuda`"),
    Part("encode", 110, "Encoders: the features stage beside a bare loop, and the card's peak"),
    Part("whole", 120, "From clips to features, as the rules run them"),
    Part("train", 70, "Seconds of an epoch at LLP's size"),
    Part("seeds", 75, "Five seeds at LLP's size"),
    Part("variants", 90, "Ways to run ViT-L/14 in bfloat16"),
    Part("starts", 110, "What the start of a features job consists of, weights from a file"),
    Part("decode", 45, "Decoding on all CPU cores"),
    Part("compiled", 150, "With torch.compile, compilation apart"),
)
# Not run unless named: a share of another part.
SHARES = (Part("graphs", 75, "Tests of CUDA graphs in training"),)


@dataclass
class Report:
    """What is known so far, and the folder that it is written to."""

    folder: Path
    found: dict[str, Any]

    def write(self) -> None:
        """Write gpu.json and gpu.md, each at once."""
        replace(self.folder / "gpu.json", json.dumps(self.found, indent=1) + "\n")
        replace(self.folder / "gpu.md", markdown(self.found))

    def log(self, name: str, text: str) -> None:
        """Add the end of a part's output to logs.txt."""
        with (self.folder / "logs.txt").open("a", encoding="utf-8") as file:
            file.write(f"==== {name}\n{text[-KEPT:]}\n")


def replace(path: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def run_part(part: Part, limit: float, scratch: Path) -> tuple[dict[str, Any], str]:
    """Run one part; return its entry of the report, and its output."""
    rows, log = scratch / f"{part.name}.jsonl", scratch / f"{part.name}.log"
    rows.touch()
    words = [sys.executable, str(HERE / f"{part.name}.py"), str(rows)]
    environment = os.environ | {"SCRATCH": str(scratch)}
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=HERE.parents[1],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        state = state_of(process, limit)
    text = log.read_text(encoding="utf-8", errors="replace")
    found = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    entry = {
        "about": part.about,
        "state": state,
        "seconds": round(time.monotonic() - began, 1),
        "limit": round(limit, 1),
        "rows": found,
    }
    if state != "done":
        entry["end_of_log"] = text.splitlines()[-SHOWN:]
    return entry, text


def state_of(process: "subprocess.Popen[bytes]", limit: float) -> str:
    """Wait for a process, and end it and its children if it takes longer than ``limit``."""
    try:
        code = process.wait(limit)
        state = "done" if code == 0 else f"failed with {code}"
    except subprocess.TimeoutExpired:
        state = f"stopped after {limit:.0f} s"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return state


def run_parts(parts: list[Part], report: Report, budget: float) -> None:
    """Run the parts one after another within the budget; write the report after each."""
    patience = PATIENCE if report.found["is_rehearsal"] else 1
    budget *= patience
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        for part in parts:
            left = budget - (time.monotonic() - began)
            if left < LEAST:
                entry, text = {"about": part.about, "state": "no time left", "rows": []}, ""
            else:
                print(f"{part.name} ...", flush=True)
                limit = min(part.limit * patience, left)
                entry, text = run_part(part, limit, Path(scratch))
                print(f"{part.name}: {entry['state']}, {entry['seconds']} s", flush=True)
            report.found["parts"][part.name] = entry
            report.found["seconds"] = round(time.monotonic() - began, 1)
            report.log(part.name, text)
            report.write()


def main() -> None:
    """Run the chosen parts; the exit status is 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of gpu.json and gpu.md")
    parser.add_argument("--rehearse", action="store_true", help="small models, on a CPU too")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of all parts")
    known = {part.name: part for part in (*PARTS, *SHARES)}
    every = [part.name for part in PARTS]
    parser.add_argument(
        "--only", nargs="+", choices=known, default=every, help="parts to run, in this order"
    )
    arguments = parser.parse_args()
    if arguments.rehearse:
        # Small models gain nothing from threads, and tests run beside others.
        os.environ |= {"REHEARSAL": "1", "OMP_NUM_THREADS": "1"}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "logs.txt").unlink(missing_ok=True)
    rehearsal = {"is_rehearsal": arguments.rehearse}
    report = Report(arguments.out, {**rehearsal, "machine": machine(), "parts": {}})
    report.write()
    run_parts([known[name] for name in arguments.only], report, arguments.budget)
    print((arguments.out / "gpu.md").read_text(encoding="utf-8"))
    entries = report.found["parts"].values()
    errors = [row for entry in entries for row in entry["rows"] if row.get("error")]
    sys.exit(bool(errors) or any(entry["state"] != "done" for entry in entries))


if __name__ == "__main__":
    main()
