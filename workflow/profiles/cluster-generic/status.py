#!/usr/bin/env python3
"""Print what became of a Slurm job: ``running``, ``success`` or ``failed``.

Snakemake's cluster-generic executor calls it with a job's id. Any Python 3 runs it.
"""

import subprocess
import sys

# Every other state (`man squeue`, "JOB STATE CODES") is the end of a job that did not succeed.
ALIVE = {
    "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "STOPPED",
    "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "RESIZING",
    "SIGNALING",
}  # fmt: skip


def state_of(job: str) -> str:
    """Return the state that the controller, or after a while only the database, knows."""
    done = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True
    )
    for word in done.stdout.split():
        if word.startswith("JobState="):
            return word.removeprefix("JobState=")
    if "Invalid job id" not in done.stderr:
        return "PENDING"  # the controller is away for a moment: ask again later
    past = ["sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2", "--format=State"]
    words = subprocess.run(past, capture_output=True, text=True).stdout.split()
    return words[0] if words else "UNKNOWN"


def main() -> None:
    """Answer for the job on the command line."""
    state = state_of(sys.argv[1])
    print("running" if state in ALIVE else "success" if state == "COMPLETED" else "failed")


if __name__ == "__main__":
    main()
