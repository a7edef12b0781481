"""The Python API, as the README shows it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from documents import blocks
from parse_runs import NAMES, T, write_run
from simulated import make_vocabulary, make_world, write_corpus

import pipeline
from pipeline.cli import main
from pipeline.core.shards import read_shard, write_shard
from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotations import segments_to_events, write_events


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def parser(run_folder) -> pipeline.Parser:
    return pipeline.load_parser(run_folder / "results/models/link/seed0", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=T + 3)


@pytest.fixture(scope="module")
def parsed(parser, clip) -> pipeline.Parsed:
    return parser.parse(clip)


# ---- importing


def test_importing_the_package_loads_nothing_heavy():
    script = (
        "import sys; before = set(sys.modules); import pipeline;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    seconds = time.monotonic() - begin
    assert "pipeline" in done.stdout
    for heavy in ("torch", "numpy", "pydantic", "yaml", "av"):
        assert heavy not in done.stdout.split()
    assert seconds < 2  # the interpreter's own start on a busy machine included


def test_every_exported_name_is_there():
    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None
    assert set(pipeline.__all__) <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pipeline.nothing  # noqa: B018


# ---- the documents


@pytest.mark.parametrize(
    "page", ["README.md", "docs/tutorials/parse-a-video.md", "docs/reference/python-api.md"]
)
def test_the_examples_of_a_page_run(page, run_folder, clip, tmp_path, monkeypatch, capsys):
    examples = "".join(each.text for each in blocks(page) if "import pipeline\n" in each.text)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder / "results", "results")
    videos = set(re.findall(r'"([\w/]+\.mp4)"', examples))
    assert "clip.mp4" in videos
    for video in videos:
        Path(video).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, video)
    names = {}
    # The published weights are not here.
    exec(compile(examples.replace('preset="llp"', 'preset="demo"'), page, "exec"), names)
    assert ("Event(label=" in capsys.readouterr().out) == ("print(event)" in examples)
    assert names["parsed"].probabilities["audio"].shape == (T + 3, len(NAMES))
    assert Path("parsed/clip/index.html").is_file() == ("parsed.save(" in examples)


# ---- parsing


def test_a_parsed_video_has_events_and_probabilities(parser, parsed):
    assert parser.class_names == parsed.class_names == NAMES
    assert parser.thresholds.segment == 0.45
    assert set(parsed.probabilities) == {"audio", "visual"}
    for probabilities in parsed.probabilities.values():
        assert probabilities.shape == (T + 3, len(NAMES))
        assert probabilities.dtype == np.float32
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert parsed.events
    for event in parsed.events:
        assert event.label in NAMES
        assert event.modality in {"audible", "visible", "both"}
        assert 0 <= event.onset < event.offset <= T + 3
    assert "clip.mp4" in repr(parsed)


def test_events_are_rows_of_a_table(parsed):
    table = parsed.to_dataframe()
    assert list(table.columns) == ["label", "modality", "onset", "offset", "confidence"]
    assert len(table) == len(parsed.events)
    assert table["label"].tolist() == [event.label for event in parsed.events]


def test_saving_writes_what_the_command_writes(parsed, run_folder, clip, tmp_path, capsys):
    page = parsed.save(tmp_path / "saved" / "clip")
    assert page == tmp_path / "saved" / "clip" / "index.html"
    words = ["parse", str(clip), "--checkpoint", str(run_folder / "results/models/link/seed0")]
    assert main([*words, "--out", str(tmp_path / "parsed"), "--device", "cpu"]) == 0
    ours, theirs = page.parent, tmp_path / "parsed" / "clip"
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    for path in ours.iterdir():
        assert path.read_bytes() == (theirs / path.name).read_bytes(), path.name


def test_a_large_video_is_linked_beside_its_page(parsed, tmp_path):
    parsed.save(tmp_path, embed_mb=0)
    assert (tmp_path / "media.mp4").is_file()


def test_saving_never_replaces_media_of_someone_else(parsed, tmp_path):
    (tmp_path / "media.wav").write_bytes(b"mine")
    with pytest.raises(pipeline.ItemError, match=r"media\.wav' would be replaced or deleted"):
        parsed.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["media.wav"]
    (tmp_path / "media.wav").unlink()
    parsed.save(tmp_path, embed_mb=0)
    assert (tmp_path / "media.mp4").exists()
    parsed.save(tmp_path)
    assert not (tmp_path / "media.mp4").exists(), "what an earlier run wrote is replaced"


def test_one_path_is_not_a_list_of_paths(parser, clip):
    for path in (clip, str(clip)):
        with pytest.raises(pipeline.PipelineError, match="must be a list of paths"):
            list(parser.parse_many(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(run_folder, tmp_path, value):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = run_folder / "results/models/link/seed0/checkpoint.safetensors"
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    next(iter(weights.values())).view(-1)[0] = value
    save_file(weights, tmp_path / path.name, metadata)
    shutil.copyfile(run_folder / "results/parsing.json", tmp_path / "parsing.json")
    with pytest.raises(pipeline.PipelineError, match="has values that are not finite"):
        pipeline.load_parser(tmp_path)


def test_overlap_and_threshold_can_be_chosen(parser, run_folder, clip):
    assert parser.parse(clip, overlap=0).provenance["windows"] == f"{T} s, 0 s shared"
    with pytest.raises(pipeline.PipelineError, match="overlap is 9 s"):
        parser.parse(clip, overlap=9)
    checkpoint = run_folder / "results/models/link/seed0"
    assert pipeline.load_parser(checkpoint, threshold=0.2).thresholds.chosen == 0.2
    with pytest.raises(pipeline.PipelineError, match=r"between 0 and 1 \(exclusive\)"):
        pipeline.load_parser(checkpoint, threshold=1)


def test_a_broken_video_is_an_error_with_a_status(parser, clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    with pytest.raises(pipeline.ItemError) as error:
        parser.parse(broken)
    assert error.value.status == "not_media"
    with pytest.raises(pipeline.ItemError, match="missing"):
        parser.parse(str(tmp_path / "none.mp4"))
    outcomes = dict(parser.parse_many([broken, str(clip)]))
    assert isinstance(outcomes[broken], pipeline.ItemError)
    assert outcomes[clip].length == T + 3


def test_a_script_needs_no_guard(run_folder, clip, tmp_path):
    """Decode processes do not run the user's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pipeline\n"
        f"parser = pipeline.load_parser({str(run_folder / 'results/models/link/seed0')!r})\n"
        f"print(parser.parse({str(clip)!r}).length)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parents[1])},
        timeout=300,
    )
    assert done.stdout.strip() == str(T + 3), done.stderr


