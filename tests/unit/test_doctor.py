"""The doctor: each part that disagrees is named, and nothing else is."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import HubServer, Repository
from released_valor import released_network

from pipeline.cli import main
from pipeline.core import ffmpeg
from pipeline.core.files import sha256_of
from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, segments_to_events, write_events
from pipeline.doctor import machine
from pipeline.doctor.llp import LlpSources, check_llp, published_scores
from pipeline.doctor.machine import CheckLine, check_environment, has_failed
from pipeline.evaluation.evaluate import evaluate_arrays
from pipeline.evaluation.metrics import LEVELS, METRICS

VOCABULARY = read_vocabulary()
VIDEOS = 12
NAMES = [f"-_test{row:05d}_{row}_{row + 10}" for row in range(VIDEOS)]


@dataclass(frozen=True)
class Release:
    """A simulated release: features, weights and tables, and the scores that must come out."""

    folder: Path
    expected: dict[str, list[float]]
    known: dict[str, str]

    def path(self, kind: str, row: int) -> Path:
        return self.folder / "features" / kind / f"{NAMES[row][:11]}.npy"

    def lines(self, **changes: object) -> list[CheckLine]:
        values: dict[str, object] = {
            "out": self.folder / "out",
            "annotations": self.folder / "annotations",
            "features": self.folder / "features",
            "checkpoint": str(self.folder / "checkpoint_best.pt"),
        }
        sources = LlpSources(**(values | changes))  # type: ignore[arg-type]
        device = torch.device("cpu")
        return list(check_llp(sources, VOCABULARY, device, self.expected, self.known))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Random features and weights of the released forms; what the network's own code predicts."""
    folder = tmp_path_factory.mktemp("release")
    random = np.random.default_rng(0)
    shapes = {"CLAP/features": (64, 768), "CLIP/features": (10, 768), "st": (10, 512)}
    arrays = {}
    for kind, shape in shapes.items():
        values = random.standard_normal((VIDEOS, *shape)).astype(np.float32)
        if kind == "CLIP/features":
            values /= np.linalg.norm(values, axis=-1, keepdims=True)
        arrays[kind] = values
        (folder / "features" / kind).mkdir(parents=True)
        for name, value in zip(NAMES, values, strict=True):
            np.save(folder / "features" / kind / f"{name[:11]}.npy", value)
    network = released_network("valorpp")
    torch.save({"model": network.state_dict()}, folder / "checkpoint_best.pt")
    with torch.inference_mode():
        output = network(*(torch.from_numpy(array) for array in arrays.values()))
    gated = (output["segments"] >= 0.5) & (output["video"] >= 0.5)[:, None, None]
    predicted = gated.permute(2, 0, 1, 3).numpy().astype(np.uint8)
    flipped = random.random(predicted.shape) < 0.2
    truth = np.where(flipped, 1 - predicted, predicted)
    write_tables(folder / "annotations", truth)
    metrics = evaluate_arrays("test", NAMES, truth, predicted, VOCABULARY)["metrics"]
    expected = {level: [metrics[level][metric] for metric in METRICS] for level in LEVELS}
    tables = (folder / "annotations").iterdir()
    return Release(folder, expected, {sha256_of(table): "LLP" for table in tables})


def write_tables(folder: Path, truth: np.ndarray) -> None:
    folder.mkdir()
    rows = ["filename\tevent_labels", *(f"{name}\tSpeech" for name in NAMES)]
    (folder / SPLIT_TABLES["test"]).write_text("\n".join(rows) + "\n")
    for table, labels in zip(EVENT_TABLES.values(), truth, strict=True):
        write_events(folder / table, segments_to_events(labels, NAMES), VOCABULARY)


@pytest.fixture
def release(original: Release, tmp_path: Path) -> Release:
    shutil.copytree(original.folder, tmp_path / "release")
    return Release(tmp_path / "release", original.expected, original.known)


def wrong(lines: list[CheckLine]) -> dict[str, str]:
    return {line.name: line.detail for line in lines if line.state == "wrong"}


def test_a_release_that_agrees(release: Release) -> None:
    lines = release.lines()
    assert wrong(lines) == {}
    assert not has_failed(lines)
    assert lines[-1].detail == "the published numbers of VALOR++ are reproduced to 0.1"
    names = [SPLIT_TABLES["test"], *EVENT_TABLES.values()]
    names += ["checkpoint", "CLAP", "CLIP", "R(2+1)D", "predicted"]
    assert [line.name for line in lines] == [*names, "segment level", "event level", "result"]
    assert 20 < min(release.expected["segment"]) < max(release.expected["segment"]) < 95


