"""Record how a run was made and what it cost, as JSON and as facts for the page."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.core.errors import PipelineError
from pipeline.core.files import REPOSITORY, sha256_of
from pipeline.core.wording import counted
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES
from pipeline.features.encoders.identity import encoder_notice, encoder_text, short_digest
from pipeline.parsers.registry import recipe_for
from pipeline.report.artifacts import Artifacts, read_tsv
from pipeline.report.titles import encoders_of

# The folder of the benchmark files, which are named by stage in it.
BENCHMARKS = "benchmarks"
PROVENANCE_FILE = "provenance.json"
# Packages whose versions are shown on the page.
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
    """Cost of one stage, from Snakemake's benchmark files.

    Attributes
    ----------
    stage
        Name of the benchmark file or its top folder.
    jobs
        Number of jobs.
    wall_seconds, cpu_seconds
        Sum over the jobs; CPU time is None if no job ran long enough to be sampled.
    longest_seconds
        Wall time of the longest job.
    memory_mb
        Largest resident set size of a job in MiB; None if no job was sampled.
    """

    stage: str
    jobs: int
    wall_seconds: float
    cpu_seconds: float | None
    longest_seconds: float
    memory_mb: float | None


def read_costs(benchmarks: Sequence[Path]) -> list[StageCost]:
    """Read ``benchmarks/{stage}.tsv`` and ``benchmarks/{stage}/**.tsv``.

    Parameters
    ----------
    benchmarks
        These files, patterns of their names, or their folder.

    Returns
    -------
    list of StageCost
        The stages by wall time, longest first.

    Raises
    ------
    PipelineError
        A file is not there, or no file has a name of the pattern.
    """
    jobs: dict[str, list[dict[str, str]]] = {}
    for given in benchmarks:
        root = given if given.is_dir() else _benchmark_folder(given)
        files = root.rglob("*.tsv") if root == given else given.parent.glob(given.name)
        found = sorted(files)
        if not found and root != given:
            raise PipelineError(f"--benchmarks '{given}' matches no file; check the path.")
        for path in found:
            stage = path.relative_to(root).parts[0].removesuffix(".tsv")
            jobs.setdefault(stage, []).extend(read_tsv(path))
    return sorted(
        (_stage_cost(stage, rows) for stage, rows in jobs.items()),
        key=lambda cost: (-cost.wall_seconds, cost.stage),
    )


def _benchmark_folder(path: Path) -> Path:
    """Return the folder ``benchmarks`` that a file is in, however deep, or else its own folder."""
    return next((folder for folder in path.parents if folder.name == BENCHMARKS), path.parent)


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
    """Return a benchmark value; None for NA and -, which mean that it was not sampled."""
    try:
        return float(text or "")
    except ValueError:
        return None


def provenance(artifacts: Artifacts, costs: Sequence[StageCost]) -> dict[str, Any]:
    """Return the provenance of a run as a JSON value.

    Returns
    -------
    dict
        ``pipeline`` and ``git``: versions. ``configuration``: the effective configuration, or None
        if unknown. ``encoders``: backend, model and weights of each encoder, as far as they are
        known; ``notice``: what must be said of them, empty if nothing must. ``weights``: file and
        SHA-256 of each encoder that was configured, empty if unknown. ``imported``: path to origin
        of each archive of released features. ``hub``: the commit, SHA-256 and size of each file
        from the Hugging Face Hub, by reference; ``verified`` is false for a file that was put there
        by hand. ``tables`` and ``vocabulary``: SHA-256 by file name. ``classes`` and ``segments``:
        C and T. ``seeds``: by method. ``recipes``: all options of every training run.
        ``features``: names of the feature folders. ``machine``, ``python`` and ``packages``:
        environment of the report job. ``cost``: one ``StageCost`` per stage.
    """
    sources = artifacts.sources
    tables = (
        sources.annotations / name for name in (*SPLIT_TABLES.values(), *EVENT_TABLES.values())
    )
    encoders = run_encoders(artifacts)
    return {
        "pipeline": __version__,
        "git": git_state(),
        "notice": encoder_notice(encoders),
        "encoders": encoders,
        "configuration": sources.settings.get("configuration"),
        "weights": sources.settings.get("weights", {}),
        "imported": sources.settings.get("imported", {}),
        "hub": sources.settings.get("hub", {}),
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


def run_encoders(artifacts: Artifacts) -> dict[str, Mapping[str, str]]:
    """Return the identity of each encoder: as trained on, else as it is configured."""
    settings = artifacts.sources.settings
    configured = (settings.get("configuration") or {}).get("encoders") or {}
    named = {}
    for name, weights in settings.get("weights", {}).items():
        options = configured.get(name) or {}
        parts = {"backend": options.get("backend"), "model": options.get("model")}
        known = {key: str(value).rpartition("/")[2] for key, value in parts.items() if value}
        named[name] = {**known, "weights": weights["sha256"]}
    every = (each.encoders for parsers in artifacts.parsers.values() for each in parsers)
    return {**named, **encoders_of(every)}


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts shown on the page, as pairs of name and value."""
    machine_facts = record["machine"]
    lines = [
        ("pipeline", record["pipeline"]),
        ("git", record["git"]),
        *((f"seeds of {method}", _listed(seeds)) for method, seeds in record["seeds"].items()),
        ("features", _listed(record["features"])),
        ("classes × segments", f"{record['classes']} × {record['segments']}"),
    ]
    lines += [
        (f"non-default options of {run}", changed)
        for run, recipe in record["recipes"].items()
        if (changed := _changed(run, recipe))
    ]
    files = {name: f", {weights['file']}" for name, weights in record["weights"].items()}
    lines += [
        (f"encoder {name}", encoder_text(identity) + files.get(name, ""))
        for name, identity in record["encoders"].items()
    ]
    lines += [(f"imported {path}", origin) for path, origin in record["imported"].items()]
    lines += [
        (reference, f"{_commit(file)}, {short_digest(file['sha256'])}")
        for reference, file in record["hub"].items()
    ]
    digests = record["tables"] | record["vocabulary"]
    lines += [(name, short_digest(digest)) for name, digest in digests.items()]
    lines += [
        (
            "machine",
            f"{machine_facts['system']}, {counted(machine_facts['cores'], 'core')} of "
            f"{machine_facts['processor']}",
        ),
        ("GPUs", _listed(machine_facts["gpus"]) or "none"),
        ("Python", record["python"]),
    ]
    versions = record["packages"]
    return lines + [(name, versions[name]) for name in LIBRARIES if name in versions]


def machine() -> dict[str, Any]:
    """Return system, processor, number of cores, memory in bytes, and GPUs of this machine."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return {
        "system": platform.platform(),
        "processor": _value_of(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [_value_of(path, "Model") for path in gpus],
    }


def packages() -> dict[str, str]:
    """Return the version of each installed package by name."""
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _value_of(path: Path, name: str) -> str:
    """Return the first value of ``name`` in a file of ``name: value`` lines, or an empty string."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(values, "")


def _changed(run: str, recipe: Mapping[str, Any]) -> str:
    """Return the options of run ``models/{method}`` that differ from the method's defaults."""
    defaults = recipe_for(run.partition("/")[2], {}).model_dump(mode="json")
    return _listed(
        [f"{key} {value}" for key, value in recipe.items() if defaults.get(key) != value]
    )


def _commit(file: Mapping[str, Any]) -> str:
    """Return the commit that a file was fetched from, or that the Hub did not confirm the file."""
    return f"commit {file['commit'][:12]}" if file["verified"] else "put there by hand, unverified"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def git_state() -> str:
    """Return the commit of the checkout, and whether tracked files have changed since."""
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
