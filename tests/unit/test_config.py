"""The configuration: presets, what is merged over them, and one sentence for every mistake."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import yaml

from pipeline.cli import main
from pipeline.config.load import (
    Layer,
    config_warnings,
    effective_config,
    layers_of,
    load_config,
    merged,
    origins,
    preset_names,
    read_yaml,
)
from pipeline.config.models import Config
from pipeline.core.errors import PipelineError
from pipeline.core.references import located
from pipeline.parsers.registry import METHODS

REPOSITORY = Path(__file__).resolve().parents[2]
PRESETS = REPOSITORY / "workflow/presets"
OWN = {"dataset": {"source": "local", "videos": "v", "annotations": "a"}}


def changed(values: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    copy = deepcopy(values)
    *parents, last = key.split(".")
    at = copy
    for parent in parents:
        at = at.setdefault(parent, {})
    at[last] = value
    return copy


def test_the_shipped_file_runs_the_demo() -> None:
    config = load_config([REPOSITORY / "config.yaml"])
    assert config == load_config(preset="demo")
    assert config.dataset.source == "demo"
    assert set(config.methods) == {"link", "valorpp"}


def test_every_preset_is_complete() -> None:
    assert preset_names() == sorted(path.stem for path in PRESETS.glob("*.yaml"))
    assert {"demo", "llp"} <= set(preset_names())
    for name in preset_names():
        assert load_config(preset=name).preset == name


def test_llp_needs_nothing_but_ones_videos_and_tables() -> None:
    config = effective_config({"preset": "llp", **OWN})
    assert (config.dataset.videos, config.dataset.annotations) == ("v", "a")
    assert (config.dataset.name, config.dataset.shards) == ("llp", 64)
    assert config.encoders.clip.weights_identity.startswith("hf:timm/")


def test_the_small_clip_of_the_examples_fits_the_llp_preset() -> None:
    config = load_config([REPOSITORY / "examples/small_clip.yaml"], preset="llp")
    clip = config.encoders.clip
    assert clip.model == "ViT-B-32-quickgelu"
    hub = open_clip.get_pretrained_cfg(clip.model, "openai")["hf_hub"]
    assert clip.weights == f"hf:{hub}open_clip_model.safetensors"
    assert open_clip.get_model_config(clip.model)["vision_cfg"].get("image_size", 224) == 224
    assert config.decode.frame_size == 224


def test_files_are_merged_key_by_key_and_methods_as_a_whole(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("decode: {sampling: valor}\nmethods: {han: {epochs: 3}}")
    second.write_text("decode: {timeout_seconds: 7}\nablation: {variants: {full: {}}}")
    config = load_config([first, second])
    assert config.decode.sampling == "valor"
    assert config.decode.timeout_seconds == 7
    assert config.decode.frame_size == 64, "the preset's"
    assert config.methods == {"han": {"epochs": 3}}, "nothing is left of the preset's methods"
    assert config.ablation.variants == {"full": {}}


def test_the_last_preset_counts_and_nothing_of_another_is_left(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("preset: demo\ntraining: {seeds: [4]}")
    config = load_config([mine], preset="llp")
    assert config.training.seeds == [4]
    rest = config.model_dump(exclude={"training"})
    assert rest == load_config(preset="llp").model_dump(exclude={"training"})


def test_every_value_has_an_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("methods: {link: {epochs: 3}}\ndataset: {shards: 5}")
    layers = layers_of([Layer("mine", read_yaml(mine))])
    config = Config.model_validate(merged(layers))
    found = {key: (value, origin) for key, value, origin in origins(layers, config)}
    assert found["dataset.shards"] == (5, "mine")
    assert found["decode.frame_size"] == (64, "preset demo")
    assert found["decode.decoder"] == ("pyav", "default")
    assert found["methods.link.epochs"] == (3, "mine")
    assert "methods.valorpp.epochs" not in found
    assert main(["config", "--show", "--configfile", str(mine)]) == 0
    assert f"dataset.shards: 5  # {mine}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("preset", "lpl", r"'preset' is 'lpl'; it must be one of demo, demo_methods, llp"),
        ("decoder", {}, r"'decoder' is unknown; it must be one of preset, dataset, download"),
        ("decode.fps", 8, r"'decode\.fps' is unknown; it must be one of sampling"),
        ("dataset.tables", {"a": {"uri": ""}}, r"tables\.a\.\w+' is (missing|unknown)"),
        ("encoders.clip.modle", "x", r"clip\.modle' is unknown; it must be one of backend, model"),
        ("decode.sampling", "middle", r"'decode\.sampling' is 'middle'; .*center or valor"),
        ("download.url", "file:///videos/{id}", r"'download\.url' is 'file.*must be an http or"),
        ("download.url", "https://host/watch", r"'download\.url' is .*must be an http or"),
        ("download.stop_after", 0, r"'download\.stop_after' is 0; it must be greater than or"),
        ("download.retry", "some", r"'download\.retry' is 'some'; .*one of transient, all, none"),
        ("dataset.shards", 0, r"'dataset\.shards' is 0; it must be greater than or equal to 1"),
        ("dataset.shards", "many", r"'dataset\.shards' is 'many'; it must be a valid integer"),
        ("encoders.clip.sha256", "abc", r"'encoders\.clip\.sha256' is 'abc'; it must be the 64"),
        ("encoders.clip.weights", "random", r"random weights have no checksum"),
        ("encoders.clip.weights", "package:clip", r"'package:clip' is not in the package"),
        ("training.seeds", [1, 1], r"'training\.seeds': seeds must differ; \[1, 1\] repeats one"),
        ("training.seeds", [], r"'training\.seeds' is \[\]; it must not be empty"),
        (
            "methods",
            ["link"],
            r"is \['link'\]; it must map names to options, such as \{link: \{\}\}",
        ),
        ("dataset", 3, r"'dataset' is 3; it must map names to options, such as \{NAME: VALUE\}\."),
        ("methods", {"lnik": {}}, r"'lnik' is not a method; it must be one of .*link"),
        ("methods", {"link": {"widht": 64}}, r"option of link 'widht' is unknown; .*width"),
        ("dataset.videos", "here", r"source is 'demo'"),
        ("dataset.segments", 60, r"segments must be 10 for the demo; it is 60"),
    ],
)
def test_mistake_is_one_sentence(key: str, value: object, sentence: str) -> None:
    with pytest.raises(PipelineError, match=sentence) as error:
        located(effective_config(changed({}, key, value)).encoders.clip.weights)
    assert "\n" not in str(error.value)


def test_key_with_dots_is_shown_nested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--config", "dataset.videos=x"]) == 2
    assert "write --config 'dataset={videos: x}'.\n" in capsys.readouterr().err
    assert main(["config", "--config", "dataset.demo.train=3"]) == 2
    assert "write --config 'dataset={demo: {train: 3}}'.\n" in capsys.readouterr().err


def test_own_videos_and_the_demos_encoders_are_doubtful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (warning,) = config_warnings(effective_config(OWN))
    assert warning.startswith("the weights of clip and clap are the demo's,")
    for changes in ({}, OWN | {"preset": "llp"}, {"preset": "llp_features"}):
        assert config_warnings(effective_config(changes)) == []
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OWN))
    monkeypatch.chdir(tmp_path)
    assert main(["config", "--show"]) == 0
    assert warning in capsys.readouterr().err


def test_weights_by_path_need_a_checksum() -> None:
    weights = {"clip": {"weights": "w.pt", "sha256": None}}
    with pytest.raises(PipelineError, match=r"clip needs a sha256.*`sha256sum w\.pt`"):
        effective_config({"encoders": weights})


def test_combinations_that_cannot_be() -> None:
    local = {"dataset": {"source": "local"}}
    with pytest.raises(PipelineError, match="videos must name the folder"):
        effective_config(local)
    with pytest.raises(PipelineError, match="annotations must name the folder"):
        effective_config(changed(local, "dataset.videos", "videos"))
    with pytest.raises(PipelineError, match=r"frames_per_segment must be 1 .*; it is 3"):
        effective_config({"decode": {"sampling": "valor", "frames_per_segment": 3}})


def test_a_reference_that_is_not_trained_is_refused_before_training() -> None:
    methods: dict[str, Any] = {"valorpp": {}, "han": {}}
    chosen = {"methods": methods, "comparison": {"reference": "han"}}
    assert effective_config(chosen).reference == "han"
    assert effective_config({"methods": methods}).reference == "valorpp"
    assert effective_config({}).reference == "link"
    with pytest.raises(PipelineError, match=r"'link', which is not trained; it must be valorpp"):
        effective_config({"methods": methods, "comparison": {"reference": "link"}})


def test_labels_of_a_teacher_need_one() -> None:
    methods: dict[str, Any] = {"link": {}, "uwav": {"labels": "teacher"}}
    with pytest.raises(PipelineError, match=r"uwav has labels: teacher; configure teacher"):
        effective_config({"methods": methods})
    effective_config({"methods": methods, "pseudo_labels": {"teacher": "teacher"}})
    effective_config({"methods": methods, "teacher": {"demo": {"seed": 1}}})


RELEASED = {"features": "unav", "annotations": "unav.json"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"teacher": {}}, "'teacher': set one of demo and features; neither is set."),
        (
            {"teacher": RELEASED | {"demo": {"seed": 1}}},
            "'teacher': set one of demo and features; both are set.",
        ),
        ({"teacher": {"features": "unav"}}, "so annotations must name the JSON file"),
        (
            {"teacher": {"demo": {"seed": 1}, "annotations": "a.json"}},
            "annotations must not be set with demo",
        ),
        ({"teacher": {"demo": {"seed": 0}}}, "teacher.demo.seed and dataset.demo.seed are both 0"),
        ({"teacher": RELEASED}, "teacher.features are of other encoders than the demo's"),
        ({"teacher": {"demo": {"seed": 1}}} | OWN, "but dataset.source is 'local'"),
        (
            {"teacher": {"demo": {"seed": 1}}, "pseudo_labels": {"teacher": "t"}},
            "pseudo_labels.teacher is 't', which is a trained one; remove one",
        ),
        (
            {"teacher": {"demo": {"seed": 1}, "network": {"width": 60, "heads": 16}}},
            "'teacher.network': width 60 must be a multiple of heads 16.",
        ),
        (
            {"preset": "llp_features", "teacher": RELEASED}
            | {"dataset": {"features": {"uwav": None}}},
            "a teacher needs class texts and embeddings; set dataset.features.uwav.",
        ),
    ],
)
def test_what_a_teacher_cannot_learn_from_is_one_sentence(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        effective_config(changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_method_has_a_size_for_the_demo() -> None:
    config = load_config(preset="demo_methods")
    assert list(config.methods) == list(METHODS)
    assert config.runs["models/uwav"].uses_teacher_labels
    demo = load_config(preset="demo")
    same = ("dataset", "decode", "encoders", "pseudo_labels")
    assert all(getattr(config, name) == getattr(demo, name) for name in same)


def test_what_parse_cannot_do_is_refused_before_training() -> None:
    effective_config({"parse": {"overlap": 9}})
    with pytest.raises(PipelineError, match=r"'parse': overlap is 10; it must be 0 to 9\."):
        effective_config({"parse": {"overlap": 10}})
    moving: dict[str, Any] = {
        "methods": {"link": {"motion": True}},
        "encoders": {"motion": {"weights": "random:1"}},
    }
    effective_config(moving)
    with pytest.raises(PipelineError, match=r"method is 'link', which needs 3-D features"):
        effective_config(changed(moving, "parse.videos", "clips"))
    with pytest.raises(PipelineError, match=r"configure encoders\.motion"):
        effective_config({"methods": moving["methods"]})


def test_file_that_is_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: [")
    with pytest.raises(PipelineError, match="is not YAML"):
        load_config([path])
    path.write_text("- a")
    with pytest.raises(PipelineError, match="must have keys and values"):
        load_config([path])
    path.write_text("# nothing yet")
    assert load_config([path]) == load_config(preset="demo")


def test_presets_hold_no_tabs_or_unknown_keys() -> None:
    presets = list(PRESETS.glob("*.yaml"))
    assert presets
    for path in presets:
        values = yaml.safe_load(path.read_text())
        assert set(values) <= set(Config.model_fields), path
