"""What training reads from disk, and that no weak label of val or test comes with it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import Corpus, make_world, write_corpus

from pipeline.core.errors import PipelineError
from pipeline.core.shards import Shard, read_array, read_shard, write_shard
from pipeline.core.vocabulary import MODALITIES, read_vocabulary
from pipeline.data.annotations import SPLIT_TABLES, read_weak_labels, weak_matrix
from pipeline.parsers.interface import ParserInputs
from pipeline.parsers.registry import recipe_for
from pipeline.training.dataset import TrainingData, read_training_data
from pipeline.training.npy_source import NpySource
from pipeline.training.sources import FeatureSource, ShardSource, encoder_folder

WORLD = make_world(classes=5)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path, WORLD)


def read(
    corpus: Corpus, method: str = "link", source: FeatureSource | None = None, **options: object
) -> TrainingData:
    source = source or ShardSource(corpus.features, corpus.labels.parent)
    vocabulary = read_vocabulary(corpus.vocabulary)
    return read_training_data(source, corpus.annotations, recipe_for(method, options), vocabulary)


@pytest.fixture(params=["shards", "npy"])
def source(corpus: Corpus, request: pytest.FixtureRequest) -> FeatureSource:
    """The corpus in each kind of files."""
    if request.param == "shards":
        return ShardSource(corpus.features, corpus.labels.parent)
    return write_npy(corpus, corpus.folder / "npy")


def write_npy(corpus: Corpus, folder: Path) -> NpySource:
    """Write the corpus as VALOR's files, with logits that give its labels."""
    labels = read_shard(corpus.labels)
    for modality, encoder in (("audio", "clap"), ("visual", "clip")):
        shards = corpus.features / f"{encoder}-0123456789"
        place = folder / encoder.upper()
        for name, row in zip(labels.names, labels[modality], strict=True):
            save(place / "segment_logits", name, row)
        for name, row in zip(labels.names, labels[f"{modality}_masked"], strict=True):
            save(place / "segment_pseudo_labels", name, row)
        features = read_array(shards, "embedding")
        for name, row in zip(features.names, features["embedding"], strict=True):
            save(place / "features", name, row)
        np.save(folder / f"text_{encoder}.npy", read_shard(shards / "prompts.safetensors")["text"])
    return NpySource(folder, "valor")


def save(folder: Path, name: str, array: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name[:11]}.npy", array)


def change_labels(corpus: Corpus, **arrays: np.ndarray) -> None:
    shard = read_shard(corpus.labels)
    write_shard(corpus.labels, Shard(shard.names, {**shard.arrays, **arrays}, shard.meta))


def assert_same(one: ParserInputs, other: ParserInputs) -> None:
    for key, value in vars(one).items():
        twin = getattr(other, key)
        assert value is twin is None or torch.equal(value, twin), key


def test_rows_belong_to_their_names(corpus: Corpus) -> None:
    dataset = read(corpus)
    labels = read_shard(corpus.labels)
    clip = corpus.features / "clip-0123456789"
    for videos in (dataset.train, *dataset.evaluated.values()):
        for row, name in enumerate(videos.names):
            shard = next(
                shard
                for path in sorted(clip.glob("*-of-2.safetensors"))
                if name in (shard := read_shard(path)).names
            )
            expected = torch.from_numpy(shard["embedding"][shard.names.index(name)])
            assert torch.equal(videos.inputs.visual[row], expected)
            prior = torch.from_numpy(labels["audio"][labels.names.index(name)]).float()
            assert videos.inputs.prior_audio is not None
            assert torch.equal(videos.inputs.prior_audio[row], prior)


def test_targets_are_weak_and_masked_labels(corpus: Corpus) -> None:
    dataset = read(corpus)
    vocabulary = read_vocabulary(corpus.vocabulary)
    weak = read_weak_labels(corpus.annotations / SPLIT_TABLES["train"], vocabulary)
    expected = torch.from_numpy(weak_matrix(weak, dataset.train.names, 5)).float()
    targets = dataset.train.targets
    assert torch.equal(targets.weak, expected)
    audio, visual = targets.pseudo
    for masked, unmasked in (
        (audio, dataset.train.inputs.prior_audio),
        (visual, dataset.train.inputs.prior_visual),
    ):
        assert unmasked is not None
        assert torch.equal(masked, unmasked * expected[:, None])
        assert (masked != unmasked).any()


