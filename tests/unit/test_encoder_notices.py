"""Tables and pages that rest on random or demo encoders carry the notice and name the encoders."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_artifacts import write_run
from simulated import make_world, write_corpus
from trained_models import VOCABULARY, true_labels, write_annotations, write_model

from pipeline.core.shards import read_shard, write_shard
from pipeline.core.vocabulary import read_vocabulary
from pipeline.inference.packed import model_card
from pipeline.inference.settings import InferenceSettings
from pipeline.parsers.checkpoint import read_checkpoint, write_checkpoint
from pipeline.parsers.registry import recipe_for
from pipeline.report.ablation import write_ablation
from pipeline.report.comparison.compare import compare
from pipeline.report.page import write_report
from pipeline.training.dataset import read_training_data
from pipeline.training.sources import ShardSource

ENCODERS = {
    name: {"backend": "open_clip", "model": "ViT-B-32", "weights": "random:0"}
    for name in ("clip", "clap")
}
SENTENCE = "CLAP and CLIP have random weights"


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return write_annotations(tmp_path / "annotations")


@pytest.fixture
def model(tmp_path: Path, annotations: Path) -> Path:
    folder = write_model(tmp_path / "link" / "seed0", annotations, true_labels())
    write_checkpoint(folder, replace(read_checkpoint(folder), encoders=ENCODERS))
    return folder


def texts(folder: Path, *names: str) -> list[str]:
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def notes(path: Path) -> set[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["note"] for row in csv.DictReader(file)}


def test_a_comparison_says_so(model: Path, annotations: Path, tmp_path: Path) -> None:
    compare([model], annotations, VOCABULARY, "link", [], "mine", tmp_path)
    for text in texts(tmp_path, "compare.md", "compare.html"):
        assert SENTENCE in text
        assert "open_clip ViT-B-32, weights random:0" in text
        assert "Comparison of methods: mine, 20" in text
    assert all(note.startswith(SENTENCE) for note in notes(tmp_path / "compare.csv"))


def test_an_ablation_says_so(model: Path, annotations: Path, tmp_path: Path) -> None:
    write_ablation([model], annotations, tmp_path, "mine")
    [text] = texts(tmp_path, "ablation.md")
    assert SENTENCE in text
    assert text.startswith("# Ablation: mine, 20")
    assert "weights random:0" in text
    assert all(note.startswith(SENTENCE) for note in notes(tmp_path / "ablation.csv"))


def test_a_report_says_so(tmp_path: Path) -> None:
    sources = write_run(tmp_path / "run", {"link": 0.2}, (0,))
    configured = {"clip": {"backend": "open_clip", "model": "package:demo_encoders/clip.json"}}
    weights = {"clip": {"file": "random", "sha256": "random:0"}}
    settings = {"configuration": {"encoders": configured}, "weights": weights}
    write_report(replace(sources, settings=settings, dataset="mine"), tmp_path)
    sentence = "CLIP has random weights"
    for text in texts(tmp_path, "index.html", "results.md", "provenance.json"):
        assert sentence in text
    assert all(note.startswith(sentence) for note in notes(tmp_path / "results.csv"))
    record = json.loads((tmp_path / "provenance.json").read_text("utf-8"))
    identity = {"backend": "open_clip", "model": "clip.json", "weights": "random:0"}
    assert record["encoders"] == {"clip": identity}
    page, results = texts(tmp_path, "index.html", "results.md")
    assert "<dt>encoder clip</dt><dd>open_clip clip.json, weights random:0, random</dd>" in page
    assert results.startswith("# Results: mine, 20")


def test_a_model_card_says_so(model: Path) -> None:
    random = {"model": "ViT-B-32", "weights": "random:1"}
    settings = InferenceSettings.model_validate(
        {
            "segments": 10,
            "untrimmed": False,
            "decode": {},
            "encoders": {"clip": random, "clap": random | {"model": "HTSAT-tiny"}},
            "classes": [],
        }
    )
    card = model_card(read_checkpoint(model), settings, [], None, None)
    assert "> **Note:** CLIP and CLAP have random weights" in card
    assert "| CLIP | open_clip ViT-B-32, weights random:1 |" in card


def test_training_keeps_what_the_features_say_of_their_encoders(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", make_world())
    for path in corpus.features.glob("clip-*/*-of-2.safetensors"):
        shard = read_shard(path)
        write_shard(path, replace(shard, meta={**shard.meta, **ENCODERS["clip"]}))
    source = ShardSource(corpus.features, corpus.labels.parent)
    recipe = recipe_for("valorpp", {})
    vocabulary = read_vocabulary(corpus.vocabulary)
    data = read_training_data(source, corpus.annotations, recipe, vocabulary)
    assert data.encoders == {"clip": ENCODERS["clip"]}, "CLAP's features do not say"
