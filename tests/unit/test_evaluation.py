import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline.cli import main
from pipeline.core.errors import PipelineError, Status
from pipeline.core.shards import Shard, StatusRow, write_shard, write_status
from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotations import (
    EVENT_TABLES,
    SPLIT_TABLES,
    EventRow,
    events_to_segments,
    read_events,
    read_names,
    read_weak_labels,
    weak_matrix,
    write_events,
)
from pipeline.evaluation.coverage import ParsedVideos
from pipeline.evaluation.evaluate import evaluate_arrays, evaluate_labels, summary
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.evaluation.sources import evaluate_events

DATA = Path(__file__).parent / "data"
VOCABULARY = read_vocabulary()
DOG, SPEECH = VOCABULARY.index("Dog"), VOCABULARY.index("Speech")


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """Two videos; the audio is predicted in part, nothing is predicted or annotated as visible."""
    (tmp_path / "AVVP_test_pd.csv").write_text("filename\tevent_labels\na\tDog\n-b\tSpeech\n")
    paths = {"videos": tmp_path / "AVVP_test_pd.csv", "out": tmp_path / "out" / "metrics.json"}
    events = {
        "truth-audio": [
            EventRow("a", 0, 4, DOG),
            EventRow("-b", 0, 10, SPEECH),
            EventRow("c", 0, 1, DOG),
        ],
        "truth-visual": [],
        "predicted-audio": [EventRow("a", 0, 1, DOG), EventRow("-b", 0, 10, SPEECH)],
        "predicted-visual": [],
    }
    for key, rows in events.items():
        paths[key] = tmp_path / f"{key}.csv"
        write_events(paths[key], rows, VOCABULARY)
    return paths


def evaluate(paths: dict[str, Path], *more: str) -> int:
    words = [f"--{key}={path}" for key, path in paths.items()]
    return main(["evaluate", *words, *more])


def test_the_command_writes_and_prints_the_scores(
    tables: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tables) == 0
    evaluation = json.loads(tables["out"].read_text())
    keys = ["split", "videos", "metrics", "intervals", "per_class", "unscored"]
    assert list(evaluation) == keys
    assert evaluation["split"] == "test_pd"
    assert evaluation["videos"] == 2
    assert list(evaluation["metrics"]) == list(evaluation["intervals"]) == list(LEVELS)
    segment, event = evaluation["metrics"]["segment"], evaluation["metrics"]["event"]
    assert list(segment) == list(METRICS)
    assert segment["audio"] == pytest.approx(100 * (2 * 1 / 5 + 1) / 2)
    assert event["audio"] == pytest.approx(50)
    assert segment["visual"] == event["audio_visual"] == 100
    assert evaluation["intervals"]["event"]["audio"] == [0, 100]
    audio = evaluation["per_class"]["segment"]["audio"]
    assert tuple(audio) == VOCABULARY.names
    assert audio["Dog"] == pytest.approx(40)
    assert audio["Speech"] == 100
    assert audio["Car"] is None
    assert summary(evaluation) in capsys.readouterr().out


def test_other_segment_counts(tables: dict[str, Path]) -> None:
    assert evaluate(tables, "--segments=1") == 0
    assert json.loads(tables["out"].read_text())["metrics"]["segment"]["audio"] == 100


