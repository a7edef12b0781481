"""Where a run's numbers come from and what they cost."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import __version__
from pipeline.annotations import EVENT_TABLES, SPLIT_TABLES
from pipeline.files import REPOSITORY, sha256_of
from pipeline.report.artifacts import Artifacts, read_tsv

LIBRARIES = (
    "torch",
    "open-clip-torch",
    "laion-clap",
    "transformers",
    "decord",
    "numpy",
    "safetensors",
    "snakemake",
)


@dataclass(frozen=True)
class StageCost:
    """What the jobs of one stage took, from Snakemake's benchmark files.

    Attributes
    ----------
    stage
        Name of the benchmark file or its top folder.
    jobs
        Number of jobs.
    wall_seconds, cpu_seconds
        Sums over the jobs; the CPU time is None where no job ran long enough to be sampled.
    longest_seconds
        Wall time of the longest job.
    memory_mb
        Largest resident memory of a job, in MiB, or None likewise.
    """

    stage: str
    jobs: int
    wall_seconds: float
    cpu_seconds: float | None
    longest_seconds: float
    memory_mb: float | None


def read_costs(folder: Path | None) -> list[StageCost]:
    """Read benchmark files, the stage with the longest wall time first."""
    jobs: dict[str, list[dict[str, str]]] = {}
    if folder is None:
        return []
    for path in sorted(folder.rglob("*.tsv")):
        stage = path.relative_to(folder).parts[0].removesuffix(".tsv")
        jobs.setdefault(stage, []).extend(read_tsv(path))
    return sorted(
        (_stage_cost(stage, rows) for stage, rows in jobs.items()),
        key=lambda cost: (-cost.wall_seconds, cost.stage),
    )


def _stage_cost(stage: str, rows: Sequence[dict[str, str]]) -> StageCost:
    wall, cpu, memory = (
        [value for row in rows if (value := _number(row.get(column))) is not None]
        for column in ("s", "cpu_time", "max_rss")
    )
    return StageCost(
        stage=stage,
        jobs=len(rows),
        wall_seconds=sum(wall),
        cpu_seconds=sum(cpu) if cpu else None,
        longest_seconds=max(wall, default=0),
        memory_mb=max(memory, default=None),
    )


def _number(text: str | None) -> float | None:
    """Return a benchmark's value; Snakemake writes NA or - for what it could not sample."""
    try:
        return float(text or "")
    except ValueError:
        return None


def provenance(artifacts: Artifacts) -> list[tuple[str, str]]:
    """Return what a reader needs to make the run again: a name and a value each."""
    sources = artifacts.sources
    facts = [("pipeline", __version__), ("git", git_state())]
    if sources.config:
        facts.append(
            ("configuration", f"{sources.config} (sha256 {sha256_of(sources.config)[:12]})")
        )
    facts += [
        (f"seeds of {parsers[0].display_name}", ", ".join(str(parser.seed) for parser in parsers))
        for parsers in artifacts.parsers.values()
    ]
    folders = {f"{path.parent.parent.name}/{path.parent.name}" for path in sources.statuses}
    facts += [
        ("features", ", ".join(sorted(folders))),
        ("classes × segments", f"{len(artifacts.vocabulary)} × {artifacts.segments}"),
    ]
    tables = (
        sources.annotations / name for name in (*SPLIT_TABLES.values(), *EVENT_TABLES.values())
    )
    facts += [(path.name, f"sha256 {sha256_of(path)[:12]}") for path in tables if path.is_file()]
    facts.append(("Python", platform.python_version()))
    return facts + [(library, version) for library in LIBRARIES if (version := _version(library))]


def git_state() -> str:
    """Return the checkout's commit and whether tracked files differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "not a git checkout"
    return f"{commit}, with changes" if _git("status", "--porcelain", "-uno") else commit


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
