"""A trained parser as one folder: packed, moved, published, loaded again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from clips import write_clip
from hub_server import HubServer, Repository
from parse_runs import T, write_run

import pipeline
from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.inference.packed import _encoder_files, read_parser_settings
from pipeline.inference.settings import InferenceSettings

REPOSITORY = Path(__file__).resolve().parents[2]
CHECKPOINT = Path("results/models/link/seed0")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def packed(run_folder, tmp_path_factory) -> Path:
    """The whole parser, in a folder that its run knows nothing of."""
    folder = tmp_path_factory.mktemp("packed") / "link-small"
    words = ["pack", str(run_folder / CHECKPOINT), "--out", str(folder), "--with-encoders"]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=T + 1)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def front_matter(card: Path) -> dict:
    return yaml.safe_load(card.read_text().split("---\n")[1])


def test_a_packed_parser_has_all_it_needs(packed, run_folder):
    found = files(packed)
    assert {"checkpoint.safetensors", "parsing.json", "README.md", "LICENSE"} <= found
    assert {"encoders/clip/tiny.json", "encoders/clip/tiny.safetensors"} <= found
    text = (packed / "parsing.json").read_text()
    assert str(run_folder) not in text
    assert "MIT License" in (packed / "LICENSE").read_text()
    for path in ("encoders/clip/tiny.safetensors",):
        assert sha256_of(packed / path) in text


def test_a_packed_parser_parses_as_its_run_does(packed, run_folder, clip, tmp_path, monkeypatch):
    original = pipeline.load_parser(run_folder / CHECKPOINT, device="cpu").parse(clip)
    moved = tmp_path / "elsewhere" / "parser"
    shutil.copytree(packed, moved)
    monkeypatch.chdir(tmp_path)
    again = pipeline.load_parser(moved, device="cpu").parse(clip)
    for modality, probabilities in original.probabilities.items():
        assert (again.probabilities[modality] == probabilities).all()
    assert dict(again.provenance) == dict(original.provenance)
    words = ["parse", str(clip), "--checkpoint", str(moved), "--out", "out", "--device", "cpu"]
    assert main(words) == 0
    written = json.loads(Path("out/clip/parsed.json").read_text())
    assert np.array(written["probabilities"]["audio"]) == pytest.approx(
        original.probabilities["audio"], abs=1e-6
    )


def test_a_packed_parser_has_the_thresholds_of_its_predictions(run_folder, tmp_path):
    source = shutil.copytree(run_folder, tmp_path / "run") / CHECKPOINT
    (source / "thresholds.json").write_text('{"segment_threshold": 0.3}')
    folder = tmp_path / "packed"
    assert main(["pack", str(source), "--out", str(folder)]) == 0
    assert pipeline.load_parser(source, device="cpu").thresholds.segment == 0.3
    assert (folder / "thresholds.json").read_text() == '{"segment_threshold": 0.3}'


def test_encoders_that_are_not_copied_are_named_with_their_checksums(
    run_folder, clip, tmp_path, capsys
):
    folder = tmp_path / "packed"
    assert main(["pack", str(run_folder / CHECKPOINT), "--out", str(folder)]) == 0
    assert files(folder) == {"checkpoint.safetensors", "parsing.json", "README.md", "LICENSE"}
    card = (folder / "README.md").read_text()
    weights = next(run_folder.glob("*/*/tiny.safetensors"))
    assert f"| CLIP | `encoders/clip/tiny.safetensors` | `{sha256_of(weights)}` |" in card
    said = capsys.readouterr().out
    assert f"encoders/clip/tiny.safetensors (sha256 {sha256_of(weights)})" in said
    with pytest.raises(pipeline.PipelineError, match=r"of clip .*must be at 'encoders/clip/"):
        pipeline.load_parser(folder)
    # What the card asks for is put where it says.
    for line in card.splitlines():
        if "`encoders/" in line and line.count("`") == 4:
            target = line.split("`")[1]
            copies = [
                path
                for path in run_folder.rglob(Path(target).name)
                if sha256_of(path) == line.split("`")[3]
            ]
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copies[0], folder / target)
    assert pipeline.load_parser(folder, device="cpu").parse(clip).length == T + 1


def test_the_card_has_what_the_hub_reads(packed, run_folder, tmp_path):
    from huggingface_hub import ModelCard

    values = front_matter(packed / "README.md")
    assert values["license"] == "mit"
    assert values["library_name"] == "avvp-pipeline"
    assert {"audio-visual-video-parsing", "link"} <= set(values["tags"])
    assert "model-index" not in values
    source = tmp_path / "scored"
    shutil.copytree(run_folder / CHECKPOINT, source)
    scores = dict.fromkeys(("audio", "visual", "audio_visual", "type", "event"), 41.23456)
    test = {"videos": 7, "metrics": {"segment": scores, "event": scores}}
    (source / "metrics.json").write_text(json.dumps({"val": test, "test": test}))
    words = ["pack", str(source), "--out", str(tmp_path / "out"), "--dataset", 'LLP: "all"']
    assert main([*words, "--settings", str(run_folder / "results/parsing.json")]) == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    results = card.data.eval_results
    assert [result.metric_name for result in results] == [
        "Segment-level Type@AV",
        "Segment-level Event@AV",
        "Event-level Type@AV",
        "Event-level Event@AV",
    ]
    assert {result.dataset_name for result in results} == {'LLP: "all"'}
    assert results[0].metric_value == 41.23
    assert "| segment | 41.2 | 41.2 | 41.2 | 41.2 | 41.2 |" in card.text
    assert "\n\n\n" not in card.content
    (source / "metrics.json").write_text("[]")
    assert main([*words, "--settings", str(run_folder / "results/parsing.json")]) == 2


def test_settings_are_found_whereever_the_run_was_made(run_folder, tmp_path, monkeypatch):
    """Relative paths are those of the run's folder, wherever the working directory is."""
    values = json.loads((run_folder / "results/parsing.json").read_text())
    for encoder in values["encoders"].values():
        for key in ("model", "weights"):
            if encoder and encoder[key].startswith(str(run_folder)):
                encoder[key] = str(Path(encoder[key]).relative_to(run_folder))
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (run / "results/parsing.json").write_text(json.dumps(values))
    monkeypatch.chdir(tmp_path)
    settings = read_parser_settings(run / CHECKPOINT)
    assert Path(settings.encoders.clip.weights).is_file()
    assert Path(settings.encoders.clip.weights).is_relative_to(run)