def test_predicted_events_of_other_videos_are_ignored_with_a_warning(
    tables: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    truth, predicted = (
        tuple(tables[f"{side}-{modality}"] for modality in EVENT_TABLES)
        for side in ("truth", "predicted")
    )
    alone = evaluate_events(tables["videos"], truth, predicted, VOCABULARY)
    stranger = {"audio": {"unknown_video": {"events": 1, "video": "c"}}}
    assert alone["unscored"] == {"truth": stranger}, "other splits' annotations are usual"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    events = [*read_events(predicted[0], VOCABULARY), EventRow("zz", 0, 9, DOG)]
    write_events(predicted[0], events, VOCABULARY)
    found = evaluate_events(tables["videos"], truth, predicted, VOCABULARY)
    assert found.pop("unscored")["predicted"]["audio"]["unknown_video"]["video"] == "zz"
    del alone["unscored"]
    assert found == alone
    assert "1 of 3 events" in caplog.text
    assert "such as Dog 0 to 9 of 'zz'" in caplog.text


NOWHERE = [
    ("videos of a minute", [EventRow("a", 20, 30, SPEECH), EventRow("-b", 40, 50, DOG)]),
    ("other names", [EventRow("a.mp4", 2, 3, SPEECH), EventRow("b.mp4", 4, 5, DOG)]),
    ("before 0", [EventRow("a", -4, -2, DOG)]),
    ("no whole second", [EventRow("a", 3.2, 3.9, DOG), EventRow("-b", 7, 4, DOG)]),
]


@pytest.mark.parametrize("side", ["truth", "predicted"])
@pytest.mark.parametrize("events", [case[1] for case in NOWHERE], ids=[case[0] for case in NOWHERE])
def test_events_of_which_none_is_scored_are_refused(
    side: str, events: list[EventRow], tables: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_events(tables[f"{side}-audio"], events, VOCABULARY)
    assert evaluate(tables) == 2
    said = capsys.readouterr().err
    assert f"no event in '{tables[f'{side}-audio']}' is scored" in said
    assert "the first is 'a'" in said
    assert "a video has 10 segments" in said
    assert not tables["out"].exists()


@pytest.mark.parametrize("side", ["truth", "predicted"])
def test_every_event_that_is_not_scored_is_counted_and_named(
    side: str, tables: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    pair = [tables[f"{side}-{modality}"] for modality in EVENT_TABLES]
    scored = [EventRow("a", 0, 4, DOG), EventRow("-b", -3, 1, SPEECH), EventRow("-b", 8, 25, DOG)]
    lost = [EventRow("a", -4, -2, DOG), EventRow("a", 10, 12, DOG), EventRow("a", 5, 5, DOG)]
    for path in pair:
        write_events(path, [*scored, *lost, EventRow("zz", 0, 1, DOG)], VOCABULARY)
    other = [tables[f"{'truth' if side == 'predicted' else 'predicted'}-{m}"] for m in EVENT_TABLES]
    inside = [EventRow("a", 0, 4, DOG), EventRow("-b", 0, 1, SPEECH), EventRow("-b", 8, 10, DOG)]
    for path in other:
        write_events(path, inside, VOCABULARY)
    sides = {"truth": pair, "predicted": other} if side == "truth" else {}
    sides = sides or {"truth": other, "predicted": pair}
    found = evaluate_events(
        tables["videos"], tuple(sides["truth"]), tuple(sides["predicted"]), VOCABULARY
    )
    assert {value for level in found["metrics"].values() for value in level.values()} == {100.0}
    counts = {
        "unknown_video": {"events": 1, "video": "zz"},
        "sets_nothing": {"events": 1, "video": "a"},
        "outside_window": {"events": 2, "video": "a"},
        "cut_event": {"events": 2, "video": "-b"},
    }
    assert found["unscored"] == {side: {"audio": counts, "visual": counts}}
    assert "2 of 7 events" in caplog.text
    assert "scored in part (cut_event: that are cut" in caplog.text
    assert "such as Dog -4 to -2 of 'a'" in caplog.text


def test_corrections_outside_the_segments_are_counted(
    tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "corrections"
    folder.mkdir()
    write_events(folder / EVENT_TABLES["audio"], [EventRow("a", 12, 14, DOG)], VOCABULARY)
    assert evaluate(tables, f"--corrections={folder}") == 0
    found = json.loads(tables["out"].read_text())["unscored"]["corrected"]
    assert found == {"audio": {"outside_window": {"events": 1, "video": "a"}}}
    assert "1 of 1 event in" in capsys.readouterr().err


def test_mistakes_exit_with_2_and_one_sentence(
    tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def complaint(*more: str, **changed: Path) -> str:
        paths = tables | {key.replace("_", "-"): path for key, path in changed.items()}
        assert evaluate(paths, *more) == 2
        return capsys.readouterr().err

    strangers = tmp_path / "strangers.csv"
    write_events(strangers, [EventRow("01234567890", 0, 9, DOG)], VOCABULARY)
    assert "'01234567890'" in complaint(predicted_visual=strangers)
    empty = tmp_path / "AVVP_none.csv"
    empty.write_text("filename\n")
    assert "lists no video" in complaint(videos=empty)
    assert "no such file" in complaint(truth_audio=tmp_path / "absent.csv")
    with pytest.raises(SystemExit):
        complaint("--segments=0")
    assert "--segments: 0 is given; it must be greater than or" in capsys.readouterr().err
    assert not tables["out"].exists()


def test_arrays_may_be_stacked() -> None:
    random = np.random.default_rng(0)
    truth, predicted = (random.random((2, 3, 10, 25)) < 0.3 for _ in range(2))
    names = ["a", "b", "c"]
    stacked = evaluate_arrays("val", names, truth, predicted, VOCABULARY)
    assert stacked == evaluate_arrays("val", names, tuple(truth), tuple(predicted), VOCABULARY)
    with pytest.raises(ValueError, match="have length 3, but names 2"):
        evaluate_arrays("val", names[:2], truth, predicted, VOCABULARY)


@pytest.mark.parametrize("case", ["val_perfect", "val_moderate"])
def test_reference_predictions(
    case: str, llp_tables: Path, reference_predictions: Path, tmp_path: Path
) -> None:
    paths = {"videos": llp_tables / SPLIT_TABLES["val"], "out": tmp_path / "metrics.json"}
    folder = reference_predictions / case
    for modality, file in EVENT_TABLES.items():
        paths[f"truth-{modality}"] = llp_tables / file
        paths[f"predicted-{modality}"] = folder / f"predicted_{modality}.csv"
    assert evaluate(paths) == 0
    evaluation = json.loads(paths["out"].read_text())
    expected = json.loads((folder / "expected.json").read_text())
    assert {key: evaluation[key] for key in ("split", "videos")} == {
        key: expected[key] for key in ("split", "videos")
    }
    for level in LEVELS:
        assert evaluation["metrics"][level] == pytest.approx(expected["metrics"][level], abs=1e-9)


# Golden numbers: A V AV Type Event at segment level, then at event level, computed from LLP's
# corrected tables with the published evaluator.
NOTHING = {
    "test": "0.50 10.08 14.50 8.36 0.00 | 0.50 10.08 14.50 8.36 0.00",
    "val": "0.62 10.79 14.33 8.58 0.00 | 0.62 10.79 14.33 8.58 0.00",
}
GOLDEN = {
    ("test", "weak"): "76.12 60.35 52.61 63.03 71.73 | 63.03 55.75 44.69 54.49 61.60",
    ("test", "weak_old"): "76.08 60.35 52.61 63.01 71.70 | 63.03 55.75 44.69 54.49 61.60",
    ("test", "weak_audio"): "76.12 10.08 14.50 33.57 58.59 | 63.03 10.08 14.50 29.20 46.45",
    ("test", "weak_visual"): "0.50 60.35 14.50 25.12 43.15 | 0.50 55.75 14.50 23.58 36.92",
    ("test", "nothing"): NOTHING["test"],
    ("test", "audio"): "100.00 57.40 63.89 73.76 81.36 | 100.00 52.85 62.62 71.82 79.87",
    ("test", "visual"): "57.40 100.00 86.33 81.24 63.90 | 52.85 100.00 81.42 78.09 61.14",
    ("test", "truth_and_weak"): "99.08 98.83 99.36 99.09 98.83 | 99.08 98.83 99.36 99.09 98.83",
    ("test", "spread"): "80.14 89.80 82.78 84.24 81.96 | 66.11 83.69 71.41 73.74 68.27",
    ("test", "speech"): "16.56 4.07 4.27 8.30 10.65 | 9.31 2.35 2.39 4.68 6.33",
    ("test", "old"): "99.96 100.00 99.99 99.98 99.96 | 99.95 100.00 99.98 99.98 99.95",
    ("val", "weak"): "77.07 58.65 52.07 62.60 71.53 | 63.85 53.48 44.15 53.82 61.12",
    ("val", "nothing"): NOTHING["val"],
    ("val", "audio"): "100.00 57.29 62.83 73.37 82.24 | 100.00 52.65 61.22 71.29 80.44",
    ("val", "visual"): "57.29 100.00 88.47 81.92 62.71 | 52.65 100.00 83.97 78.87 60.10",
    ("val", "truth_and_weak"): "98.36 98.74 98.97 98.69 98.36 | 98.36 98.74 98.97 98.69 98.36",
    ("val", "spread"): "81.10 89.35 83.25 84.57 82.58 | 67.12 82.35 71.83 73.77 68.49",
    ("val", "speech"): "19.12 4.45 4.66 9.41 12.76 | 11.86 2.41 2.54 5.61 8.19",
}


def truth_and_prediction(
    split: str, kind: str, llp: Path, old_audio_table: Path
) -> tuple[list[str], np.ndarray, np.ndarray]:
    names = read_names(llp / SPLIT_TABLES[split])
    audio, visual, old = (
        events_to_segments(read_events(path, VOCABULARY), names, 10, 25)
        for path in (*(llp / file for file in EVENT_TABLES.values()), old_audio_table)
    )
    weak_labels = read_weak_labels(llp / SPLIT_TABLES[split], VOCABULARY)
    weak = np.broadcast_to(weak_matrix(weak_labels, names, 25)[:, None], audio.shape)
    none, speech = np.zeros_like(audio), np.zeros_like(audio)
    speech[:, :, SPEECH] = 1
    truth = np.stack([audio, visual])
    everywhere = np.broadcast_to(truth.max(axis=2, keepdims=True), truth.shape)
    predicted = {
        "weak": (weak, weak),
        "weak_old": (weak, weak),
        "weak_audio": (weak, none),
        "weak_visual": (none, weak),
        "nothing": (none, none),
        "audio": (audio, audio),
        "visual": (visual, visual),
        "truth_and_weak": (audio & weak, visual & weak),
        "spread": everywhere,
        "speech": (speech, speech),
        "old": (old, visual),
    }[kind]
    if kind == "weak_old":
        truth = np.stack([old, visual])
    return names, truth, np.stack(predicted)


@pytest.mark.parametrize(("split", "kind"), GOLDEN)
def test_golden_numbers(split: str, kind: str, llp_tables: Path, old_audio_table: Path) -> None:
    names, truth, predicted = truth_and_prediction(split, kind, llp_tables, old_audio_table)
    evaluation = evaluate_arrays(split, names, truth, predicted, VOCABULARY)
    assert golden_row(evaluation) == GOLDEN[split, kind]


def golden_row(evaluation: dict[str, Any]) -> str:
    metrics = evaluation["metrics"]
    rows = [" ".join(f"{metrics[level][metric]:.2f}" for metric in METRICS) for level in LEVELS]
    return " | ".join(rows)


# ---- coverage


# The same for the test videos of which one author still had 1,108 in February 2026: the parsed ones
# alone, all with the others empty, and the others alone.
GOLDEN_SUBSET = {
    ("weak", "report"): "75.72 60.08 52.02 62.61 71.52 | 62.63 55.41 44.13 54.06 61.33",
    ("weak", "empty"): "69.91 55.89 48.61 58.14 66.04 | 57.83 51.58 41.33 50.25 56.63",
    ("weak", "others"): "80.93 63.59 59.73 68.08 74.19 | 67.75 59.84 51.42 59.67 64.82",
    ("nothing", "report"): "0.54 10.47 15.07 8.69 0.00 | 0.54 10.47 15.07 8.69 0.00",
    ("nothing", "empty"): NOTHING["test"],
}


@pytest.mark.parametrize(("kind", "missing"), GOLDEN_SUBSET)
def test_golden_numbers_of_a_subset(
    kind: str, missing: str, llp_tables: Path, old_audio_table: Path
) -> None:
    names, truth, predicted = truth_and_prediction("test", kind, llp_tables, old_audio_table)
    lines = (DATA / "llp_test_videos_missing_2026.txt").read_text().splitlines()
    ids = {line for line in lines if not line.startswith("#")}
    unparsed = {name for name in names if name[:11] in ids}
    assert len(ids) == len(unparsed) == 92
    parsed = unparsed if missing == "others" else set(names) - unparsed
    predicted = predicted * np.array([name in parsed for name in names])[:, None, None]
    policy = "report" if missing == "others" else missing
    evaluation = evaluate_labels(
        "test", names, truth, predicted, VOCABULARY, ParsedVideos.of(parsed, policy)
    )
    assert golden_row(evaluation) == GOLDEN_SUBSET[kind, missing]
    assert evaluation["coverage"] == {"listed": 1200, "parsed": len(parsed), "missing": policy}
    said = {
        "report": "test, 1,108 of 1,200 videos, ",
        "empty": "test, 1,200 videos, 92 of them not parsed and scored as without events, ",
        "others": "test, 92 of 1,200 videos, ",
    }
    assert summary(evaluation).startswith(said[missing])


@pytest.fixture
def half_parsed(tables: dict[str, Path]) -> dict[str, Path]:
    """The tables of three videos, of which the last was not parsed and a parsed one is silent."""
    tables["videos"].write_text("filename\na\n-b\nc\n")
    write_events(tables["predicted-audio"], [EventRow("-b", 0, 10, SPEECH)], VOCABULARY)
    tables["predicted-videos"] = tables["videos"].with_name("parsed.tsv")
    tables["predicted-videos"].write_text("filename\na\n-b\nother\n")
    return tables


def scored(paths: dict[str, Path], *more: str) -> dict[str, Any]:
    assert evaluate(paths, *more) == 0
    evaluation: dict[str, Any] = json.loads(paths["out"].read_text())
    return evaluation


def test_an_unparsed_video_is_refused_reported_or_empty(
    half_parsed: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(half_parsed) == 2
    said = capsys.readouterr().err
    assert "1 of the 3 listed videos was not parsed, the first is 'c'" in said
    assert "\n" not in said.strip()
    assert not half_parsed["out"].exists()

    reported = scored(half_parsed, "--missing=report")
    assert reported["metrics"]["segment"]["audio"] == pytest.approx(50), "-b, and not a"
    assert (reported["videos"], reported["coverage"]["listed"]) == (2, 3)
    assert "test_pd, 2 of 3 videos, F1" in capsys.readouterr().out

    empty = scored(half_parsed, "--missing=empty")
    assert empty["metrics"]["segment"]["audio"] == pytest.approx(100 / 3)
    assert empty["coverage"] == {"listed": 3, "parsed": 2, "missing": "empty"}
    assert "3 videos, 1 of them not parsed and scored as without" in capsys.readouterr().out

    del half_parsed["predicted-videos"]
    unknown = scored(half_parsed)
    assert unknown == {key: value for key, value in empty.items() if key != "coverage"}
    assert evaluate(half_parsed, "--missing=report") == 2
    assert "add --predicted-videos" in capsys.readouterr().err


def test_where_the_parsed_videos_are_listed(half_parsed: dict[str, Path]) -> None:
    expected = scored(half_parsed, "--missing=report")
    folder = half_parsed["videos"].parent
    status = folder / "status.tsv"
    rows = [StatusRow(name, name != "c", Status.OK) for name in ("a", "-b", "c")]
    write_status(status, rows)
    shard = folder / "probabilities_test.safetensors"
    write_shard(shard, Shard(("a", "-b"), {"audio": np.zeros((2, 10, 25), np.float32)}))
    for source in (status, shard):
        paths = half_parsed | {"predicted-videos": source}
        assert scored(paths, "--missing=report") == expected


def test_predictions_of_unparsed_videos_and_foreign_lists_are_refused(
    half_parsed: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    half_parsed["predicted-videos"].write_text("filename\na\n")
    assert evaluate(half_parsed, "--missing=empty") == 2
    assert "'-b' has predicted events but is not among" in capsys.readouterr().err
    half_parsed["predicted-videos"].write_text("filename\nother\n")
    assert evaluate(half_parsed, "--missing=empty") == 2
    assert "no listed video is among" in capsys.readouterr().err


def test_the_api_scores_subsets_of_tables_and_arrays(half_parsed: dict[str, Path]) -> None:
    pairs = {
        side: tuple(half_parsed[f"{side}-{modality}"] for modality in EVENT_TABLES)
        for side in ("truth", "predicted")
    }
    arrays = {
        side: tuple(
            events_to_segments(read_events(path, VOCABULARY), ["a", "-b", "c"], 10, 25)
            for path in pair
        )
        for side, pair in pairs.items()
    }
    for sources in (pairs, arrays):
        given = {"videos": half_parsed["videos"], "predicted_videos": ["-b", "a"]} | sources
        with pytest.raises(PipelineError, match="the first is 'c'"):
            pipeline.evaluate(**given)
        for missing in ("report", "empty"):
            found = pipeline.evaluate(**given, missing=missing)
            assert found == scored(half_parsed, f"--missing={missing}")
    with pytest.raises(PipelineError, match="it must be one of error, report, empty"):
        pipeline.evaluate(**given, missing="skip")


# ---- corrections


HEADER = "filename\tonset\toffset\tevent_labels\n"


@pytest.fixture
def corrections(tables: dict[str, Path]) -> Path:
    """Corrections of the audio of one video, and of a video without audible events."""
    folder = tables["videos"].with_name("corrections")
    folder.mkdir()
    tables["videos"].write_text("filename\na\n-b\nc\n")
    (folder / EVENT_TABLES["audio"]).write_text(f"{HEADER}a\t0\t1\tDog\nc\t\t\t\n")
    return folder


def test_corrections_give_a_second_evaluation(
    tables: dict[str, Path], corrections: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in tables["videos"].parent.glob("*.csv")}
    alone = scored(tables)
    both = scored(tables, f"--corrections={corrections}")
    corrected = both.pop("corrected")
    assert both == alone
    assert alone["metrics"]["segment"]["audio"] == pytest.approx((40 + 100 + 0) / 3)
    assert corrected["metrics"]["segment"]["audio"] == 100, "a, -b, and c without events"
    assert corrected["metrics"]["segment"]["visual"] == alone["metrics"]["segment"]["visual"]
    assert corrected["replaced"] == {"audio": 2, "visual": 0}
    assert list(corrected["tables"]) == [EVENT_TABLES["audio"]]
    assert {path: path.read_bytes() for path in before} == before
    said = capsys.readouterr().out
    assert "with corrected annotations (audio of 2 videos, visual of 0 videos)\n" in said
    pairs = {
        side: tuple(tables[f"{side}-{modality}"] for modality in EVENT_TABLES)
        for side in ("truth", "predicted")
    }
    arrays = {
        "truth": tuple(
            events_to_segments(read_events(path, VOCABULARY), ["a", "-b", "c"], 10, 25)
            for path in pairs["truth"]
        )
    }
    for sources in (pairs, pairs | arrays):
        found = pipeline.evaluate(videos=tables["videos"], **sources, corrections=corrections)
        assert found == both | {"corrected": corrected}


def test_corrections_of_a_subset(tables: dict[str, Path], corrections: Path) -> None:
    parsed = tables["videos"].with_name("parsed.tsv")
    parsed.write_text("filename\na\n-b\n")
    words = f"--corrections={corrections}", f"--predicted-videos={parsed}", "--missing=report"
    corrected = scored(tables, *words)["corrected"]
    assert (corrected["videos"], corrected["replaced"]["audio"]) == (2, 1)


def test_mistakes_in_corrections_are_one_sentence(
    tables: dict[str, Path],
    corrections: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def complaint(rows: str) -> str:
        (corrections / EVENT_TABLES["audio"]).write_text(HEADER + rows)
        assert evaluate(tables, f"--corrections={corrections}") == 2
        return capsys.readouterr().err

    assert "line 2: offset must be a number" in complaint("a\t0\t\tDog\n")
    assert "line 2: " in complaint("a\t0\t1\tDogg\n")
    assert "both with and without events" in complaint("a\t\t\t\na\t0\t1\tDog\n")
    assert "both with and without events" in complaint("a\t0\t1\tDog\na\t\t\t\n")
    assert "corrects no video of" in complaint("aa\t0\t1\tDog\n")
    assert "corrects no video of" in complaint("")
    (corrections / EVENT_TABLES["audio"]).write_text(f"{HEADER}a\t0\t1\tDog\naa\t0\t1\tDog\n")
    assert evaluate(tables, f"--corrections={corrections}") == 0
    assert "corrections of 1 of 2 videos" in capsys.readouterr().err
    (corrections / EVENT_TABLES["audio"]).unlink()
    assert evaluate(tables, f"--corrections={corrections}") == 2
    assert "has no corrections; it must contain AVVP_eval_audio.csv or" in capsys.readouterr().err


# ---- a trained parser's predictions


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of annotations, and a model's folder with the predictions of its videos."""
    annotations, folder = tmp_path / "annotations", tmp_path / "model"
    names = {"train": "t_0_10", "val": "v_0_10", "test": "e_0_10"}
    for split, table in SPLIT_TABLES.items():
        annotations.mkdir(exist_ok=True)
        (annotations / table).write_text(f"filename\tevent_labels\n{names[split]}\tDog\n")
    events = [EventRow("v_0_10", 0, 4, DOG), EventRow("e_0_10", 2, 12, DOG)]
    for modality, table in EVENT_TABLES.items():
        write_events(annotations / table, [*events, EventRow("zz", 0, 1, DOG)], VOCABULARY)
        for split in ("val", "test"):
            of_split = [event for event in events if event.filename == names[split]]
            write_events(folder / f"predicted_{split}_{modality}.csv", of_split, VOCABULARY)
            shard = Shard((names[split],), {"audio": np.zeros((1, 10, 25), np.float32)})
            write_shard(folder / f"probabilities_{split}.safetensors", shard)
    return annotations, folder


def test_a_models_metrics_count_what_is_in_neither_scored_split(
    model: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--annotations={model[0]}", f"--model={model[1]}"]
    assert main(["evaluate-model", *words]) == 0
    found = json.loads((model[1] / "metrics.json").read_text())
    unknown, cut = {"events": 1, "video": "zz"}, {"events": 1, "video": "e_0_10"}
    both = {"audio": {"unknown_video": unknown}, "visual": {"unknown_video": unknown}}
    assert found["val"]["unscored"] == {"truth": both}, "the other split's events are its own"
    assert found["test"]["unscored"]["truth"]["audio"] == {
        "unknown_video": unknown,
        "cut_event": cut,
    }
    assert found["test"]["unscored"]["predicted"]["visual"] == {"cut_event": cut}
    assert found["test"]["metrics"]["segment"]["type"] == 100
    assert "cut_event: that are cut" in capsys.readouterr().err


def test_predictions_of_videos_that_the_table_lacks_are_refused(
    model: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--annotations={model[0]}", f"--model={model[1]}"]
    (model[0] / SPLIT_TABLES["val"]).write_text("filename\tevent_labels\nother_0_10\tDog\n")
    (model[0] / SPLIT_TABLES["test"]).write_text("filename\ne_0_10\nv_0_10\n")
    assert main(["evaluate-model", *words]) == 2
    said = capsys.readouterr().err
    assert "1 of 1 val videos parsed" in said
    assert "the first is 'v_0_10'" in said
    assert not (model[1] / "metrics.json").exists()