def test_other_weights_change_the_metrics_alone(release: Release) -> None:
    other = released_network("valorpp", seed=1).state_dict()
    torch.save(other, release.folder / "checkpoint_best.pt")
    found = wrong(release.lines())
    assert list(found) == ["segment level", "event level", "result"]
    assert "(published " in found["segment level"]
    assert "difference -" in found["segment level"]
    assert "compare the features and SHA-256" in found["result"]


def test_one_column_that_differs_is_the_one_that_is_said(release: Release) -> None:
    release.expected["event"] = [*release.expected["event"]]
    try:
        release.expected["event"][1] += 0.25
        found = wrong(release.lines())
    finally:
        release.expected["event"][1] -= 0.25
    assert list(found) == ["event level", "result"]
    assert found["event level"].count("published") == 1
    assert ", V " in found["event level"].partition(" (published")[0]
    assert "difference -0.25" in found["event level"]


def another_table(release: Release) -> None:
    path = release.folder / "annotations" / EVENT_TABLES["visual"]
    path.write_text(path.read_text() + f"{NAMES[0]}\t0\t1\tSpeech\n")


def test_another_table_is_named(release: Release) -> None:
    another_table(release)
    found = wrong(release.lines())
    assert "not a known LLP release" in found[EVENT_TABLES["visual"]]
    assert found["result"].endswith(": tables.")
    (release.folder / "annotations" / EVENT_TABLES["visual"]).unlink()
    found = wrong(release.lines())
    assert "no such file" in found[EVENT_TABLES["visual"]]
    assert "no such file" in found["metrics"]


def lost(release: Release) -> None:
    release.path("CLAP/features", 3).unlink()


def long(release: Release) -> None:
    path = release.path("CLIP/features", 3)
    np.save(path, 2 * np.load(path))


def narrow(release: Release) -> None:
    np.save(release.path("CLIP/features", 3), np.ones((10, 512), np.float32))


def broken(release: Release) -> None:
    np.save(release.path("st", 3), np.full((10, 512), np.nan, np.float32))


def pickled(release: Release) -> None:
    np.save(release.path("st", 3), np.array([{}], object), allow_pickle=True)


def no_motion(release: Release) -> None:
    shutil.rmtree(release.folder / "features" / "st")


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        (lost, "CLAP", "11 of 12 test videos have features in"),
        (long, "CLIP", "lengths differ from 1 by up to 1, but must be L2-normalised"),
        (narrow, "CLIP", "makes the shapes 10x512, 10x768, but all files must be 10x768"),
        (broken, "R(2+1)D", "has values that are not finite"),
        (pickled, "R(2+1)D", "is not a plain .npy array"),
        (no_motion, "R(2+1)D", "pass HAN's r2plus1d_18 folder with --motion"),
    ],
)
def test_features_that_are_not_as_released(
    release: Release, change: Callable[[Release], None], name: str, detail: str
) -> None:
    change(release)
    found = wrong(release.lines())
    assert detail in found[name]
    assert found["result"].endswith(": features.")
    assert not {"checkpoint", *SPLIT_TABLES.values()} & found.keys()


def test_a_checkpoint_of_other_names(release: Release) -> None:
    state = released_network("valorpp").state_dict()
    del state["fc_prob.bias"]
    torch.save(state, release.folder / "checkpoint_best.pt")
    found = wrong(release.lines())
    assert list(found) == ["checkpoint", "metrics", "result"]
    assert "lacks the parameter 'fc_prob.bias'" in found["checkpoint"]
    assert found["metrics"] == "not computed, because there is no checkpoint to predict with."
    assert found["result"].endswith(": checkpoint.")


def archive(release: Release, encoder: str, prefix: str = "") -> Path:
    """Move the features of an encoder into an archive as it is released."""
    features = release.folder / "features"
    path = features / f"{encoder}.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(f"{prefix}{encoder}/segment_pseudo_labels/{NAMES[0][:11]}.npy", b"other")
        for file in sorted((features / encoder / "features").iterdir()):
            opened.write(file, f"{prefix}{encoder}/features/{file.name}")
    shutil.rmtree(features / encoder)
    return path


def test_archives_and_motion_from_elsewhere(release: Release) -> None:
    archive(release, "CLIP")
    archive(release, "CLAP", prefix="home/")
    elsewhere = release.folder / "r2plus1d_18"
    (release.folder / "features" / "st").rename(elsewhere)
    for _ in range(2):  # again with what is extracted
        assert wrong(release.lines(motion=elsewhere)) == {}