# ---- zero-shot


def test_any_classes_in_words(run_folder, clip):
    config = run_folder / "config.yaml"
    parser = pipeline.zero_shot(["a bell", "rain"], config=config, device="cpu", threshold=0.1)
    assert parser.class_names == ("a_bell", "rain")
    assert parser.thresholds.chosen == 0.1
    parsed = parser.parse(clip)
    assert parsed.provenance["windows"] == f"{T} s, 0 s shared"
    assert pipeline.zero_shot("a bell, rain", config=config).class_names == ("a_bell", "rain")


def test_a_preset_names_the_encoders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipeline.zero_shot(["a dog"], preset="demo").class_names == ("a_dog",)
    with pytest.raises(pipeline.PipelineError, match="'preset' is 'none'; it must be one of demo"):
        pipeline.zero_shot(["a dog"], preset="none")
    with pytest.raises(pipeline.PipelineError, match=r"open_clip_model\.safetensors' is missing"):
        pipeline.zero_shot(["a dog"])  # the published encoders cannot be downloaded here


# ---- features


def test_features_are_read_from_all_shards(tmp_path):
    corpus = write_corpus(tmp_path, make_world(classes=5))
    features = pipeline.read_features(corpus.features / "clap-0123456789")
    assert len(features) == len(features.names) == 48
    assert list(features.names) == sorted(features.names)
    assert features.arrays["embedding"].shape == (48, 10, 32)
    assert features["map"].dtype == np.float32
    assert features.provenance["encoder"] == "clap"
    with pytest.raises(pipeline.PipelineError, match="it must be embedding or map"):
        features["text"]
    with pytest.raises(pipeline.PipelineError, match="name one of clap-0123456789, clip-"):
        pipeline.read_features(corpus.features)


def test_folders_of_features_that_cannot_be_right_are_one_sentence(tmp_path):
    corpus = write_corpus(tmp_path, make_world(classes=5))
    folder = corpus.features / "clap-0123456789"
    one, two = (folder / f"{index}-of-2.safetensors" for index in (1, 2))
    whole = two.read_bytes()
    two.write_bytes(one.read_bytes())
    with pytest.raises(pipeline.PipelineError, match="two shards share 24 videos, the first"):
        pipeline.read_features(folder)
    two.write_bytes(whole)
    shard = read_shard(two)
    for changed, message in (
        ({"meta": {**shard.meta, "fingerprint": "other"}}, "made with 2 different settings"),
        ({"arrays": {**shard.arrays, "map": shard["map"] * np.nan}}, "not finite .*in 'map'"),
        ({"arrays": {"embedding": shard["embedding"]}}, "has no array 'map'"),
        ({"arrays": {**shard.arrays, "map": shard["map"][..., :3]}}, "different shapes in 2"),
    ):
        write_shard(two, replace(shard, **changed))
        with pytest.raises(pipeline.PipelineError, match=message):
            pipeline.read_features(folder)


# ---- evaluation


def labels_of(seed: int, classes: int = 25) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    audio, visual = (random.random((2, 6, 10, classes)) < 0.1).astype(np.uint8)
    return audio, visual


