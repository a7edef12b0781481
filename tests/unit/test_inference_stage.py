"""The parse stage on real files, with small encoders and a small trained parser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clip
from parse_runs import VOCABULARY, T, write_run
from small_encoders import DIMENSION

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.inference.input_files import find_files
from pipeline.inference.parser import Parser, load_parser
from pipeline.inference.predictors import load_encoders
from pipeline.inference.settings import SETTINGS_FILE, find_settings, read_settings
from pipeline.inference.stage import parse_files
from pipeline.parsers.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def parser(run_folder):
    """A trained parser, loaded once."""
    return load_parser(run_folder / "results/models/link/seed0", device="cpu")


def parse(parser: Parser, out: Path, *paths: Path, overlap: int = 2, **options):
    return parse_files(find_files(paths), parser, out, overlap=overlap, **options)


def read_json(folder: Path) -> dict:
    return json.loads((folder / "parsed.json").read_text())


def test_a_video_becomes_tables_and_a_page(tmp_path, parser):
    clip = write_clip(tmp_path / "my clip.mp4", seconds=7)
    (parsed,) = parse(parser, tmp_path / "out", clip)
    folder = tmp_path / "out" / "my_clip"
    assert {path.name for path in folder.iterdir()} == {
        "events.csv",
        "predicted_audio.csv",
        "predicted_visual.csv",
        "parsed.json",
        "events.vtt",
        "audacity.txt",
        "events.eaf",
        "index.html",
    }
    assert parsed.length == 7
    assert read_json(folder)["provenance"]["windows"] == "4 s, 2 s shared"
    assert "1 parsed" in (tmp_path / "out" / "index.html").read_text()
    again = parse(parser, tmp_path / "again", clip)
    for modality, probabilities in parsed.probabilities.items():
        assert (again[0].probabilities[modality] == probabilities).all()
    for path in folder.iterdir():
        if path.name != "events.eaf":  # names the way from its own folder
            assert path.read_bytes() == (tmp_path / "again" / "my_clip" / path.name).read_bytes()


def test_class_texts_reach_a_parser_without_a_prior(tmp_path):
    small = {"decoder_heads": 2, "decoder_feedforward": 8}
    folder = write_run(tmp_path / "run", "leap_han", **small)
    parser = load_parser(folder / "results/models/leap_han/seed0", device="cpu")
    (parsed,) = parse(parser, tmp_path / "out", write_clip(tmp_path / "clip.mp4", seconds=4))
    assert parsed.probabilities["audio"].shape == (4, 2)


def test_word_vectors_cannot_be_made_of_a_video(tmp_path):
    small = {"decoder_heads": 2, "decoder_feedforward": 8, "label_texts": "words"}
    folder = write_run(tmp_path / "run", "leap_han", **small)
    with pytest.raises(PipelineError, match="needs word vectors, which parse does not read"):
        load_parser(folder / "results/models/leap_han/seed0", device="cpu")


def test_one_window_is_what_the_stages_make_of_it(tmp_path, parser, run_folder):
    """Decode, embed, label by thresholds, parse: step by step as the workflow does."""
    from pipeline.media.segments import decode_video
    from pipeline.media.video_window import VideoWindow
    from pipeline.parsers.interface import ParserInputs

    network = read_checkpoint(run_folder / "results/models/link/seed0").build().eval()
    setup = read_settings(run_folder / "results" / SETTINGS_FILE)
    encoders = load_encoders(setup, "cpu")
    clip = write_clip(tmp_path / "clip.mp4", seconds=T)
    (parsed,) = parse(parser, tmp_path / "out", clip)
    decoded = decode_video(VideoWindow("clip", str(clip), 0.0, T), setup.decoding)
    clap = encoders["clap"].embed(decoded.audio[None])
    clip_features = encoders["clip"].embed(decoded.frames[None])["embedding"]
    inputs = {"audio": clap["map"], "visual": clip_features}
    for modality, features, name in (
        ("audio", clap["embedding"], "clap"),
        ("visual", clip_features, "clip"),
    ):
        text = encoders[name].embed_captions(VOCABULARY.captions(modality))
        logits = encoders[name].logit_scale * features @ text.T
        limits = {"audio": [0.1, -0.2], "visual": [0.3, -0.4]}[modality]
        inputs[f"prior_{modality}"] = (logits > limits).astype(np.float32)
        inputs[f"text_{modality}"] = text
    tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
    with torch.inference_mode():
        output = network(ParserInputs(**tensors))
    expected = output.logits.sigmoid()[0].permute(1, 0, 2).numpy()
    found = np.stack([*parsed.probabilities.values()])
    assert found == pytest.approx(expected, abs=1.1e-4)
    tensors["prior_audio"] = 1 - tensors["prior_audio"]
    with torch.inference_mode():
        other = network(ParserInputs(**tensors)).logits.sigmoid()[0].permute(1, 0, 2)
    assert np.abs(other.numpy() - expected).max() > 1e-3  # the prior counts


def test_what_is_missing_is_neither_heard_nor_seen(tmp_path, parser):
    silent = write_clip(tmp_path / "silent.mp4", seconds=T, audio_codec=None)
    dark = write_clip(tmp_path / "dark.m4a", seconds=T, video_codec=None, container_format="mp4")
    parse(parser, tmp_path / "out", silent, dark)
    of_silent, of_dark = (read_json(tmp_path / "out" / name) for name in ("silent", "dark"))
    assert not np.array(of_silent["probabilities"]["audio"]).any()
    assert np.array(of_silent["probabilities"]["visual"]).all()
    assert of_silent["notes"] == ["The file has no sound, so nothing is heard."]
    assert not np.array(of_dark["probabilities"]["visual"]).any()
    assert np.array(of_dark["probabilities"]["audio"]).all()
    assert "<audio" in (tmp_path / "out/dark/index.html").read_text()
    assert "no sound" in (tmp_path / "out/index.html").read_text()


def test_a_broken_file_is_one_sentence_and_stops_no_other(tmp_path, parser):
    good = write_clip(tmp_path / "good.mp4", seconds=T)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    parsed = parse(parser, tmp_path / "out", broken, good)
    assert [video.name for video in parsed] == ["good"]
    status = (tmp_path / "out/status.tsv").read_text()
    assert "broken\tno\tnot_media" in status
    assert "broken" in (tmp_path / "out/index.html").read_text()


def test_other_formats_get_a_copy_that_browsers_play(tmp_path, parser):
    source = write_clip(tmp_path / "clip.mp4", seconds=T)
    old = tmp_path / "old.avi"
    words = ["-c:v", "mpeg4", "-c:a", "mp3", str(old)]
    subprocess.run([ffmpeg_path(), "-v", "error", "-i", str(source), *words], check=True)
    parse(parser, tmp_path / "out", old, embed_bytes=0)
    page = (tmp_path / "out/old/index.html").read_text()
    assert 'src="media.mp4"' in page
    from pipeline.inference.playback import playable_type
    from pipeline.inference.videos import inspect

    assert playable_type(inspect(tmp_path / "out/old/media.mp4")) == "video/mp4"


def test_the_command_finds_the_setup_above_the_checkpoint(tmp_path, run_folder, capsys):
    clip = write_clip(tmp_path / "clip.mp4", seconds=T)
    checkpoint = run_folder / "results/models/link/seed0"
    assert find_settings(checkpoint) == run_folder / "results" / SETTINGS_FILE
    words = ["parse", str(clip), "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "out"), "--threshold", "0.05"]) == 0
    *events, page = capsys.readouterr().out.splitlines()
    assert page == str(tmp_path / "out/clip/index.html")
    assert events
    assert all(
        re.search(r"\d+-\d+ s  (audible|visible|both) +[01]\.\d\d  ", line) for line in events
    )
    assert read_json(tmp_path / "out/clip")["thresholds"]["chosen"] == 0.05


def test_the_command_takes_an_overlap(tmp_path, run_folder, capsys):
    clip = write_clip(tmp_path / "clip.mp4", seconds=2 * T)
    checkpoint = run_folder / "results/models/link/seed0"
    words = ["parse", str(clip), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    for given, shared in (["--overlap", "0"], "0 s shared"), ([], "2 s shared"):
        assert main([*words, "--device", "cpu", *given]) == 0
        assert read_json(tmp_path / "out/clip")["provenance"]["windows"] == f"4 s, {shared}"
    assert main([*words, "--device", "cpu", "--overlap", "4"]) == 2
    assert "overlap is 4 s; it must be from 0 to 3" in capsys.readouterr().err


def test_a_broken_file_alone_is_one_sentence(tmp_path, run_folder, capsys):
    broken = tmp_path / "my broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    words = ["parse", str(broken), "--classes", "rain", "--out", str(tmp_path / "out")]
    assert main([*words, "--config", str(run_folder / "config.yaml"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("error: ")] == [
        f"error: '{broken}' cannot be parsed (not_media: not a supported media file"
        " (Invalid data found when processing input)); check that it plays elsewhere;"
        " the documentation's troubleshooting page has more."
    ]
    assert not any("Traceback" in line for line in error)
    assert "my_broken\tno\tnot_media" in (tmp_path / "out/status.tsv").read_text()
    assert "0 parsed, 1 left out" in (tmp_path / "out/index.html").read_text()


def test_a_configuration_moves_a_checkpoints_encoders_and_nothing_else(tmp_path, run_folder):
    values = json.loads((run_folder / "config.yaml").read_text())
    (tmp_path / "moved.yaml").write_text(json.dumps({"encoders": values["encoders"]}))
    words = ["parse", str(write_clip(tmp_path / "clip.mp4", seconds=T)), "--device", "cpu"]
    words += ["--checkpoint", str(run_folder / "results/models/link/seed0")]
    for config in ([], ["--config", str(tmp_path / "moved.yaml")]):
        assert main([*words, *config, "--out", str(tmp_path / f"out{len(config)}")]) == 0
    first, second = (read_json(tmp_path / f"out{size}/clip") for size in (0, 2))
    assert first["probabilities"] == second["probabilities"]


def test_classes_in_words_need_no_training(tmp_path, run_folder):
    clip = write_clip(tmp_path / "clip.mp4", seconds=T)
    words = ["parse", str(clip), "--classes", "a bell, rain", "--out", str(tmp_path / "out")]
    (tmp_path / "first.yaml").write_text("decode: {frame_size: 7}\n")
    files = ["--config", str(tmp_path / "first.yaml"), "--config", str(run_folder / "config.yaml")]
    assert main([*words, *files, "--device", "cpu"]) == 0
    value = read_json(tmp_path / "out/clip")
    assert value["classes"] == ["a_bell", "rain"]
    assert value["provenance"]["method"] == "zero-shot"
    audio = np.array(value["probabilities"]["audio"])
    assert ((audio > 0) & (audio < 1)).all()
    assert "Telephone_bell_ringing" not in value["provenance"]["references"]
    assert "Dog" in value["provenance"]["references"]


def test_zero_shot_is_a_softmax_over_classes_references_and_background(run_folder):
    from pipeline.inference.predictors import (
        BACKGROUND,
        WindowBatch,
        WindowFeatures,
        ZeroShotPredictor,
        classes_from_phrases,
    )

    encoders = load_encoders(read_settings(run_folder / "results" / SETTINGS_FILE), "cpu")
    named = classes_from_phrases(["rain", "a big dog"])
    predictor = ZeroShotPredictor(named, VOCABULARY, encoders, None)
    random = np.random.default_rng(0).standard_normal((1, T, DIMENSION)).astype(np.float32)
    features = {"clip": {"embedding": random}, "clap": {"embedding": random}}
    window = WindowFeatures(features, np.ones((2, T), bool))
    found = predictor.predict(WindowBatch.of([window, window]))
    captions = ["A photo of rain.", "A photo of a big dog.", "A photo of a Speech."]
    text = encoders["clip"].embed_captions([*captions, BACKGROUND["visual"]])
    shares = np.exp(encoders["clip"].logit_scale * random[0] @ text.T)
    shares /= shares.sum(axis=1, keepdims=True)
    assert found.visual[1] == pytest.approx(shares[:, :2], rel=1e-4)
    assert (found.gate == 1).all()
    assert predictor.provenance["references"] == "Speech"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": T + 1}, "trained on clap"),
        ({"classes": []}, "other classes (2) than the settings have (0)"),
        ({"segments": "ten"}, "has no valid inference settings (key 'segments' is 'ten'"),
    ],
)
def test_a_setup_of_another_run_is_one_sentence(tmp_path, run_folder, capsys, change, message):
    values = json.loads((run_folder / "results" / SETTINGS_FILE).read_text()) | change
    (tmp_path / "other.json").write_text(json.dumps(values))
    checkpoint = run_folder / "results/models/link/seed0"
    words = ["parse", __file__, "--checkpoint", str(checkpoint), "--out", str(tmp_path)]
    assert main([*words, "--settings", str(tmp_path / "other.json")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_no_setup_and_a_foolish_threshold_are_one_sentence(tmp_path, run_folder, capsys):
    checkpoint = tmp_path / "a" / "seed0"
    words = ["parse", __file__, "--checkpoint", str(checkpoint), "--out", str(tmp_path)]
    assert main(words) == 2
    assert "cannot find a checkpoint at" in capsys.readouterr().err
    shutil.copytree(run_folder / "results/models/link/seed0", checkpoint)
    assert main(words) == 2
    assert "results/parsing.json, with --settings" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--threshold", "1.5"])
    assert "it must be less than 1" in capsys.readouterr().err


def test_thresholds_of_other_classes_are_refused(tmp_path, run_folder, capsys):
    words = ["inference-settings", "--config", str(run_folder / "config.yaml")]
    words += ["--thresholds", str(run_folder / "thresholds.tsv"), "--out", str(tmp_path / "s.json")]
    assert main(words) == 2  # LLP's vocabulary
    assert "other classes (2) than the vocabulary (25)" in capsys.readouterr().err
