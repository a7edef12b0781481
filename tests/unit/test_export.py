"""What is exported in VALOR's or HAN's layout is read back the same."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated import AUDIO, make_vocabulary, make_world, simulate

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.shards import Shard, write_shard
from pipeline.labels.pseudo_labels import soften
from pipeline.parsers.registry import recipe_for
from pipeline.training.npy_export import ExportSource, export
from pipeline.training.npy_source import NpySource
from pipeline.training.sources import ShardSource

N, C = 6, 8
NAMES = tuple(f"-_abc{row:06d}_{row}_{row + 10}" for row in range(N))
VOCABULARY = make_vocabulary(C)


@pytest.fixture
def source(tmp_path: Path) -> ExportSource:
    world = make_world(C)
    videos = simulate(world, N, 0)
    random = np.random.default_rng(0)
    labels = {}
    for index, (encoder, modality) in enumerate((("clap", "audio"), ("clip", "visual"))):
        features = videos.features[index].astype(np.float32)
        arrays = {"embedding": features} | ({"map": 2 * features} if encoder == "clap" else {})
        folder = tmp_path / "features" / f"{encoder}-0123456789"
        meta = {"encoder": encoder, "fingerprint": encoder}
        write_shard(folder / "1-of-1.safetensors", Shard(NAMES, arrays, meta))
        text = (world.audio, world.visual)[index]
        write_shard(folder / "prompts.safetensors", Shard(VOCABULARY.names, {"text": text}, meta))
        thresholds = np.array(VOCABULARY.thresholds(modality))
        logits = (thresholds + random.standard_normal((N, 10, C))).astype(np.float32)
        hard = (logits > thresholds).astype(np.uint8)
        labels[f"{modality}_logits"] = logits
        labels[f"{modality}_soft"] = soften(logits, thresholds)
        labels[modality] = hard
        labels[f"{modality}_masked"] = hard * (random.random((N, 1, C)) < 0.5)
    meta = {"clip": "clip", "clap": "clap"}
    folder = tmp_path / "pseudo_labels"
    write_shard(folder / "labels.safetensors", Shard(NAMES, labels, meta))
    return ExportSource(tmp_path / "features", folder)


def write_motion(features: Path) -> None:
    arrays = {"embedding": np.random.default_rng(1).standard_normal((N, 10, 5), np.float32)}
    meta = {"encoder": "motion", "fingerprint": "motion"}
    path = features / "motion-0123456789" / "1-of-1.safetensors"
    write_shard(path, Shard(NAMES, arrays, meta))


@pytest.mark.parametrize("method", ["link", "valorpp"])
@pytest.mark.parametrize("layout", ["valor", "han"])
@pytest.mark.parametrize("motion", [False, True])
def test_an_export_is_read_back_the_same(source, tmp_path, method, layout, motion):
    recipe = recipe_for(method, {"motion": motion})
    if motion:
        write_motion(source.features)
    assert export(source, layout, VOCABULARY, tmp_path / "out") == N
    shards, files = ShardSource(source.features, source.pseudo_labels), tmp_path / "out"
    ours = shards.read(NAMES, recipe, VOCABULARY, for_training=True)
    theirs = NpySource(files, layout).read(NAMES, recipe, VOCABULARY, for_training=True)
    assert theirs.names == ours.names
    np.testing.assert_array_equal(theirs.audio, ours.audio)
    np.testing.assert_allclose(theirs.visual, ours.visual, rtol=3e-7)  # a mean of eight equals
    assert (theirs.motion is not None) == motion
    if motion:
        np.testing.assert_array_equal(theirs.motion, ours.motion)
    assert theirs.labels, "a recipe that needs no labels tests little"
    for key, array in theirs.labels.items():
        np.testing.assert_allclose(array, ours.labels[key], rtol=1e-6)
    for key, array in theirs.texts.items():
        np.testing.assert_array_equal(array, ours.texts[key])


def test_the_command_line_exports_embeddings_into_a_new_folder(source, tmp_path, capsys):
    vocabulary = tmp_path / "vocabulary.yaml"
    lines = ["classes:"]
    for event_class in VOCABULARY.classes:
        values = event_class.model_dump()
        lines += [f"  - {{{', '.join(f'{key}: {value!r}' for key, value in values.items())}}}"]
    vocabulary.write_text("\n".join(lines))
    words = ["export", "--features", str(source.features), "--layout", "valor"]
    words += ["--pseudo-labels", str(source.pseudo_labels), "--vocabulary", str(vocabulary)]
    words += ["--audio-array", "embedding", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert f"{N} videos" in capsys.readouterr().out
    exported = np.load(tmp_path / "out" / "CLAP" / "features" / f"{NAMES[0][:11]}.npy")
    assert (exported.shape, exported.dtype) == ((10, AUDIO), np.float32)
    assert main(words) == 2
    assert "is not empty" in capsys.readouterr().err


def test_hans_layout_has_eight_frames_a_second(source, tmp_path):
    write_motion(source.features)
    export(source, "han", VOCABULARY, tmp_path / "out")
    folders = ("vggish", "res152", "r2plus1d_18")
    rows = [np.load(tmp_path / "out" / kind / f"{NAMES[0][:11]}.npy") for kind in folders]
    assert [len(array) for array in rows] == [10, 80, 10]
    np.testing.assert_array_equal(rows[1][8:16], np.repeat(rows[1][8:9], 8, axis=0))


def test_labels_of_other_thresholds_are_told(source, tmp_path, caplog):
    write_motion(source.features)
    shifted = tuple(
        event_class.model_copy(update={"audio_threshold": event_class.audio_threshold + 1})
        for event_class in VOCABULARY.classes
    )
    with caplog.at_level(logging.WARNING):
        export(source, "valor", type(VOCABULARY)(shifted), tmp_path / "out")
    (record,) = caplog.records
    assert record.getMessage().startswith("audio:")
    assert "differ from the logits cut at the vocabulary's thresholds" in record.getMessage()


def warnings_of(source, layout, tmp_path, caplog) -> list[str]:
    with caplog.at_level(logging.WARNING):
        export(source, layout, VOCABULARY, tmp_path / "out")
    return caplog.messages


@pytest.mark.parametrize("layout", ["valor", "han"])
def test_an_export_without_3d_features_says_that_the_authors_code_reads_them(
    source, tmp_path, caplog, layout
):
    (message,) = warnings_of(source, layout, tmp_path, caplog)
    assert "has no motion-* folder, but the code of HAN and VALOR reads 3-D" in message


def test_embeddings_are_no_input_of_valors_code(source, tmp_path, caplog):
    write_motion(source.features)
    embeddings = replace(source, audio_array="embedding")
    (message,) = warnings_of(embeddings, "valor", tmp_path, caplog)
    assert f"(input_a_dim), but these embeddings have {AUDIO};" in message


def test_hans_layout_needs_no_labels(source, tmp_path):
    write_motion(source.features)
    bare = replace(source, pseudo_labels=None)
    assert export(bare, "han", VOCABULARY, tmp_path / "out") == N
    kinds = {path.name for path in (tmp_path / "out").iterdir()}
    assert kinds == {"vggish", "res152", "r2plus1d_18"}
    with pytest.raises(
        PipelineError, match=r"--layout valor includes pseudo-labels.*--pseudo-labels"
    ):
        export(bare, "valor", VOCABULARY, tmp_path / "valor")


def test_ids_that_stand_for_two_videos_are_refused(source, tmp_path):
    names = (f"{NAMES[0][:11]}_30_40", *NAMES[1:-1], NAMES[0])
    for folder in (source.features / "clip-0123456789", source.features / "clap-0123456789"):
        rename(folder / "1-of-1.safetensors", names)
    rename(source.pseudo_labels / "labels.safetensors", names)
    with pytest.raises(PipelineError, match="1 ids stand for several videos"):
        export(source, "valor", VOCABULARY, tmp_path / "out")


def rename(path: Path, names: tuple[str, ...]) -> None:
    from pipeline.core.shards import read_shard

    shard = read_shard(path)
    write_shard(path, Shard(names, shard.arrays, shard.meta))