def test_tables_and_arrays_give_the_same_scores(tmp_path, capsys):
    names = [f"{letter * 11}_0_10" for letter in "abcdef"]
    videos = tmp_path / "AVVP_test_pd.csv"
    videos.write_text("filename\tevent_labels\n" + "".join(f"{name}\tDog\n" for name in names))
    arrays = {"truth": labels_of(0), "predicted": labels_of(1)}
    tables: dict[str, tuple[Path, Path]] = {}
    for what, pair in arrays.items():
        tables[what] = tmp_path / f"{what}_audio.csv", tmp_path / f"{what}_visual.csv"
        for path, labels in zip(tables[what], pair, strict=True):
            write_events(path, segments_to_events(labels, names), read_vocabulary())
    of_tables = pipeline.evaluate(videos=videos, **tables)
    words = ["evaluate", "--videos", str(videos), "--out", str(tmp_path / "metrics.json")]
    for what, pair in tables.items():
        words += [f"--{what}-audio", str(pair[0]), f"--{what}-visual", str(pair[1])]
    assert main(words) == 0
    assert json.loads((tmp_path / "metrics.json").read_text()) == of_tables
    mixed = {"truth": tables["truth"], "predicted": arrays["predicted"]}
    for given in (arrays, mixed):
        assert pipeline.evaluate(videos=videos, **given) == of_tables
        found = pipeline.evaluate(videos=names, **given)
        assert found["metrics"] == of_tables["metrics"]
    assert pipeline.evaluate(**arrays)["metrics"] == of_tables["metrics"]
    assert set(of_tables["metrics"]["segment"]) == {
        "audio",
        "visual",
        "audio_visual",
        "type",
        "event",
    }


def test_arrays_that_do_not_fit_are_one_sentence(tmp_path):
    truth, predicted = labels_of(0, 3), labels_of(1, 3)
    names = make_vocabulary(3).names
    assert pipeline.evaluate(truth=truth, predicted=predicted, class_names=names)["videos"] == 6
    with pytest.raises(pipeline.PipelineError, match=r"have 3 classes, .*; pass class_names"):
        pipeline.evaluate(truth=truth, predicted=predicted)
    with pytest.raises(pipeline.PipelineError, match=r"all be \(N, T, C\) with N = 2"):
        pipeline.evaluate(truth=truth, predicted=predicted, videos=["a", "b"], class_names=names)
    table = tmp_path / "events.csv"
    with pytest.raises(pipeline.PipelineError, match="pass videos"):
        pipeline.evaluate(truth=(table, table), predicted=(table, table))
    empty = np.zeros((2, 0, 25))
    with pytest.raises(pipeline.PipelineError, match="N, T and C must be 1 or more"):
        pipeline.evaluate(truth=(empty, empty), predicted=(empty, empty))


def test_predictions_of_other_videos_are_not_scored_as_right(tmp_path):
    table = tmp_path / "events.csv"
    write_events(table, segments_to_events(labels_of(0)[0], list("abcdef")), read_vocabulary())
    with pytest.raises(pipeline.PipelineError, match=r"no event in .* is scored"):
        pipeline.evaluate(videos=["x"], truth=(table, table), predicted=(table, table))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"predicted": lambda pair: [each * 0.3 for each in pair]}, "labels other than 0 and 1"),
        ({"predicted": lambda pair: [each * 255 for each in pair]}, "0 and 1, such as 255"),
        ({"truth": lambda pair: [each * 2.0 - 1 for each in pair]}, "0 and 1, such as -1.0"),
        ({"truth": lambda pair: [each / each for each in pair]}, "not finite .*such as nan"),
        ({"truth": lambda pair: [each.astype(str) for each in pair]}, "values of type <U"),
        ({"truth": lambda pair: [None, None]}, "values of type object"),
        ({"truth": lambda pair: [[[[0]], [[0], [1]]], pair[1]]}, "malformed"),
        ({"truth": lambda pair: pair[0]}, "truth must be two tables or arrays"),
        ({"truth": lambda pair: "events.csv"}, "truth must be two tables or arrays"),
        ({"videos": lambda _: list("aabcde")}, "lists 'a' twice"),
        ({"class_names": lambda _: ["Dog"] * 3}, "must list every class once"),
        ({"class_names": lambda _: "abc"}, "must list every class once"),
        ({"segments": lambda _: 0}, "'segments' is 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_arguments_that_are_not_labels_of_videos_are_one_sentence(changed, message):
    given: dict[str, object] = {"truth": labels_of(0, 3), "predicted": labels_of(1, 3)}
    given |= {"videos": list("abcdef"), "class_names": make_vocabulary(3).names}
    given |= {key: change(given.get(key)) for key, change in changed.items()}
    with pytest.raises(pipeline.PipelineError, match=message) as raised:
        pipeline.evaluate(**given)
    assert "\n" not in str(raised.value)
