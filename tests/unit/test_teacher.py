"""Training the temporal label network on dense annotations, and learning from its labels."""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from simulated import Corpus, Videos, World, make_vocabulary, make_world, simulate, write_corpus
from torch import Tensor, nn

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.shards import Shard, read_shard, write_shard
from pipeline.data.annotations import EVENT_TABLES
from pipeline.data.unav import DenseVideo, class_name, read_unav
from pipeline.evaluation.tables import read_labels
from pipeline.labels.pseudo_labels import soften
from pipeline.labels.teacher import read_teacher, teacher_logits
from pipeline.labels.teacher_options import TeacherOptions
from pipeline.labels.temporal import TemporalNetwork, temporal_loss
from pipeline.labels.thresholds import f1_thresholds, finite_thresholds
from pipeline.training.dense_videos import DenseData, read_dense_data, to_seconds
from pipeline.training.teacher import TeacherJob, TeacherTrainer, optimisation

WORLD = make_world(classes=5)
SEGMENTS = 10
TINY: Mapping[str, object] = {
    "width": 32,
    "hidden": 48,
    "layers": 1,
    "heads": 2,
    "feedforward": 32,
    "epochs": 4,
    "batch_size": 16,
    "warmup_epochs": 2,
    "learning_rate": 3e-3,
    "minimum_learning_rate": 1e-4,
    "dropout": 0.1,
}
CPU = torch.device("cpu")


def unav(videos: Mapping[str, Videos]) -> dict[str, object]:
    """Annotations of simulated videos by subset, named ``{subset}{row}``."""
    database = {}
    for subset, simulated in videos.items():
        both = simulated.truth[0] * simulated.truth[1]
        for row, labels in enumerate(both):
            events = [
                {"segment": [second + 0.25, second + 0.75], "label": f"Class {index}"}
                | {"label_id": int(index)}
                for second, index in np.argwhere(labels)
            ]
            database[f"{subset}{row}"] = {
                "duration": 9.5,
                "subset": subset,
                "annotations": events,
            }
    return {"version": "1.0", "database": database}


def write_prompts(folder: Path, kind: str, texts: NDArray[np.float32]) -> None:
    names = make_vocabulary(len(texts)).names
    meta = {"logit_scale": "20.0", "fingerprint": f"{kind}-simulated"}
    write_shard(folder / "prompts.safetensors", Shard(names, {"text": texts}, meta))


def write_dense(folder: Path, world: World = WORLD, train: int = 96) -> list[str]:
    """Write a second corpus: shards, prompts and dense annotations; return the arguments."""
    counts = {"train": train, "validation": 24}
    videos = {
        subset: simulate(world, count, seed=70 + index, noise=1.0)
        for index, (subset, count) in enumerate(counts.items())
    }
    names = tuple(f"{subset}{row}" for subset, count in counts.items() for row in range(count))
    for index, kind in enumerate(("clap", "clip")):
        rows = np.concatenate([each.features[index] for each in videos.values()])
        meta = {"encoder": kind, "fingerprint": f"{kind}-simulated"}
        shard = Shard(names, {"embedding": rows}, meta)
        write_shard(folder / kind / "1-of-1.safetensors", shard)
        write_prompts(folder / kind, kind, (world.audio, world.visual)[index])
    (folder / "dense.json").write_text(json.dumps(unav(videos)))
    return [
        *("--clip", str(folder / "clip"), "--clap", str(folder / "clap")),
        *("--annotations", str(folder / "dense.json")),
    ]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    write_dense(folder)
    return folder


def read(folder: Path) -> DenseData:
    return read_dense_data(folder / "clip", folder / "clap", folder / "dense.json")


def trainer(data: DenseData, seed: int = 0, **changes: object) -> TeacherTrainer:
    options = TeacherOptions.model_validate({**TINY, **changes})
    return TeacherTrainer(TeacherJob(options, data, seed, CPU))


# ---- annotations


def test_events_cover_the_seconds_that_they_touch() -> None:
    events = ((0.2, 1.0, 0), (2.0, 3.1, 1), (4.9, 9.0, 0), (-1.0, 0.5, 2), (3.0, 3.0, 2))
    labels = DenseVideo("train", 6, events).labels(3)
    assert labels.shape == (6, 3)
    assert [np.flatnonzero(labels[:, index]).tolist() for index in range(3)] == [
        [0, 4, 5],
        [2, 3],
        [0],
    ]