def test_what_is_not_given_is_downloaded_from_the_hub(release: Release) -> None:
    archives = {f"{name}.zip": archive(release, name).read_bytes() for name in ("CLIP", "CLAP")}
    weights = (release.folder / "checkpoint_best.pt").read_bytes()
    repositories = {
        "datasets/NTUBarista/valor_features": Repository(archives),
        "models/NTUBarista/valor_trained_models": Repository(
            {"model_VALOR++/checkpoint_best.pt": weights}
        ),
    }
    folder = release.folder / "here"
    folder.mkdir()
    words = [sys.executable, "-m", "pipeline", "doctor", "--llp", "--device", "cpu"]
    words += ["--annotations", "../annotations", "--motion", "../features/st"]
    with HubServer(repositories) as hub:
        environment = hub.environment(folder / "cache")
        environment["AVVP_HUB"] = "hub"
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=240
        )
    assert done.returncode == 1, done.stderr
    said = done.stdout.splitlines()
    states = {line[7:].partition(":")[0]: line.split()[0] for line in said}
    expected = ["checkpoint", "CLAP", "CLIP", "R(2+1)D", "predicted"]
    assert [states[name] for name in expected] == ["ok"] * 5
    assert "hf:NTUBarista/valor_trained_models/model_VALOR++/checkpoint_best.pt@" in done.stdout
    assert (folder / "results/doctor/features/CLIP/features").is_dir()
    assert said[-1].endswith("so may be due to: tables.")


def test_archives_that_are_damaged(release: Release) -> None:
    path = archive(release, "CLIP")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    found = wrong(release.lines())
    assert "is corrupt (Bad CRC-32" in found["features"]
    path.write_bytes(content[:1000])
    assert "is not a whole zip archive" in wrong(release.lines())["features"]


@pytest.mark.parametrize(
    ("member", "detail"),
    [
        (f"CLIP/features/{NAMES[0][:11]}.npy", "bytes"),
        ("../../features/escaped.npy", "'../../features/escaped.npy'"),
    ],
)
def test_a_member_that_is_too_large_or_leaves(release: Release, member: str, detail: str) -> None:
    with zipfile.ZipFile(archive(release, "CLIP"), "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(member, bytes(2**21))
    assert detail in wrong(release.lines())["features"]
    assert list(release.folder.rglob("escaped.npy")) == []


def test_the_published_numbers_are_those_of_the_paper() -> None:
    assert published_scores() == {
        "segment": [68.1, 68.4, 61.9, 66.2, 66.8],
        "event": [61.2, 64.7, 55.5, 60.4, 59.0],
    }


def test_the_command_exits_with_1_if_something_disagrees(
    release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--llp", "--device", "cpu", "--out", str(release.folder / "out")]
    words += ["--features", str(release.folder / "features")]
    words += ["--annotations", str(release.folder / "annotations")]
    words += ["--checkpoint", str(release.folder / "checkpoint_best.pt")]
    assert main(words) == 1
    said = capsys.readouterr().out.splitlines()
    assert all(line.split(maxsplit=1)[0] in {"ok", "wrong"} for line in said)
    assert said[-1].startswith("wrong  result: the metrics differ")
    assert "published 68.1" in "".join(said)


def test_this_machine_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--out", str(tmp_path / "not" / "yet")]) == 0
    said = capsys.readouterr().out.splitlines()
    names = [line.split(maxsplit=1)[1].partition(":")[0] for line in said]
    assert names == ["Python", "torch", "GPU", "libraries", "ffmpeg", "package data", "disk"]


def test_a_machine_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SUPPORTED_PYTHON", ((3, 30), (3, 32)))
    monkeypatch.setattr(machine, "MINIMUM_FREE_BYTES", 10**18)
    monkeypatch.setattr(machine, "ffmpeg_path", lambda: str(tmp_path / "none"))
    monkeypatch.setattr(machine, "PACKAGE_FILES", ("vocabulary.yaml", "lost.yaml"))
    monkeypatch.setattr(machine, "NEEDED_LIBRARIES", {"no_such_module": "no-such-module"})
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = wrong(list(check_environment(tmp_path)))
    assert "it must be 3.30 or later, below 3.32" in found["Python"]
    assert "but torch sees no GPU" in found["GPU"]
    assert "no-such-module must be installed" in found["libraries"]
    assert "FileNotFoundError" in found["ffmpeg"]
    assert "lacks lost.yaml" in found["package data"]
    assert "GB or more: free some space" in found["disk"]
    assert "torch" not in found


def test_ffmpeg_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ffmpeg_path", lambda: "false")
    assert ffmpeg.ffmpeg_path() != "false"
    assert "exits with 1" in wrong(list(check_environment(tmp_path)))["ffmpeg"]


def test_files_are_of_the_llp_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--features", "x"]) == 2
    assert capsys.readouterr().err == "error: --features must be used with --llp; add --llp.\n"


@pytest.mark.parametrize("name", ["features", "motion", "annotations", "checkpoint"])
def test_paths_that_do_not_exist(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--llp", f"--{name}", str(tmp_path / "nope")]) == 2
    assert f"error: --{name} '{tmp_path / 'nope'}' is not a f" in capsys.readouterr().err
