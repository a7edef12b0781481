"""Runs of the workflow by a process that imports Snakemake once; and what dry runs print."""

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Reads runs from its input, forks for each, and prints the exit codes.
SERVER = """
import json, os, sys
import snakemake.cli, pipeline.config.load
for line in sys.stdin:
    words, folder, variables, said = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        sys.argv[1:] = words
        sys.exit(snakemake.cli.main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process; it ends with the tests' own, when its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def snakemake(
    folder: Path, *words: str, environment: dict[str, str] | None = None, returns: int = 0
) -> str:
    """Run the workflow in a folder, see that it exits with `returns`, and return what it prints."""
    variables = dict(os.environ if environment is None else environment)
    variables["PYTHONPATH"] = str(REPOSITORY)
    command = ["--snakefile", str(REPOSITORY / "Snakefile"), *words]
    server = _server()
    assert server.stdin
    assert server.stdout
    with tempfile.NamedTemporaryFile("r") as said:
        call = json.dumps([command, str(folder), variables, said.name])
        print(call, file=server.stdin, flush=True)
        code = server.stdout.readline()
        text = said.read()
    assert code == f"{returns}\n", text
    return text


def planned_jobs(text: str) -> dict[str, int]:
    """Return how many jobs of each rule the output of a dry run plans."""
    if "Nothing to be done" in text:
        return {}
    table = text.split("job ", 1)[1].split("total", 1)[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