def test_annotations_are_read_by_label_id(tmp_path: Path) -> None:
    path = tmp_path / "unav.json"
    events = [
        {"segment": [0, 1.5], "label": "dog barking", "label_id": 1},
        {"segment": [0, 2], "label": "male speech, man speaking", "label_id": 0},
    ]
    video = {"duration": 41.2, "subset": "train", "annotations": events}
    path.write_text(json.dumps({"database": {"abc": video}}))
    found = read_unav(path)
    assert found.labels == {0: "male speech, man speaking", 1: "dog barking"}
    assert found.videos["abc"].seconds == 42
    assert class_name(found.labels[0]) == "male_speech_man_speaking"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": -1.0}, "not in UnAV-100's format"),
        ({"annotations": [{"segment": [0], "label": "a", "label_id": 0}]}, "not in UnAV-100's"),
        ({"annotations": [{"segment": [0, 1], "label": "b", "label_id": -1}]}, "not in UnAV-100's"),
        ({"subset": "training"}, "must be one of train, validation, test"),
        (
            {"annotations": [{"segment": [2, 1], "label": "b", "label_id": 0}]},
            "no event in .* lies within its video, such as 2 to 1 of 'abc', which lasts 3 s",
        ),
    ],
)
def test_malformed_annotations(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "unav.json"
    video = {"duration": 3.0, "subset": "train", "annotations": []} | change
    path.write_text(json.dumps({"database": {"abc": video}}))
    with pytest.raises(PipelineError, match=message):
        read_unav(path)


def test_events_outside_their_video_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "unav.json"
    times = [(0, 2), (-2, -1), (3, 9), (2.5, 2.5), (2, 9)]
    events = [{"segment": each, "label": "dog", "label_id": 0} for each in times]
    video = {"duration": 3.0, "subset": "train", "annotations": events}
    path.write_text(json.dumps({"database": {"abc": video}}))
    assert read_unav(path).videos["abc"].labels(1).sum() == 3
    assert "2 of the 5 events" in caplog.text
    assert "such as -2 to -1 of 'abc', which lasts 3 s" in caplog.text


def test_a_class_with_two_names(tmp_path: Path) -> None:
    path = tmp_path / "unav.json"
    events = [{"segment": [0, 1], "label": name, "label_id": 0} for name in ("dog", "cat")]
    path.write_text(
        json.dumps({"database": {"abc": {"duration": 3, "subset": "train", "annotations": events}}})
    )
    with pytest.raises(PipelineError, match="calls class 0 both 'dog' and 'cat'"):
        read_unav(path)


# ---- features


@pytest.mark.parametrize(("rows", "seconds"), [(7, 3), (3, 7), (5, 5)])
def test_rows_are_averaged_to_seconds(rows: int, seconds: int) -> None:
    features = np.random.default_rng(0).random((rows, 2)).astype(np.float32)
    pooled = to_seconds(features, seconds)
    for second in range(seconds):
        first, last = second * rows // seconds, math.ceil((second + 1) * rows / seconds)
        expected = features[first:last].mean(axis=0)
        np.testing.assert_allclose(pooled[second].numpy(), expected, rtol=1e-6)


def test_shards_are_read(dense: Path) -> None:
    data = read(dense)
    assert (len(data.train), len(data.val)) == (96, 24)
    assert data.fingerprints == {"clap": "clap-simulated", "clip": "clip-simulated"}
    shard = read_shard(dense / "clip" / "1-of-1.safetensors")
    row = data.train.names.index("train7")
    expected = shard.select(["train7"])["embedding"][0]
    torch.testing.assert_close(data.train.visual[row], torch.from_numpy(expected))
    batch = data.val.batch([0, 3], CPU)
    assert batch.valid.all()
    assert batch.labels.shape == (2, SEGMENTS, 5)


@pytest.mark.parametrize("zipped", [False, True])
def test_released_files_of_any_length_are_read(tmp_path: Path, zipped: bool) -> None:
    random = np.random.default_rng(0)
    events = [{"segment": [0.5, 2.2], "label": "dog", "label_id": 0}]
    database = {
        "abcdefghijk": {"duration": 3.4, "subset": "train", "annotations": events},
        "-_3456789ab": {"duration": 7.0, "subset": "train", "annotations": events},
        "validation1": {"duration": 2.0, "subset": "validation", "annotations": []},
        "missing_one": {"duration": 2.0, "subset": "train", "annotations": []},
    }
    (tmp_path / "dense.json").write_text(json.dumps({"database": database}))
    paths = {}
    for kind, size in (("clip", 6), ("clap", 4)):
        folder = tmp_path / f"UnAV_{kind}"
        for name, rows in (("abcdefghijk", 9), ("-_3456789ab", 7), ("validation1", 2)):
            path = folder / "segment_feats" / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, 3 * random.standard_normal((rows, size)).astype(np.float32))
        (folder / "event_feats").mkdir()
        np.save(folder / "event_feats" / "all_event_feats.npy", random.random((1, size)))
        paths[kind] = folder
        if zipped:
            paths[kind] = folder.with_suffix(".zip")
            with zipfile.ZipFile(paths[kind], "w") as archive:
                for path in folder.rglob("*.npy"):
                    archive.write(path, path.relative_to(folder))
    data = read_dense_data(paths["clip"], paths["clap"], tmp_path / "dense.json")
    assert data.train.names == ("-_3456789ab", "abcdefghijk")
    assert [len(each) for each in data.train.labels] == [7, 4]
    assert data.fingerprints == {}
    torch.testing.assert_close(data.train.audio[0].norm(dim=1), torch.ones(7))
    batch = data.train.batch([0, 1], CPU)
    assert batch.embeddings[1].shape == (2, 7, 6)
    assert batch.valid.sum(dim=1).tolist() == [7, 4]
    assert batch.labels[1, :, 0].tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_prompts_of_other_classes_are_refused(dense: Path, tmp_path: Path) -> None:
    write_dense(tmp_path, train=2)
    write_prompts(tmp_path / "clip", "clip", make_world(classes=6).visual)
    with pytest.raises(PipelineError, match=r"has 5 class texts, but .* has 6"):
        read(tmp_path)
    content = (tmp_path / "dense.json").read_text()
    (tmp_path / "dense.json").write_text(content.replace('"Class 2"', '"a dog"'))
    with pytest.raises(PipelineError, match=r"class 2 is 'a dog' in .*, but 'Class_2' in the"):
        read(tmp_path)
    (tmp_path / "dense.json").write_text(content.replace('"label_id": 2', '"label_id": 7'))
    with pytest.raises(PipelineError, match=r"has 5 class texts, but .* have a class 7"):
        read(tmp_path)


