"""Where a run's numbers come from and what they cost: one JSON value, and lines of the page."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.core.files import REPOSITORY, sha256_of
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES
from pipeline.parsers.registry import recipe_for
from pipeline.report.artifacts import Artifacts, read_tsv

PROVENANCE_FILE = "provenance.json"
# Of all packages, those that the page names.
LIBRARIES = (
    "torch",
    "open-clip-torch",
    "laion-clap",
    "transformers",
    "av",
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


def provenance(artifacts: Artifacts, costs: Sequence[StageCost]) -> dict[str, Any]:
    """Return all that is known of how a run came about, as a JSON value.

    Returns
    -------
    dict
        ``pipeline`` and ``git``; ``configuration``, the effective one, and ``weights``, each
        encoder's file and SHA-256 (None and empty where the stage was called without them);
        ``tables`` and ``vocabulary``, SHA-256 by name; ``classes`` and ``segments``; ``seeds`` by
        method; ``recipes``, all options of every run; ``features``, their folders' names;
        ``machine``, ``python`` and ``packages``, those of the report's own job;
        ``cost``, each stage's, see ``StageCost``.
    """
    sources = artifacts.sources
    tables = (
        sources.annotations / name for name in (*SPLIT_TABLES.values(), *EVENT_TABLES.values())
    )
    return {
        "pipeline": __version__,
        "git": git_state(),
        "configuration": sources.settings.get("configuration"),
        "weights": sources.settings.get("weights", {}),
        "tables": {path.name: sha256_of(path) for path in tables if path.is_file()},
        "vocabulary": {sources.vocabulary.name: sha256_of(sources.vocabulary)},
        "classes": len(artifacts.vocabulary),
        "segments": artifacts.segments,
        "seeds": {
            method: [parser.seed for parser in parsers]
            for method, parsers in artifacts.parsers.items()
        },
        "recipes": sources.settings.get("recipes", {}),
        "features": sorted({path.parent.name for path in sources.statuses}),
        "machine": machine(),
        "python": platform.python_version(),
        "packages": packages(),
        "cost": [asdict(cost) for cost in costs],
    }


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the page shows of it: a name and a value each."""
    computer = record["machine"]
    lines = [
        ("pipeline", record["pipeline"]),
        ("git", record["git"]),
        *((f"seeds of {method}", _listed(seeds)) for method, seeds in record["seeds"].items()),
        ("features", _listed(record["features"])),
        ("classes × segments", f"{record['classes']} × {record['segments']}"),
    ]
    lines += [
        (f"changed of {run}", changed)
        for run, recipe in record["recipes"].items()
        if (changed := _changed(run, recipe))
    ]
    lines += [
        (f"weights of {encoder}", f"{weights['file']}, {_short(weights['sha256'])}")
        for encoder, weights in record["weights"].items()
    ]
    digests = record["tables"] | record["vocabulary"]
    lines += [(name, _short(digest)) for name, digest in digests.items()]
    lines += [
        ("machine", f"{computer['system']}, {computer['cores']} cores of {computer['processor']}"),
        ("GPUs", _listed(computer["gpus"]) or "none"),
        ("Python", record["python"]),
    ]
    versions = record["packages"]
    return lines + [(name, versions[name]) for name in LIBRARIES if name in versions]


def machine() -> dict[str, Any]:
    """Return what this machine is: system, processor, cores, memory in bytes, GPUs."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return {
        "system": platform.platform(),
        "processor": _value_of(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [_value_of(path, "Model") for path in gpus],
    }


def packages() -> dict[str, str]:
    """Return the version of every installed package, by name."""
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _value_of(path: Path, name: str) -> str:
    """Return the first value of a name in a file of ``name: value`` lines, or nothing."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(values, "")


def _changed(run: str, recipe: Mapping[str, Any]) -> str:
    """Return the options of ``models/{method}`` that are not the method's own."""
    own = recipe_for(run.partition("/")[2], {}).model_dump(mode="json")
    return _listed([f"{key} {value}" for key, value in recipe.items() if own.get(key) != value])


def _short(digest: str) -> str:
    """Return a checksum's first digits; the seed of random weights as it is."""
    return digest if digest.startswith("random:") else f"sha256 {digest[:12]}"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


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
