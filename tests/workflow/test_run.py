"""The whole workflow on a handful of clips, one corrupt, one silent, one missing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
import yaml
from workflow_runs import planned_jobs, snakemake

from pipeline.core.shards import StatusRow, read_shard, read_status, shard_paths

REPOSITORY = Path(__file__).resolve().parents[2]


def python_m(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


@dataclass(frozen=True)
class Run:
    """A folder in which the workflow runs on its own configuration."""

    folder: Path

    def change(self, **sections: Any) -> None:
        path = self.folder / "my.yaml"
        values = yaml.safe_load(path.read_text())
        for section, keys in sections.items():
            values[section] |= keys
        path.write_text(yaml.safe_dump(values))

    def snakemake(self, *words: str) -> str:
        return snakemake(self.folder, "--configfile", "my.yaml", "--cores", "2", *words)

    def planned(self, *words: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run plans."""
        return planned_jobs(self.snakemake("--dry-run", *words))

    def statuses(self) -> dict[str, StatusRow]:
        folder = next((self.folder / "results/features").glob("clap-*"))
        return {
            row.filename: row for path in folder.glob("*.status.tsv") for row in read_status(path)
        }


def without_audio(path: Path) -> None:
    silent = path.with_suffix(".silent.mp4")
    with av.open(str(path)) as source, av.open(str(silent), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    silent.replace(path)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    sizes = ("--train", "8", "--val", "4", "--test", "4", "--workers", "2")
    done = python_m("pipeline", "demo", "--seed", "5", *sizes, "--out", str(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def broken(corpus: Path) -> dict[str, str]:
    table = (corpus / "annotations/AVVP_train.csv").read_text().splitlines()[1:]
    names = [line.split("\t")[0] for line in table]
    videos = corpus / "videos"
    corrupt, silent, missing = names[:3]
    whole = (videos / f"{corrupt}.mp4").read_bytes()
    (videos / f"{corrupt}.mp4").write_bytes(whole[: len(whole) // 3])
    without_audio(videos / f"{silent}.mp4")
    (videos / f"{missing}.mp4").unlink()
    return {"corrupt": corrupt, "silent": silent, "missing": missing}


@pytest.fixture(scope="module")
def run(corpus: Path, broken: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    values = yaml.safe_load((REPOSITORY / "workflow/presets/demo.yaml").read_text())
    values["dataset"] = {
        "name": "handful",
        "source": "local",
        "annotations": str(corpus / "annotations"),
        "videos": str(corpus / "videos"),
        "shards": 2,
    }
    values["training"] = {"seeds": [0], "seeds_at_once": None}
    small = {"epochs": 2, "width": 32, "layers": 1, "heads": 2, "feedforward": 32}
    values["methods"] = {"link": dict(small), "valorpp": dict(small)}
    values["ablation"] = {"variants": {"no_plsim": {"plsim": False}, "full": {}}}
    (folder / "my.yaml").write_text(yaml.safe_dump(values))
    run = Run(folder)
    run.snakemake()
    return run


def test_everything_is_there(run: Run) -> None:
    results = run.folder / "results"
    assert (results / "report/index.html").stat().st_size > 10_000
    for method in ("link", "valorpp"):
        metrics = json.loads((results / f"models/{method}/seed0/metrics.json").read_text())
        assert set(metrics) == {"val", "test"}
        assert metrics["test"]["videos"] == 4
    assert not list((results / "segments").rglob("*.safetensors")), "segments are temporary"


def test_broken_videos_are_rows(run: Run, broken: dict[str, str]) -> None:
    statuses = run.statuses()
    assert len(statuses) == 16
    assert not statuses[broken["corrupt"]].kept
    assert statuses[broken["corrupt"]].detail
    assert statuses[broken["missing"]].status == "missing"
    assert statuses[broken["silent"]].kept
    assert statuses[broken["silent"]].status == "no_audio_stream"
    others = [row for name, row in statuses.items() if name not in broken.values()]
    assert all(row.kept and row.status == "ok" for row in others)
    folder = next((run.folder / "results/features").glob("clip-*"))
    assert sum(len(read_shard(path).names) for path in shard_paths(folder)) == 14


def test_second_run_has_nothing_to_do(run: Run) -> None:
    assert run.planned() == {}


def test_forced_labels_decode_nothing(run: Run) -> None:
    planned = run.planned("--forcerun", "pseudo_labels")
    assert planned["pseudo_labels"] == 1
    assert planned["train_parser"] == 2
    assert not {"segments", "encode_segments", "encode_prompts"} & set(planned)


@pytest.fixture
def kept_config(run: Run) -> Iterator[None]:
    before = (run.folder / "my.yaml").read_text()
    yield
    (run.folder / "my.yaml").write_text(before)


@pytest.mark.usefixtures("kept_config")
def test_changed_recipe_reruns_its_method_alone(run: Run) -> None:
    values = yaml.safe_load((run.folder / "my.yaml").read_text())
    run.change(methods={"link": values["methods"]["link"] | {"epochs": 3}})
    assert run.planned() == {
        "train_parser": 1,
        "predict_parser": 1,
        "evaluate_parser": 1,
        "report": 1,
        "all": 1,
    }


@pytest.mark.usefixtures("kept_config")
def test_corrections_score_again_and_train_nothing(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "AVVP_eval_audio.csv"
    table.write_text("filename\tonset\toffset\tevent_labels\n")
    run.change(dataset={"corrections": str(tmp_path)})
    assert run.planned() == {"evaluate_parser": 2, "report": 1, "all": 1}
    assert run.snakemake("--dry-run", "-p").count(f" --corrections {tmp_path}") == 2


@pytest.mark.usefixtures("kept_config")
def test_changed_thresholds_rerun_labels_and_after(run: Run) -> None:
    run.change(pseudo_labels={"thresholds": "fixed"})
    planned = run.planned()
    assert planned["pseudo_labels"] == 1
    assert not {"segments", "encode_segments"} & set(planned)


@pytest.mark.usefixtures("kept_config")
def test_how_a_stage_runs_is_no_reason_to_run_it_again(run: Run) -> None:
    values = yaml.safe_load((run.folder / "my.yaml").read_text())
    running = {"batch_size": 7, "channels_last": True, "compiled": True}
    run.change(
        decode={"timeout_seconds": 77},
        encoders={name: values["encoders"][name] | running for name in ("clip", "clap")},
    )
    assert run.planned() == {}
    commands = run.snakemake("--dry-run", "--forceall", "--printshellcmds")
    assert commands.count("--batch-size 7 --channels-last --compiled") == 2 * 2 + 2
    assert commands.count("--timeout-seconds 77") == 2
    run.change(encoders={"clip": values["encoders"]["clip"] | {"precision": "bf16"}})
    # Segments are temporary: they are decoded again for CLIP, and CLAP's are updated with them.
    assert run.planned()["encode_segments"] == 4


@pytest.mark.usefixtures("kept_config")
def test_changed_sampling_is_another_cache(run: Run) -> None:
    run.change(decode={"sampling": "valor"})
    planned = run.planned()
    assert (planned["segments"], planned["encode_segments"]) == (2, 4)


def test_new_file_touches_its_shard_alone(run: Run, corpus: Path, broken: dict[str, str]) -> None:
    found = corpus / "videos" / f"{broken['missing']}.mp4"
    whole = next(
        path for path in (corpus / "videos").glob("*.mp4") if path.stem not in broken.values()
    )
    shutil.copy(whole, found)
    try:
        planned = run.planned()
    finally:
        found.unlink()
    assert (planned["segments"], planned["encode_segments"]) == (1, 2)
    assert planned["manifest"] == planned["pseudo_labels"] == 1
    assert run.planned() == {}, "the folder is as it was, though its time stamp is not"


@pytest.mark.extended
def test_methods_and_variants_side_by_side(run: Run) -> None:
    assert run.planned("compare") == {"compare": 1}, "all it reads is there"
    run.snakemake("compare", "ablation")
    results = run.folder / "results"
    leaderboard = (results / "compare/compare.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in leaderboard[1:]} == {"LINK", "VALOR++"}
    assert "## Differences to LINK" in (results / "compare/compare.md").read_text()
    variants = (results / "ablation/ablation.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in variants[1:]} == {"no_plsim", "full"}
    # The full variant is LINK as configured, so it is LINK's training over again.
    checkpoints = [
        results / f"{name}/seed0/checkpoint.safetensors"
        for name in ("models/link", "ablation/full")
    ]
    assert checkpoints[0].read_bytes() == checkpoints[1].read_bytes()
    assert run.planned("all", "compare", "ablation") == {}


@pytest.mark.extended
def test_parsing_a_clip_says_what_predict_said(run: Run, corpus: Path, tmp_path: Path) -> None:
    scored = read_shard(run.folder / "results/models/link/seed0/probabilities_test.safetensors")
    name = scored.names[0]
    shutil.copy(corpus / "videos" / f"{name}.mp4", tmp_path)
    words = ("parse", "--config", f"parse={{videos: {tmp_path}}}")
    assert run.planned(*words) == {"parse": 1}, "every run leaves what parsing needs"
    run.snakemake(*words)
    parsed = json.loads((run.folder / f"results/parsed/{name}/parsed.json").read_text())
    for modality, found in parsed["probabilities"].items():
        assert found == pytest.approx(scored.select([name])[modality][0], abs=1.1e-4)
    assert run.planned(*words) == {}
    shutil.copy(tmp_path / f"{name}.mp4", tmp_path / "again.mp4")
    assert run.planned(*words) == {"parse": 1}, "a new video is one to parse"


@pytest.mark.extended
def test_report_of_snakemake(run: Run) -> None:
    run.snakemake("--report", "report.html")
    assert (run.folder / "report.html").stat().st_size > 100_000


def test_mistake_in_the_config_is_one_sentence(run: Run, tmp_path: Path) -> None:
    values = yaml.safe_load((run.folder / "my.yaml").read_text())
    values["decode"]["smapling"] = "center"
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))
    said = snakemake(tmp_path, "--configfile", "my.yaml", "--dry-run", returns=1)
    assert "config key 'decode.smapling' is unknown; it must be one of sampling" in said
    assert "Traceback" not in said


@pytest.mark.extended
@pytest.mark.usefixtures("kept_config")
def test_one_job_trains_all_seeds_of_a_run(run: Run) -> None:
    alone = (run.folder / "results/models/link/seed0/checkpoint.safetensors").read_bytes()
    run.change(training={"seeds": [0, 1], "seeds_at_once": 2})
    names = [f"results/models/link/seed{seed}" for seed in (0, 1)]
    tables = [f"{name}/metrics.json" for name in names]
    planned = run.planned(*tables)
    assert planned["train_parser"] == 1
    run.snakemake(*tables)
    folders = [run.folder / name for name in names]
    assert (folders[0] / "checkpoint.safetensors").read_bytes() == alone
    assert (folders[1] / "checkpoint.safetensors").read_bytes() != alone
    assert all((folder / "metrics.json").is_file() for folder in folders)
    assert run.planned(*tables) == {}