# ---- training


def test_an_epoch_is_clipped_adamw_at_valors_rate(dense: Path) -> None:
    data = read(dense)
    made = trainer(data, dropout=0.0, clip_norm=0.05, warmup_epochs=5)
    network = TemporalNetwork(32, 40, made.job.options)
    network.load_state_dict(made.network.state_dict())
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=3e-3 / 5, betas=(0.5, 0.999), eps=1e-8, weight_decay=1e-3
    )
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0)).tolist()
    losses = []
    for start in range(0, 96, 16):
        batch = data.train.batch(order[start : start + 16], CPU)
        logits = network(batch.embeddings, data.texts, ~batch.valid)
        loss = temporal_loss(logits, batch.labels, batch.valid, 5.0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.05)
        optimiser.step()
        losses.append(loss.item())
    made.run_epoch(1)
    assert made.progress.curve[0]["loss"] == pytest.approx(np.mean(losses))
    for name, weight in made.network.state_dict().items():
        torch.testing.assert_close(weight, network.state_dict()[name])


def test_the_schedule_is_the_options() -> None:
    recipe = optimisation(TeacherOptions())
    assert (recipe.optimiser, recipe.schedule, recipe.decay) == ("adamw", "cosine", "all")
    assert (recipe.epochs, recipe.learning_rate, recipe.weight_decay) == (80, 1e-4, 1e-3)


def test_validation_counts_real_seconds_only(dense: Path) -> None:
    made = trainer(read(dense))
    videos = made.job.data.val
    predicted = made.predict(videos)
    for row in range(3):
        batch = videos.batch([row], CPU)
        with torch.no_grad():
            audio, visual = made.network(batch.embeddings, made.texts, ~batch.valid)
        probability = audio.sigmoid()[0] * visual.sigmoid()[0]
        np.testing.assert_array_equal(predicted[row], (probability >= 0.5).numpy())