@pytest.mark.parametrize("texts", ["clip", "words"])
def test_class_texts_come_without_a_prior(corpus: Corpus, texts: str) -> None:
    words = np.arange(5 * 3, dtype=np.float32).reshape(5, 3)
    np.save(corpus.features / "text_words.npy", words)
    dataset = read(corpus, "leap", label_texts=texts)
    expected = words if texts == "words" else WORLD.visual
    for videos in (dataset.train, dataset.evaluated["test"]):
        assert videos.inputs.prior_audio is None
        assert videos.inputs.text_visual is not None
        np.testing.assert_array_equal(videos.inputs.text_visual.numpy(), expected)
    assert dataset.train.targets.pseudo_audio is not None
    assert "labels" not in dataset.fingerprints
    captions = read_vocabulary(corpus.vocabulary).captions_fingerprint()
    assert (dataset.fingerprints["texts"] == captions) == (texts == "clip")


def test_soft_targets_are_masked_and_frequencies_count_hard_ones(corpus: Corpus) -> None:
    hard, soft = read(corpus, "valorpp"), read(corpus, "valorpp", labels="soft")
    undivided = read(corpus, "valorpp", labels="soft", temperature=1)
    labels = read_shard(corpus.labels)
    rows = [labels.names.index(name) for name in soft.train.names]
    weak = soft.train.targets.weak
    for index, modality in enumerate(("audio", "visual")):
        target, before = soft.train.targets.pseudo[index], hard.train.targets.pseudo[index]
        cached = torch.from_numpy(labels[f"{modality}_soft"][rows])
        assert torch.equal(target, cached * weak[:, None])
        assert torch.equal((target > 0.5).float(), before)
        for targets in (hard.train.targets, soft.train.targets, undivided.train.targets):
            frequency = targets.frequencies[index]
            assert frequency.dtype == torch.float64
            torch.testing.assert_close(frequency, before.double().mean((0, 1)))
        sharper = torch.sigmoid(2 * torch.logit(cached.double())) * weak[:, None]
        found = undivided.train.targets.pseudo[index].double()
        torch.testing.assert_close(found, sharper, rtol=0, atol=1e-6)
    assert read(corpus, "han").train.targets.frequency_audio is None


