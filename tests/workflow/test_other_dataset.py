"""Another dataset, by docs/how-to/your-dataset.md alone: its script and configuration."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clips import write_clip
from workflow_runs import snakemake

from pipeline.core.shards import read_shard, shard_paths

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.extended

SECONDS = 60
CLASSES = ("dog_barking", "driving_car", "playing_violin")
# Two videos a split; events lie before and after the tenth second, and end between two seconds.
VIDEOS: dict[str, list[tuple[str, float, float]]] = {
    "train-00001": [("dog barking", 2.0, 31.5), ("driving, car", 20.0, 60.0)],
    "train-00002": [("playing violin", 0.0, 45.2)],
    "valid-00001": [("dog barking", 40.0, 59.5), ("playing violin", 5.0, 30.0)],
    "valid-00002": [("driving, car", 11.0, 52.0)],
    "tests-00001": [("dog barking", 33.4, 57.0)],
    "tests-00002": [("driving, car", 0.0, 20.0), ("playing violin", 25.0, 60.0)],
}


def python(*words: object, cwd: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def blocks_of_the_page(language: str) -> list[str]:
    page = (REPOSITORY / "docs/how-to/your-dataset.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the clips and the page's script, configuration and tables."""
    folder = tmp_path_factory.mktemp("unav")
    (folder / "unav/videos").mkdir(parents=True)
    for video in VIDEOS:
        path = folder / f"unav/videos/{video}.mp4"
        write_clip(path, seconds=SECONDS, fps=2, rate=16_000, layout="mono")
    (folder / "unav.json").write_text(json.dumps({"database": dict(map(entry, VIDEOS.items()))}))
    (script_text,) = blocks_of_the_page("python")
    (folder / "tables.py").write_text(script_text)
    (folder / "my.yaml").write_text(blocks_of_the_page("yaml")[-1])
    python("tables.py", "unav.json", SECONDS, "unav/tables", cwd=folder)
    return folder


def entry(video: tuple[str, list[tuple[str, float, float]]]) -> tuple[str, dict[str, object]]:
    name, events = video
    subset = {"train": "train", "valid": "validation", "tests": "test"}[name[:5]]
    annotations = [
        {"label": label, "segment": [str(onset), str(offset)]} for label, onset, offset in events
    ]
    return name, {"subset": subset, "duration": SECONDS, "annotations": annotations}


def test_sixty_seconds_and_three_classes_run_by_configuration_alone(folder: Path) -> None:
    demo = yaml.safe_load((REPOSITORY / "workflow/presets/demo.yaml").read_text())
    base = {key: demo[key] for key in ("decode", "encoders")}
    small = {"epochs": 1, "width": 32, "layers": 1, "heads": 2, "feedforward": 32}
    (folder / "base.yaml").write_text(yaml.safe_dump(base | {"methods": {"link": small}}))
    (folder / "few.yaml").write_text("preset: demo\ndataset: {shards: 1}\ntraining: {seeds: [0]}")
    words = ["--configfile", "base.yaml", "my.yaml", "few.yaml", "--cores", "2"]
    snakemake(folder, *words)

    results = folder / "results"
    (clip,) = (results / "features").glob("clip-*")
    names = {name for path in shard_paths(clip) for name in read_shard(path).names}
    assert names == {f"{video}_0_{SECONDS}" for video in VIDEOS}
    labels = read_shard(results / "pseudo_labels/labels.safetensors")
    assert labels["audio"].shape == (len(VIDEOS), SECONDS, len(CLASSES))
    model = results / "models/link/seed0"
    probabilities = read_shard(model / "probabilities_test.safetensors")
    assert probabilities["audio"].shape == (2, SECONDS, len(CLASSES))
    per_class = json.loads((model / "metrics.json").read_text())["test"]["per_class"]
    assert set(per_class["segment"]["audio"]) == set(CLASSES)
    check = (results / "annotations/check.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in check[1:]} == {"version"}, (
        "no table is LLP's; else fine"
    )
    assert "3 × 60" in (results / "report/index.html").read_text()


def test_events_are_whole_seconds_of_the_whole_minute(folder: Path) -> None:
    tables = folder / "unav/tables"
    rows = (tables / "AVVP_eval_audio.csv").read_text().splitlines()
    assert rows[1:] == [
        "valid-00001_0_60\t40\t60\tdog_barking",
        "valid-00001_0_60\t5\t30\tplaying_violin",
        "valid-00002_0_60\t11\t52\tdriving_car",
        "tests-00001_0_60\t33\t57\tdog_barking",
        "tests-00002_0_60\t0\t20\tdriving_car",
        "tests-00002_0_60\t25\t60\tplaying_violin",
    ]
    assert (tables / "AVVP_eval_visual.csv").read_text().splitlines() == rows


def test_ave_has_the_same_tables(folder: Path, tmp_path: Path) -> None:
    rows = {
        "train": "Church bell&RUhOCu3LNXM&good&0&10\nChurch bell&RUhOCu3LNXM&good&2&4\n",
        "val": "Male speech, man speaking&--12UOziMF0&good&3&7\n",
        "test": "Bark&-_-_-_-_-_-&good&0&10\nBark&RUhOCu3LNXM&good&0&10\n",
    }
    for split, text in rows.items():
        (tmp_path / f"{split}Set.txt").write_text(text)
    python(folder / "tables.py", tmp_path, 10, tmp_path / "out", cwd=tmp_path)
    tables = {path.name: path.read_text() for path in (tmp_path / "out").glob("*.csv")}
    assert tables["AVVP_train.csv"].splitlines()[1:] == ["RUhOCu3LNXM_0_10\tChurch_bell"]
    assert tables["AVVP_test_pd.csv"].splitlines()[1:] == ["-_-_-_-_-_-_0_10\tBark"]
    assert "--12UOziMF0_0_10\t3\t7\tMale_speech_man_speaking" in tables["AVVP_eval_visual.csv"]