def test_a_teacher_that_gives_no_numbers_labels_nothing(dense: Path) -> None:
    made = trainer(read(dense))
    made.run_epoch(1)
    teacher = made.teacher()
    weights = {name: torch.full_like(each, 3e38) for name, each in teacher.weights.items()}
    embeddings = tuple(np.ones((1, 10, width), np.float32) for width in (32, 40))
    texts = tuple(each.numpy() for each in made.texts)
    with pytest.raises(PipelineError, match=r"not finite .* its weights are too large"):
        teacher_logits(replace(teacher, weights=weights), embeddings, texts, CPU)


@pytest.mark.parametrize(("logit", "counts"), [(0.0, True), (-1e-6, False)])
def test_validation_counts_a_class_at_the_threshold(
    dense: Path, monkeypatch: pytest.MonkeyPatch, logit: float, counts: bool
) -> None:
    """As in UWAV's released code: a probability of exactly 0.5 counts."""
    made = trainer(read(dense))

    def forward(embeddings: tuple[Tensor, Tensor], *_: object) -> tuple[Tensor, Tensor]:
        heard = torch.full((*embeddings[0].shape[:2], 5), 100.0)  # a probability of 1
        return heard, torch.full_like(heard, logit)

    monkeypatch.setattr(made.network, "forward", forward)
    assert (made.predict(made.job.data.val) == counts).all()


def test_a_killed_training_resumes_bit_for_bit(dense: Path, tmp_path: Path) -> None:
    data = read(dense)
    whole = trainer(data)
    whole.run(tmp_path / "whole.pt")
    first = trainer(data)
    for epoch in (1, 2):
        first.run_epoch(epoch)
    first.save(tmp_path / "state.pt")
    second = trainer(data)
    second.run(tmp_path / "state.pt")
    assert second.progress.best_epoch == whole.progress.best_epoch
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, second.network.state_dict()[name]), name
    other = trainer(data, seed=1)  # another job's state is ignored
    other.restore(tmp_path / "state.pt")
    assert other.progress.epoch == 0


# ---- the whole way


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made = write_corpus(tmp_path_factory.mktemp("corpus"), WORLD, train=48, evaluated=30)
    for index, kind in enumerate(("clap", "clip")):
        folder = made.features / f"{kind}-0123456789"
        write_prompts(folder, kind, (WORLD.audio, WORLD.visual)[index])
    return made


@pytest.fixture(scope="module")
def taught(dense: Path, corpus: Corpus) -> Path:
    """Train a teacher and label the corpus with it, on the command line; return its folder."""
    folder = corpus.folder / "teacher"
    arguments = write_dense(corpus.folder / "dense", train=120)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    options += ["--epochs=20", "--out", str(folder), "--device", "cpu", "--threads", "1"]
    assert main(["teacher", *arguments, *options]) == 0
    assert label(corpus, "labels", "--teacher", str(folder)) == 0
    return folder


def label(corpus: Corpus, out: str, *options: str) -> int:
    words = ["pseudo-labels", "--out", str(corpus.folder / out), "--device", "cpu"]
    for kind in ("clip", "clap"):
        words += [f"--{kind}", str(corpus.features / f"{kind}-0123456789")]
    words += ["--annotations", str(corpus.annotations), "--vocabulary", str(corpus.vocabulary)]
    return main([*words, *options])


def test_a_teacher_learns_from_dense_labels(taught: Path) -> None:
    record = read_teacher(taught).record
    assert record.score > 60  # nothing predicted: 20
    assert record.seed == 1000
    assert record.fingerprints == {"clip": "clip-simulated", "clap": "clap-simulated"}
    assert len((taught / "curve.csv").read_text().splitlines()) == 21


