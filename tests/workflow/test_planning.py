"""What a dry run plans of a configuration, and what it says before anything is started."""

import re
from pathlib import Path

import pytest
from workflow_runs import snakemake

from pipeline.cli import main

TOYS = "which know only its synthetic videos; set `preset: llp`"


def dry_run(folder: Path, *words: str, returns: int = 0) -> str:
    return snakemake(folder, "--dry-run", *words, returns=returns)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "config.yaml").write_text("methods: {han: {}}\ntraining: {seeds: [4]}")
    (tmp_path / "a.yaml").write_text("methods: {link: {epochs: 3}}\ndataset: {shards: 3}")
    (tmp_path / "b.yaml").write_text("methods: {valorpp: {}}\ndecode: {sampling: valor}")
    return ["--configfile", "a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("changes", "method"),
    [([], "valorpp"), (["--config", "methods={link: {epochs: 5}}"], "link")],
)
def test_what_is_planned_is_what_config_shows(
    changes: list[str],
    method: str,
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["config", "--show", *files, *changes]) == 0
    shown = capsys.readouterr().out
    assert set(re.findall(r"^methods\.(\w+)", shown, re.MULTILINE)) == {method}
    assert "training.seeds: [4]  # config.yaml" in shown
    assert "dataset.shards: 3  # a.yaml" in shown
    text = dry_run(tmp_path, *files, *changes)
    planned = set(re.findall(r"results/models/(\w+/seed\d+)/", text))
    assert planned == {f"{method}/seed4"}
    assert "3-of-3" in text


def test_encoding_while_decoding_plans_one_job_a_shard(tmp_path: Path) -> None:
    text = dry_run(
        tmp_path, "--config", "dataset={encode_while_decoding: true, shards: 3}", "--", "features"
    )
    assert re.search(r"^encode_videos +3$", text, re.MULTILINE)
    assert not re.search(r"^(segments|encode_segments) ", text, re.MULTILINE)


TEACHER = "teacher={demo: {seed: 1, train: 8, val: 4, test: 1}}"
TAUGHT = "methods={valorpp: {}, uwav: {labels: teacher}}"


def commands(text: str, rule: str) -> list[str]:
    """Return the shell commands that a dry run with ``--printshellcmds`` shows of a rule."""
    blocks = re.findall(rf"^rule {rule}:\n(.*?)(?=^rule |^Job stats|\Z)", text, re.M | re.S)
    return [found for block in blocks for found in re.findall(r"python -m pipeline .*", block)]


def test_each_method_trains_on_the_labels_that_its_recipe_demands(tmp_path: Path) -> None:
    changes = ["--config", TEACHER, TAUGHT, "training={seeds: [0], seeds_at_once: 1}"]
    text = dry_run(tmp_path, "--printshellcmds", *changes, "--", "compare")
    for rule in ("train_parser", "predict_parser"):
        taught = {"teacher_labels" in command for command in commands(text, rule)}
        assert taught == {True, False}
        for command in commands(text, rule):
            is_uwav = "uwav" in command
            assert ("--pseudo-labels results/teacher_labels" in command) == is_uwav
    [training] = commands(text, "train_teacher")
    assert "--annotations resources/dense_demo/dense.json" in training
    assert re.search(r"--clip results/dense/features/clip-\w{10} --clap results/dense/", training)
    [labelling] = commands(text, "teacher_labels")
    assert "--teacher results/teacher " in labelling
    [similarity] = commands(text, "pseudo_labels")
    assert "--teacher" not in similarity
    [rendering] = commands(text, "dense_corpus")
    assert "--seed 1 --train 8 --val 4 --test 1" in rendering


def test_a_teacher_is_trained_only_for_methods_that_need_it(tmp_path: Path) -> None:
    plain = dry_run(tmp_path)
    assert re.search(r"^total +25$", plain, re.M)
    configured = dry_run(tmp_path, "--config", TEACHER)
    for text in (plain, configured):
        assert not re.search("^rule .*(teacher|dense)", text, re.M)
    text = dry_run(tmp_path, "--", "train_teacher", returns=1)
    assert "no teacher is configured; set teacher" in text


def test_a_trained_teacher_is_used_as_it_is(tmp_path: Path) -> None:
    changes = ["--config", TAUGHT, "pseudo_labels={teacher: mine}"]
    text = dry_run(tmp_path, *changes, returns=1)
    assert "pseudo_labels.teacher 'mine' has no teacher.safetensors; train one" in text
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/teacher.safetensors").touch()
    text = dry_run(tmp_path, "--printshellcmds", *changes)
    [labelling] = commands(text, "teacher_labels")
    assert "--teacher mine " in labelling
    assert not commands(text, "train_teacher")


def test_the_teacher_of_released_features_is_trained_on_released_features(tmp_path: Path) -> None:
    teacher = "teacher={features: hf:datasets/NTUBarista/uwav_features, annotations: unav.json}"
    changes = ["--config", "preset=llp_features", teacher, TAUGHT]
    text = dry_run(tmp_path, *changes, returns=1)
    assert "teacher.annotations 'unav.json' does not exist; put UnAV-100's annotations" in text
    (tmp_path / "unav.json").touch()
    text = dry_run(tmp_path, "--printshellcmds", *changes)
    [training] = commands(text, "train_teacher")
    for name in ("CLIP", "CLAP"):
        archive = f"resources/hub/datasets/NTUBarista/uwav_features/UnAV_{name}.zip"
        assert f"--{name.lower()} {archive} " in training
        assert f"output: {archive}" in text
    assert "--layers 5 " in training


OWN = "dataset={{source: local, videos: {videos}, annotations: {annotations}}}"


@pytest.mark.parametrize(
    ("change", "target", "sentence"),
    [
        (
            OWN.format(videos="nowhere", annotations="resources/demo/annotations"),
            "results/manifest.tsv",
            "dataset.videos 'nowhere' does not exist; put the videos there, set dataset.videos, or"
            " download them with the target `videos`.",
        ),
        (
            OWN.format(videos="resources/demo/videos", annotations="nowhere"),
            "results/annotations/check.tsv",
            "dataset.annotations 'nowhere' does not exist; put",
        ),
        ("parse={videos: nowhere}", "parse", "parse.videos 'nowhere' does not exist; put"),
    ],
)
def test_folder_that_is_missing_is_one_sentence(
    change: str, target: str, sentence: str, tmp_path: Path
) -> None:
    text = dry_run(tmp_path, "--config", change, "--", target, returns=1)
    assert sentence in text
    assert "MissingInputException" not in text


def test_videos_are_downloaded_into_a_folder_that_is_missing(tmp_path: Path) -> None:
    own = OWN.format(videos="nowhere", annotations="resources/demo/annotations")
    text = dry_run(tmp_path, "--config", own, "--", "videos")
    assert text.count(TOYS) == 1, "own videos and the demo's encoders"
