"""The configuration: the shipped files are right, and every mistake is one clear sentence."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.models import parse_config, read_config
from pipeline.core.errors import PipelineError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def values() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


def changed(values: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    copy = deepcopy(values)
    *parents, last = key.split(".")
    at = copy
    for parent in parents:
        at = at.setdefault(parent, {})
    at[last] = value
    return copy


def test_shipped_config_is_valid() -> None:
    config = read_config(REPOSITORY / "config.yaml")
    assert config.dataset.source == "demo"
    assert set(config.methods) == {"link", "valorpp"}


def test_preset_needs_only_the_weights_checksums() -> None:
    preset = yaml.safe_load((REPOSITORY / "workflow/presets/llp.yaml").read_text())
    with pytest.raises(PipelineError, match=r"encoders\.clip.*sha256sum resources/weights/clip"):
        parse_config(preset)
    for encoder in preset["encoders"].values():
        encoder["sha256"] = "0" * 64
    assert parse_config(preset).dataset.name == "llp"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("decoder", {}, r"'decoder' is not known; allowed there are dataset, download"),
        ("decode.fps", 8, r"'decode\.fps' is not known; allowed there are sampling"),
        ("decode.sampling", "middle", r"'decode\.sampling' is 'middle'.*'center' or 'valor'"),
        ("download.url", "file:///videos/{id}", r"'download\.url' is 'file.*should match pattern"),
        ("download.url", "https://host/watch", r"'download\.url' is .*should match pattern"),
        ("download.stop_after", 0, r"'download\.stop_after' is 0.*greater than or equal to 1"),
        ("download.retry", "some", r"'download\.retry' is 'some'.*'transient', 'all' or 'none'"),
        ("dataset.shards", 0, r"'dataset\.shards' is 0.*greater than or equal to 1"),
        ("dataset.shards", "many", r"'dataset\.shards' is 'many'"),
        ("encoders.clip.sha256", "abc", r"'encoders\.clip\.sha256' is 'abc'"),
        ("encoders.clip.sha256", None, r"weights need a sha256"),
        ("encoders.clip.weights", "random", r"nothing for sha256 to check"),
        ("training.seeds", [1, 1], r"seeds \[1, 1\] name a seed twice"),
        ("training.seeds", [], r"'training\.seeds' is \[\]"),
        ("methods", {"lnik": {}}, r"'lnik' is not a method; allowed are .*link"),
        ("methods.link.widht", 64, r"widht"),
        ("dataset.videos", "here", r"source is 'demo'"),
        ("dataset.segments", 60, r"the demo's clips have 10 segments"),
    ],
)
def test_mistake_is_one_sentence(
    values: dict[str, Any], key: str, value: object, sentence: str
) -> None:
    with pytest.raises(PipelineError, match=sentence) as error:
        parse_config(changed(values, key, value))
    assert "\n" not in str(error.value)


def test_combinations_that_cannot_be(values: dict[str, Any]) -> None:
    local = changed(changed(values, "dataset.source", "local"), "dataset.demo", {})
    with pytest.raises(PipelineError, match="videos must name the folder"):
        parse_config(local)
    with pytest.raises(PipelineError, match="annotations must name a folder"):
        parse_config(changed(local, "dataset.videos", "videos"))
    with pytest.raises(PipelineError, match="one frame a segment; frames_per_segment is 3"):
        parse_config(changed(values, "decode", {"sampling": "valor", "frames_per_segment": 3}))


def test_what_parse_cannot_do_is_refused_before_training(values: dict[str, Any]) -> None:
    parse_config(changed(values, "parse.overlap", 9))
    with pytest.raises(PipelineError, match=r"'parse': overlap is 10; allowed is 0 to 9\."):
        parse_config(changed(values, "parse.overlap", 10))
    moving = changed(values, "methods.link", {"motion": True})
    moving["encoders"]["motion"] = {"weights": "random:1"}
    parse_config(moving)
    with pytest.raises(PipelineError, match=r"method 'link' has motion on; name one with motion"):
        parse_config(changed(moving, "parse.videos", "clips"))


def test_missing_section_is_named(values: dict[str, Any]) -> None:
    del values["encoders"]
    with pytest.raises(PipelineError, match="'encoders' is missing"):
        parse_config(values)


def test_file_that_is_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: [")
    with pytest.raises(PipelineError, match="is not YAML"):
        read_config(path)
