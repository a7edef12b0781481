"""The preset llp_features on a small simulated release, from a local Hub and from folders."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hub_server import HubServer
from released import Release, simulated_names, simulated_truth, write_folders, write_zips
from workflow_runs import planned_jobs, snakemake

from pipeline.core.shards import read_shard, read_status
from pipeline.features.verify import verify_features

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.extended

SMALL = {"epochs": 2, "width": 32, "layers": 1, "heads": 2, "feedforward": 32, "batch_size": 8}
METHODS = {name: dict(SMALL) for name in ("link", "valorpp", "han")}


@dataclass(frozen=True)
class PresetRun:
    """A folder in which the preset runs, and the environment with the Hub."""

    folder: Path
    environment: dict[str, str]

    def snakemake(self, *words: str) -> str:
        options = ("--configfile", "my.yaml", "--cores", "2", *words)
        return snakemake(self.folder, *options, environment=self.environment)

    def planned(self, *words: str) -> dict[str, int]:
        return planned_jobs(self.snakemake("--dry-run", *words))

    def configure(self, methods: dict[str, object], **dataset: object) -> None:
        values = {
            "preset": "llp_features",
            "dataset": {"annotations": "tables", "shards": 2, **dataset},
            "training": {"seeds": [87], "seeds_at_once": 1},
            "methods": methods,
        }
        (self.folder / "my.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture(scope="module")
def release() -> Release:
    return Release(simulated_truth(simulated_names(36)))


@pytest.fixture(scope="module")
def hub(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with HubServer() as server:
        for name, members in (("valor", release.valor()), ("uwav", release.uwav())):
            folder = tmp_path_factory.mktemp(name)
            write_zips(folder, members)
            server.add_folder(f"datasets/NTUBarista/{name}_features", folder)
        yield server


def tables(release: Release, folder: Path) -> None:
    names = list(release.truth)
    splits = {"train": names[:20], "val": names[20:28], "test": names[28:]}
    missing = "absent00000_0_10"
    release.truth[missing] = next(iter(release.truth.values()))  # type: ignore[index]
    release.write_tables(folder, splits | {"test": [*splits["test"], missing]})
    del release.truth[missing]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def run(release: Release, hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> PresetRun:
    folder = tmp_path_factory.mktemp("run")
    tables(release, folder / "tables")
    environment = hub.environment(folder / "cache", PYTHONPATH=str(REPOSITORY))
    run = PresetRun(folder, environment)
    run.configure({name: METHODS[name] for name in ("link", "valorpp")})
    run.snakemake()
    return run


def test_everything_is_imported_trained_and_compared(run: PresetRun, hub: HubServer) -> None:
    folders = sorted((run.folder / "results/features").glob("cl*-*"))
    assert [folder.name[:4] for folder in folders] == ["clap", "clip"]
    for folder in folders:
        verified = verify_features(folder)
        assert (verified.videos, verified.left_out) == (36, 1)
    assert set(verify_features(folders[0]).shapes) == {"map", "embedding"}
    rows = {row.filename: row for path in folders[0].glob("*.tsv") for row in read_status(path)}
    assert rows["absent00000_0_10"].status == "missing"
    labels = read_shard(run.folder / "results/pseudo_labels/labels.safetensors")
    assert set(labels.arrays) == {
        *("audio", "visual", "audio_masked", "visual_masked"),
        *("audio_soft", "visual_soft", "audio_logits", "visual_logits"),
    }
    assert "valor_features/CLAP.zip at" in labels.meta["masked"]
    board = (run.folder / "results/compare/compare.md").read_text()
    for name in ("LINK", "VALOR++"):
        assert re.search(rf"^\| {re.escape(name)} +\|.*this run", board, re.M), name
    assert "## Differences to published results" in board
    assert "8/9" in board
    provenance = json.loads((run.folder / "results/report/provenance.json").read_text())
    commit = hub.repositories["datasets/NTUBarista/uwav_features"].commit
    assert any(commit in origin for origin in provenance["imported"].values())
    assert (run.folder / "results/parsing.json").is_file()


def test_a_trained_parser_is_packed_with_what_it_was_trained_on(run: PresetRun) -> None:
    command = [sys.executable, "-m", "pipeline", "pack", "results/models/link/seed87"]
    done = subprocess.run(
        [*command, "--out", "packed"],
        cwd=run.folder,
        env=run.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "may differ a little" in done.stderr
    settings = json.loads((run.folder / "results/parsing.json").read_text())
    folders = {path.name for path in (run.folder / "results/features").glob("cl*-*")}
    assert {f"{kind}-{made}" for kind, made in settings["imported"].items()} == folders


def test_second_run_has_nothing_to_do(run: PresetRun) -> None:
    assert run.planned() == {}


def test_a_method_more_trains_that_method_alone(run: PresetRun) -> None:
    before = (run.folder / "my.yaml").read_text()
    run.configure({name: METHODS[name] for name in METHODS})
    try:
        assert run.planned() == {
            **dict.fromkeys(("train_parser", "predict_parser", "evaluate_parser"), 1),
            **dict.fromkeys(("compare", "report", "all"), 1),
        }
    finally:
        (run.folder / "my.yaml").write_text(before)


def test_folders_that_one_has(release: Release, tmp_path: Path) -> None:
    tables(release, tmp_path / "tables")
    write_folders(tmp_path / "valor", release.valor())
    run = PresetRun(tmp_path, os.environ | {"PYTHONPATH": str(REPOSITORY)})
    features = {"valor": "valor", "uwav": None}
    run.configure({"link": SMALL | {"plsim": False}}, features=features)
    planned = run.planned()
    assert "fetch_hub_file" not in planned
    assert planned["import_features"] == 1
    run.snakemake()
    labels = read_shard(run.folder / "results/pseudo_labels/labels.safetensors")
    assert set(labels.arrays) == {"audio_masked", "visual_masked"}
    assert (run.folder / "results/report/index.html").is_file()
    assert run.planned() == {}
    video = next(iter(release.truth))[:11]
    (tmp_path / f"valor/CLIP/features/{video}.npy").write_bytes(b"longer" * 10_000)
    assert run.planned()["import_features"] == 1, "a changed file is other features"