def test_teacher_labels_must_come_from_a_teacher(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no labels of a teacher; .* or set labels: soft"):
        read(corpus, "valorpp", labels="teacher")
    source = write_npy(corpus, tmp_path / "npy")
    with pytest.raises(PipelineError, match="labels of a teacher are read from shards only"):
        read(corpus, "valorpp", source=source, labels="teacher")
    shard = read_shard(corpus.labels)
    write_shard(corpus.labels, Shard(shard.names, shard.arrays, {**shard.meta, "teacher": "1"}))
    teacher, soft = (read(corpus, "valorpp", labels=kind).train for kind in ("teacher", "soft"))
    assert torch.equal(teacher.targets.pseudo[0], soft.targets.pseudo[0])


def test_labels_from_before_there_were_soft_ones_are_refused(corpus: Corpus) -> None:
    shard = read_shard(corpus.labels)
    arrays = {key: array for key, array in shard.arrays.items() if not key.endswith("_soft")}
    write_shard(corpus.labels, Shard(shard.names, arrays, shard.meta))
    with pytest.raises(PipelineError, match="has no array 'audio_soft'; run pseudo-labels again"):
        read(corpus, "valorpp", labels="soft")


def test_only_the_training_prior_can_be_masked(corpus: Corpus) -> None:
    unmasked, masked = read(corpus), read(corpus, train_prior="masked")
    assert masked.train.inputs.prior_audio is not None
    assert torch.equal(masked.train.inputs.prior_audio, masked.train.targets.pseudo[0])
    for split, videos in unmasked.evaluated.items():
        assert_same(videos.inputs, masked.evaluated[split].inputs)


@pytest.mark.parametrize("options", [{"train_prior": "masked"}, {"labels": "soft"}])
def test_weak_labels_of_val_and_test_reach_no_input(
    corpus: Corpus, source: FeatureSource, options: dict[str, object]
) -> None:
    before = read(corpus, source=source, **options)
    spoil_masked_labels(corpus)
    for split in ("val", "test"):
        path = corpus.annotations / SPLIT_TABLES[split]
        with path.open() as file:
            names = [row["filename"] for row in csv.DictReader(file, delimiter="\t")]
        path.write_text(
            "filename\tevent_labels\n" + "".join(f"{name}\tClass_0\n" for name in names)
        )
    after = read(corpus, source=source, **options)
    for split in ("val", "test"):
        assert_same(before.evaluated[split].inputs, after.evaluated[split].inputs)
    assert_same(before.train.inputs, after.train.inputs)
    assert before.digest == after.digest


def spoil_masked_labels(corpus: Corpus) -> None:
    """Turn the masked and soft labels of val and test around, in both kinds of files."""
    labels = read_shard(corpus.labels)
    rows = [row for row, name in enumerate(labels.names) if name[0] != "t"]
    spoilt = {}
    for modality, encoder in (("audio", "CLAP"), ("visual", "CLIP")):
        for kind in ("masked", "soft"):
            array = labels[f"{modality}_{kind}"].copy()
            array[rows] = 1 - array[rows]
            spoilt[f"{modality}_{kind}"] = array
        for path in (corpus.folder / "npy" / encoder / "segment_pseudo_labels").glob("[!t]*.npy"):
            np.save(path, 1 - np.load(path))
    change_labels(corpus, **spoilt)


@pytest.mark.parametrize(
    ("method", "options", "for_training", "for_parsing"),
    [
        ("han", {}, set(), set()),
        ("valorpp", {}, {"_masked"}, set()),
        ("valorpp", {"labels": "soft"}, {"_soft"}, set()),
        ("link", {}, {"", "_masked"}, {""}),
        ("link", {"labels": "soft"}, {"", "_soft"}, {""}),
        ("link", {"train_prior": "masked"}, {"_masked"}, {""}),
        ("link", {"plsim": False}, {"_masked"}, set()),
    ],
)
def test_masked_and_soft_labels_are_read_for_training_alone(
    corpus: Corpus,
    source: FeatureSource,
    method: str,
    options: dict[str, object],
    for_training: set[str],
    for_parsing: set[str],
) -> None:
    names = read_shard(corpus.labels).names
    vocabulary = read_vocabulary(corpus.vocabulary)
    for is_training, kinds in ((True, for_training), (False, for_parsing)):
        cache = source.read(names, recipe_for(method, options), vocabulary, is_training)
        assert set(cache.labels) == {
            f"{modality}{kind}" for modality in MODALITIES for kind in kinds
        }


def test_videos_to_score_need_no_file_of_masked_labels(corpus: Corpus) -> None:
    source = write_npy(corpus, corpus.folder / "npy")
    for path in source.folder.glob("*/segment_pseudo_labels/[!t]*.npy"):
        path.unlink()
    dataset = read(corpus, "link", source)
    assert {split: len(videos.names) for split, videos in dataset.evaluated.items()} == {
        "val": 12,
        "test": 12,
    }


def test_splits_of_other_widths_are_refused(corpus: Corpus) -> None:
    source = write_npy(corpus, corpus.folder / "npy")
    for path in (source.folder / "CLAP" / "features").glob("[!t]*.npy"):
        np.save(path, np.ones((10, 7)))
    with pytest.raises(
        PipelineError, match="with audio 32, but val and test videos have audio 7; extract"
    ):
        read(corpus, "han", source)


def test_what_a_recipe_does_not_need_is_not_read(corpus: Corpus) -> None:
    corpus.labels.unlink()
    dataset = read(corpus, "han")
    assert dataset.train.inputs.prior_audio is None
    assert dataset.train.targets.pseudo_audio is None
    assert dataset.dimensions.text_audio == 0
    message = (
        r"needs pseudo-labels, but '.*labels\.safetensors' does not exist; pass .* --pseudo-labels"
    )
    with pytest.raises(PipelineError, match=message):
        read(corpus, "valorpp")


def test_audio_input_chooses_the_array(corpus: Corpus) -> None:
    by_map = read(corpus).train.inputs.audio
    embedding = read(corpus, audio_input="embedding").train.inputs.audio
    assert torch.equal(by_map, 2 * embedding)


def test_motion_features_are_read_where_the_recipe_asks_for_them(corpus: Corpus) -> None:
    labels = read_shard(corpus.labels)
    motion = np.random.default_rng(0).random((len(labels.names), 10, 6)).astype(np.float32)
    path = corpus.features / "motion-0" / "1-of-1.safetensors"
    write_shard(path, Shard(labels.names, {"embedding": motion}, {"fingerprint": "m"}))
    dataset = read(corpus, "valorpp", motion=True)
    assert dataset.dimensions.motion == 6
    assert dataset.fingerprints["motion"] == "m"
    row = labels.names.index(dataset.train.names[5])
    assert dataset.train.inputs.motion is not None
    assert torch.equal(dataset.train.inputs.motion[5], torch.from_numpy(motion[row]))
    assert read(corpus, "valorpp").train.inputs.motion is None


def test_videos_without_features_are_left_out_and_counted(
    corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    lost = read(corpus).train.names[3]
    for path in (corpus.features / "clip-0123456789").glob("*-of-2.safetensors"):
        shard = read_shard(path)
        write_shard(path, shard.select([name for name in shard.names if name != lost]))
    names = read(corpus).train.names
    assert len(names) == 23
    assert lost not in names
    assert "train: skipping 1 of 24 videos without features or labels" in caplog.text


def test_two_feature_folders_need_a_name(corpus: Corpus) -> None:
    (corpus.features / "clip-other").mkdir()
    with pytest.raises(PipelineError, match="has 2 clip-"):
        read(corpus)
    chosen = encoder_folder(corpus.features, "clip", "clip-0123456789")
    assert chosen == corpus.features / "clip-0123456789"
    with pytest.raises(PipelineError, match="has no motion-"):
        encoder_folder(corpus.features, "motion", None)


@pytest.mark.parametrize(
    ("method", "key", "value", "message"),
    [
        ("valorpp", "audio_masked", 255, "labels other than 0 and 1, such as 255"),
        ("link", "visual", 2, "labels other than 0 and 1, such as 2"),
        ("uwav", "audio_soft", np.nan, "not finite"),
        ("uwav", "visual_soft", 1.5, "values outside 0 to 1, such as 1.5"),
    ],
)
def test_labels_that_are_none_are_refused(
    method: str, key: str, value: float, message: str, corpus: Corpus
) -> None:
    shard = read_shard(corpus.labels)
    shard[key][3, 2, 1] = value
    write_shard(corpus.labels, shard)
    with pytest.raises(PipelineError, match=f"{message}.* in '{key}'; run pseudo-labels again"):
        read(corpus, method)


def test_texts_that_two_classes_share_are_refused(corpus: Corpus) -> None:
    path = corpus.features / "clip-0123456789" / "prompts.safetensors"
    shard = read_shard(path)
    shard["text"][2] = shard["text"][0]
    write_shard(path, shard)
    with pytest.raises(PipelineError, match="same text embedding for 'Class_0' and 'Class_2'"):
        read(corpus)


def test_annotations_of_other_videos_do_not_choose_an_epoch(corpus: Corpus) -> None:
    for table in corpus.annotations.glob("AVVP_eval_*"):
        table.write_text(table.read_text().replace("_0_10", ".mp4"))
    with pytest.raises(PipelineError, match=r"no event in .*AVVP_eval_audio.* is scored"):
        read(corpus)


def test_labels_of_other_features_are_refused(corpus: Corpus) -> None:
    shard = read_shard(corpus.labels)
    write_shard(corpus.labels, Shard(shard.names, shard.arrays, {"clip": "another"}))
    with pytest.raises(PipelineError, match="made from clip features 'another'"):
        read(corpus)


def test_labels_and_prompts_of_other_classes_are_refused(corpus: Corpus) -> None:
    path = corpus.features / "clap-0123456789" / "prompts.safetensors"
    shard = read_shard(path)
    write_shard(path, shard.select(shard.names[:3]))
    with pytest.raises(PipelineError, match="has captions of 3 classes"):
        read(corpus)
    labels = read_shard(corpus.labels)
    change_labels(corpus, **{key: array[..., :3] for key, array in labels.arrays.items()})
    with pytest.raises(PipelineError, match="has 3 classes, but the vocabulary has 5"):
        read(corpus, "valorpp")


def test_prompts_of_other_features_are_refused(corpus: Corpus) -> None:
    path = corpus.features / "clip-0123456789" / "prompts.safetensors"
    shard = read_shard(path)
    write_shard(path, Shard(shard.names, shard.arrays, {"fingerprint": "another"}))
    with pytest.raises(
        PipelineError,
        match="belongs to features 'another', but its folder has features 'clip-simulated'",
    ):
        read(corpus)
    assert read(corpus, "valorpp").train.inputs.text_audio is None


def test_a_prior_is_known_by_its_labels_fingerprint(corpus: Corpus) -> None:
    assert set(read(corpus).fingerprints) == {"clap", "clip"}  # as older files have none
    shard = read_shard(corpus.labels)
    meta = {**shard.meta, "fingerprint": "made-so"}
    write_shard(corpus.labels, Shard(shard.names, shard.arrays, meta))
    assert read(corpus).fingerprints["labels"] == "made-so"
    for method, options in (("valorpp", {}), ("link", {"plsim": False})):
        assert "labels" not in read(corpus, method, **options).fingerprints


def test_features_of_another_dataset_are_refused(corpus: Corpus) -> None:
    (corpus.annotations / SPLIT_TABLES["test"]).write_text("filename\tevent_labels\nx_0_10\t\n")
    with pytest.raises(PipelineError, match="none of the 1 test videos has features"):
        read(corpus)
