"""What a configuration names: there before the first job, and known by its contents."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.inputs import (
    check_inputs,
    check_videos,
    classes_digest,
    contents_digest,
    vocabulary_of,
)
from pipeline.config.load import effective_config
from pipeline.config.models import Config, TrainingRun
from pipeline.core.errors import PipelineError
from pipeline.core.files import RESOURCES
from pipeline.core.options import Options, PathText
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES
from pipeline.data.manifest import ManifestSource

VOCABULARY = (RESOURCES / "vocabulary.yaml").read_text()


def write_tables(folder: Path, videos: int = 2) -> None:
    folder.mkdir()
    for index, table in enumerate(SPLIT_TABLES.values()):
        rows = "".join(f"{index}{video:010d}_0_10\tSpeech\n" for video in range(videos))
        (folder / table).write_text("filename\tevent_labels\n" + rows)
    for table in EVENT_TABLES.values():
        (folder / table).write_text("filename\tonset\toffset\tevent_labels\n")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a configuration for tables and videos in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path / "ann")
    (tmp_path / "vids").mkdir()
    (tmp_path / "voc.yaml").write_text(VOCABULARY)
    random = {"weights": "random:1", "sha256": None}
    return {
        "dataset": {
            "source": "local",
            "annotations": "ann",
            "videos": "vids",
            "vocabulary": "voc.yaml",
        },
        "encoders": {"clip": random, "clap": random},
    }


def with_change(own: dict[str, Any], section: str, **keys: Any) -> Config:
    return effective_config(own | {section: {**own.get(section, {}), **keys}})


def test_what_is_there_and_fits_is_accepted(own: dict[str, Any]) -> None:
    check_inputs(effective_config(own))
    check_inputs(effective_config({}))
    check_inputs(effective_config({"preset": "llp"}))
    made = with_change(own, "dataset", annotations="resources/demo/annotations")
    check_inputs(made, ["resources/demo/annotations"])


@pytest.mark.parametrize(
    ("section", "keys", "sentence"),
    [
        ("dataset", {"annotations": "anm"}, "dataset.annotations 'anm' does not exist; put the"),
        ("dataset", {"vocabulary": "v.yaml"}, "dataset.vocabulary: cannot find the vocabulary"),
        ("dataset", {"corrections": "c"}, "dataset.corrections: 'c' has no corrections; it must"),
        ("decode", {"frame_size": 32}, "decode.frame_size is 32, but encoders.clip.model"),
        ("pseudo_labels", {"teacher": "t"}, "pseudo_labels.teacher 't' has no teacher.safetensors"),
        (
            "encoders",
            {"clip": {"weights": "w.pt", "sha256": "0" * 64}},
            "encoders.clip.weights 'w.pt' does not exist; put the file there, or set",
        ),
        (
            "encoders",
            {"clip": {"weights": "random", "sha256": None, "model": "ViT-B-23"}},
            "encoders.clip.model is 'ViT-B-23', which open_clip does not know; it must be a name"
            " such as ViT-B-32",
        ),
        (
            "encoders",
            {"clip": {"weights": "random", "sha256": None, "model": "nope.json"}},
            "encoders.clip.model: cannot find the model configuration of clip at 'nope.json'",
        ),
        (
            "encoders",
            {"clip": {"weights": "random", "sha256": None, "model": "voc.json"}},
            "encoders.clip.model: 'voc.json' is not a CLIP configuration; it must be JSON of",
        ),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_one_sentence_with_its_key(
    section: str, keys: dict[str, Any], sentence: str, own: dict[str, Any]
) -> None:
    Path("voc.json").write_text("[3]")
    with pytest.raises(PipelineError) as caught:
        check_inputs(with_change(own, section, **keys))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_the_size_that_a_named_model_takes_is_known_without_loading_it(own: dict[str, Any]) -> None:
    named = {"weights": "random", "sha256": None, "model": "ViT-L-14-336"}
    config = effective_config(own | {"encoders": {**own["encoders"], "clip": named}})
    with pytest.raises(PipelineError, match=r"set decode\.frame_size: 336\.$"):
        check_inputs(config)
    folder = Path("hf")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vision_config": {"image_size": 96}}))
    named |= {"backend": "transformers", "model": "hf"}
    config = effective_config(own | {"encoders": {**own["encoders"], "clip": named}})
    with pytest.raises(PipelineError, match=r"set decode\.frame_size: 96\.$"):
        check_inputs(config)


@pytest.mark.parametrize("table", [*SPLIT_TABLES.values(), *EVENT_TABLES.values()])
def test_a_table_that_is_missing_or_empty_is_one_sentence(table: str, own: dict[str, Any]) -> None:
    path = Path("ann") / table
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    if table in SPLIT_TABLES.values():
        with pytest.raises(PipelineError, match=f"'ann/{table}' lists no videos; every split"):
            check_inputs(effective_config(own))
    else:
        check_inputs(effective_config(own))  # videos without events
    path.unlink()
    with pytest.raises(PipelineError, match=f"dataset.annotations 'ann' has no {table}; put it"):
        check_inputs(effective_config(own))


def test_how_many_videos_are_there_is_said_and_a_split_without_any_refused(
    own: dict[str, Any],
) -> None:
    config = effective_config(own)

    def said() -> str:
        return check_videos(config, ManifestSource(Path("ann"), Path("vids"), 2))

    with pytest.raises(PipelineError, match="'vids' has files for 0 of 2 train videos of"):
        said()
    for index in range(3):
        Path(f"vids/{index}0000000000_0_10.mp4").touch()
    Path("ann/AVVP_train.csv").touch()  # what is listed is remembered by the time of the tables
    expected = "has files for 1 of 2 train, 1 of 2 val, 1 of 2 test videos; the others are left"
    assert expected in said()
    for index in range(3):
        Path(f"vids/{index}0000000001_0_10.mp4").touch()
    Path("ann/AVVP_train.csv").touch()
    assert said() == ""


def test_a_path_is_spelled_one_way() -> None:
    class Places(Options):
        path: PathText = ""
        number: int = 3

    spellings = ("ann/", "./ann", ".//ann/.", "ann//", "ann")
    assert {Places(path=each).path for each in spellings} == {"ann"}
    assert Places(path="a/../b").path == "a/../b", "the other way if a is a link"
    for reference in ("hf:owner/name/file.pt", "package:vocabulary.yaml", "random:3"):
        assert Places(path=reference).path == reference
    assert Places(path="x").deciding() == {"path": "x", "number": 3}
    assert Places(path="x").deciding(paths=False) == {"number": 3}


def test_no_path_of_a_configuration_is_recorded(own: dict[str, Any]) -> None:
    recorded = json.dumps(effective_config(own).deciding(paths=False))
    assert not any(each in recorded for each in ('"ann"', '"vids"', "voc.yaml", "package:"))
    moved = with_change(own, "dataset", annotations="/elsewhere/ann", videos="/elsewhere/vids")
    assert json.dumps(moved.deciding(paths=False)) == recorded


def test_digests_change_with_contents_alone(own: dict[str, Any], tmp_path: Path) -> None:
    table = Path("ann/AVVP_train.csv")
    copy = tmp_path / "copy.csv"
    copy.write_bytes(table.read_bytes())
    assert contents_digest([table]) == contents_digest([copy])
    copy.write_bytes(table.read_bytes()[:-1] + b"x")
    assert contents_digest([table]) != contents_digest([copy])


def test_a_class_is_known_by_what_a_stage_reads_of_it(own: dict[str, Any]) -> None:
    def digests() -> tuple[str, str]:
        vocabulary = vocabulary_of(effective_config(own))
        fields = ("visual_caption", "audio_caption")
        first, second = (classes_digest(vocabulary, ("name", field)) for field in fields)
        return first, second

    before = digests()
    path = Path("voc.yaml")
    path.write_text("# a comment\n" + VOCABULARY)
    assert digests() == before
    values = yaml.safe_load(VOCABULARY)
    values["classes"][0]["visual_caption"] = "another caption"
    path.write_text(yaml.safe_dump(values))
    assert digests()[0] != before[0]
    assert digests()[1] == before[1]


def test_thresholds_of_a_method_decide_its_predictions_alone() -> None:
    run = TrainingRun("link", {"epochs": "3", "segment_threshold": 0.4, "precision": "fp32"})
    assert run.training == {"epochs": 3}, "what the method has anyway is no change"
    assert run.decisions == {"segment_threshold": 0.4}


def test_null_on_the_command_line_is_no_value(own: dict[str, Any]) -> None:
    # Snakemake gives nested values of --config as text.
    changed = with_change(own, "parse", videos="null", overlap="null")
    assert (changed.parse.videos, changed.parse.overlap) == (None, None)