def test_labels_are_uwavs(corpus: Corpus, taught: Path) -> None:
    labels = read_shard(corpus.folder / "labels" / "labels.safetensors")
    vocabulary = make_vocabulary(5)
    val = [row for row, name in enumerate(labels.names) if name[0] == "v"]
    train = [row for row, name in enumerate(labels.names) if name[0] == "t"]
    tables = [corpus.annotations / table for table in EVENT_TABLES.values()]
    truth = read_labels(tables, [labels.names[row] for row in val], SEGMENTS, vocabulary)
    weak = np.zeros((len(labels.names), 5), np.uint8)
    for table in corpus.annotations.glob("AVVP_*"):
        if "eval" in table.name:
            continue
        for line in table.read_text().splitlines()[1:]:
            name, classes = line.split("\t")
            if name in labels.names:
                indices = [int(each.removeprefix("Class_")) for each in classes.split(",") if each]
                weak[labels.names.index(name), indices] = 1
    features = [
        np.stack([row for shard in shards for row in shard["embedding"]])
        for shards in (
            [read_shard(path) for path in sorted((corpus.features / kind).glob("?-of-2.*"))]
            for kind in ("clap-0123456789", "clip-0123456789")
        )
    ]
    order = [
        name
        for path in sorted((corpus.features / "clap-0123456789").glob("?-of-2.*"))
        for name in read_shard(path).names
    ]
    rows = [order.index(name) for name in labels.names]
    logits = teacher_logits(
        read_teacher(taught),
        (features[0][rows], features[1][rows]),
        (WORLD.audio, WORLD.visual),
        CPU,
    )
    thresholds = f1_thresholds(logits[:, val], truth, weak[val])
    for index, modality in enumerate(("audio", "visual")):
        np.testing.assert_array_equal(labels[f"{modality}_teacher_logits"], logits[index])
        expected = (logits[index] > thresholds[index]) & (weak[:, None] > 0)
        np.testing.assert_array_equal(labels[f"{modality}_masked"], expected)
        finite = finite_thresholds(thresholds[index], logits[index, train])
        soft = soften(logits[index], finite)
        np.testing.assert_array_equal(labels[f"{modality}_soft"], soft)
        hard = (labels[f"{modality}_soft"][train] > 0.5) & (weak[train][:, None] > 0)
        np.testing.assert_array_equal(hard, labels[f"{modality}_masked"][train])


def test_unmasked_labels_do_not_change(corpus: Corpus, taught: Path) -> None:
    assert label(corpus, "plain") == 0
    plain, labels = (
        read_shard(corpus.folder / folder / "labels.safetensors") for folder in ("plain", "labels")
    )
    assert plain.meta["fingerprint"] == labels.meta["fingerprint"]
    assert len(labels.meta["teacher"]) == 10
    assert "teacher" not in plain.meta
    for key in ("audio", "visual", "audio_logits", "visual_logits"):
        np.testing.assert_array_equal(plain[key], labels[key])
    assert not np.array_equal(plain["visual_masked"], labels["visual_masked"])


@pytest.mark.parametrize("method", ["uwav", "valorpp"])
def test_methods_learn_from_a_teacher(
    corpus: Corpus, taught: Path, tmp_path: Path, method: str
) -> None:
    options = {"labels": "teacher", "width": 16, "heads": 2, "layers": 1, "feedforward": 16}
    options |= {"epochs": 2, "audio_input": "embedding"}
    words = [word for key, value in options.items() for word in ("--option", f"{key}={value}")]
    words += ["--pseudo-labels", str(corpus.folder / "labels"), "--out", str(tmp_path)]
    assert main(["train", "--method", method, *corpus.words(), *words]) == 0
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert scores["test"]["metrics"]["segment"]["type"] >= 0


def test_features_of_other_encoders_are_refused(taught: Path) -> None:
    teacher = read_teacher(taught)
    with pytest.raises(
        PipelineError, match="embeddings of 32 and 40 dimensions, but these have 32"
    ):
        teacher.check_features({}, (32, 41))
    with pytest.raises(PipelineError, match="trained on clip features 'clip-simulated', but got"):
        teacher.check_features({"clip": "another"}, (32, 40))
    teacher.check_features({}, (32, 40))


def test_a_teachers_labels_replace_released_ones(corpus: Corpus, taught: Path) -> None:
    released = ["--masked-labels", str(corpus.labels), "--teacher", str(taught)]
    assert label(corpus, "both", *released) == 0
    both, labels = (
        (corpus.folder / folder / "labels.safetensors") for folder in ("both", "labels")
    )
    assert both.read_bytes() == labels.read_bytes()


def test_broken_teachers_are_refused(taught: Path, tmp_path: Path) -> None:
    content = (taught / "teacher.safetensors").read_bytes()
    with pytest.raises(PipelineError, match="cannot find a teacher"):
        read_teacher(tmp_path)
    for broken in (content[:-10], content.replace(b'\\"width\\": 32', b'\\"width\\": 64')):
        (tmp_path / "teacher.safetensors").write_bytes(broken)
        with pytest.raises(PipelineError, match="is not a teacher"):
            read_teacher(tmp_path)
