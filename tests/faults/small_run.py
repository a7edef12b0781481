"""The smallest demo that goes through every stage, and what of its results must never differ."""

import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL = REPOSITORY / "workflow" / "profiles" / "local"
# Files that carry times, and the columns of tables that do.
TIMED_FILES = {"index.html", "cost.csv", "provenance.json", "training_state.pt"}
TIMED_COLUMNS = {"curve.csv": "seconds"}


@dataclass(frozen=True)
class SmallRun:
    """A folder with the configuration of a small demo in it."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "SmallRun":
        folder.mkdir(parents=True, exist_ok=True)
        values = yaml.safe_load((REPOSITORY / "workflow/presets/demo.yaml").read_text())
        values["dataset"] |= {"shards": 1, "demo": {"seed": 5, "train": 6, "val": 3, "test": 3}}
        values["training"] = {"seeds": [0], "seeds_at_once": None}
        small = {"epochs": 2, "width": 32, "layers": 1, "heads": 2, "feedforward": 32}
        values["methods"] = {"link": small}
        (folder / "my.yaml").write_text(yaml.safe_dump(values))
        return cls(folder)

    def copy(self) -> "SmallRun":
        """Return a run that is as far, to be changed.

        It lies beside the original: from elsewhere the checkout's files would have other names, and
        a rule whose inputs have other names runs again.
        """
        folder = Path(tempfile.mkdtemp(prefix="copy", dir=self.folder.parent))
        return SmallRun(shutil.copytree(self.folder, folder, dirs_exist_ok=True))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the one command of a run, the same every time; its words go to `said`."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--configfile", "my.yaml", "--workflow-profile", str(LOCAL), "--cores", "2"]
        with self.said_file.open("ab") as said:
            return subprocess.Popen(
                [*command, *words],
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def run(self, *words: str) -> int:
        """Run that command to its end and return its exit code."""
        return self.start(*words).wait(timeout=900)

    @property
    def said_file(self) -> Path:
        return self.folder / "said.txt"

    @property
    def said(self) -> str:
        return self.said_file.read_text()

    def results(self) -> dict[str, bytes]:
        """Return every result file's bytes by name, without what carries times."""
        found = {}
        for path in sorted((self.folder / "results").rglob("*")):
            if path.is_file() and path.name not in TIMED_FILES and path.suffix != ".tmp":
                found[str(path.relative_to(self.folder))] = _untimed(path)
        return found


def _untimed(path: Path) -> bytes:
    column = TIMED_COLUMNS.get(path.name)
    if column is None:
        return path.read_bytes()
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    return repr([{key: row[key] for key in row if key != column} for row in rows]).encode()


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Return the names of results that differ, are missing or are not due."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