def test_what_cannot_be_packed_is_one_sentence(run_folder, tmp_path, capsys):
    assert main(["pack", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    shutil.copytree(run_folder / "results", tmp_path / "results")
    values = json.loads((tmp_path / "results/parsing.json").read_text()) | {"segments": T + 1}
    (tmp_path / "results/parsing.json").write_text(json.dumps(values))
    words = ["pack", str(tmp_path / CHECKPOINT), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "trained on clap" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_packing_replaces_nothing_but_a_packed_parser(run_folder, packed, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    words = ["pack", str(run_folder / CHECKPOINT), "--out"]
    assert main([*words, str(tmp_path)]) == 2
    assert "has files, such as 'README.md', and is no packed parser" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    again = tmp_path / "again"
    shutil.copytree(packed, again)
    assert main([*words, str(again)]) == 0


def test_weights_that_are_not_the_runs_are_not_packed(run_folder, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    path = run / "results/parsing.json"
    values = json.loads(path.read_text())
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"others")
    values["encoders"]["clip"] |= {"weights": str(weights), "sha256": "0" * 64}
    settings = InferenceSettings.model_validate(values)
    with pytest.raises(PipelineError, match="do not have the sha256 0000"):
        list(_encoder_files(settings, settings, {str(weights)}))


def test_a_part_of_a_repository_is_no_parser():
    with pytest.raises(PipelineError, match=r"a parser is a whole one; write 'hf:a/b@v1'"):
        pipeline.load_parser("hf:a/b/sub@v1")


def test_the_command_takes_a_parser_from_the_hub(packed, clip, tmp_path):
    with HubServer() as hub:
        repository = hub.add_folder("models/me/link-small", packed)
        words = ["-m", "pipeline", "parse", str(clip), "--device", "cpu", "--out", str(tmp_path)]
        words += ["--checkpoint", f"hf:me/link-small@{repository.commit}"]
        done = subprocess.run(
            [sys.executable, *words],
            env=hub.environment(tmp_path / "cache"),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "clip" / "index.html").is_file()
        assert not any("README" in request for request in hub.requests)
        again = subprocess.run(
            [sys.executable, *words[:-1], "hf:me/none"],
            env=hub.environment(tmp_path / "cache"),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert again.returncode == 2
        error = [line for line in again.stderr.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        assert "has no such repository" in error[0]


def test_encoders_on_the_hub_are_downloaded_on_first_use(run_folder, clip, tmp_path):
    values = json.loads((run_folder / "config.yaml").read_text())
    weights = {}
    for name in ("clip", "clap"):
        path = Path(values["encoders"][name]["weights"])
        weights[f"{name}.safetensors"] = path.read_bytes()
        values["encoders"][name]["weights"] = f"hf:me/encoders/{name}.safetensors"
        values["encoders"][name]["sha256"] = None
    (tmp_path / "config.yaml").write_text(json.dumps(values))
    words = ["-m", "pipeline", "parse", str(clip), "--device", "cpu", "--out", "out"]
    words += ["--classes", "a bell, rain"]
    with HubServer({"models/me/encoders": Repository(weights)}) as hub:
        environment = hub.environment(tmp_path / "cache", PYTHONPATH=str(REPOSITORY))
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, *words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr
            asked = list(hub.requests)
            hub.requests.clear()
    assert (tmp_path / "resources/hub/me/encoders/clip.safetensors").is_file()
    assert asked == []  # nothing the second time
