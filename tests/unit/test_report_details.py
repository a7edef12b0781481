"""What the report shows of every method: classes, confusions, curves, videos, pairs, headline."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_artifacts import SIZES, VOCABULARY, write_run

from pipeline.core.shards import LABELS_FILE, read_shard, write_shard
from pipeline.data.annotations import Labels
from pipeline.evaluation.evaluate import SplitPredictions
from pipeline.report.artifacts import Artifacts, ReportInputs, read_artifacts
from pipeline.report.browser import DIGITS, MOST_RESULTS, VideoBrowser, find_clips
from pipeline.report.classes import class_scores
from pipeline.report.confusion import class_confusion, modality_confusion
from pipeline.report.curves import THRESHOLDS, curves, precision_recall
from pipeline.report.details import Details, write_details
from pipeline.report.headline import leads
from pipeline.report.methods import MethodPredictions, every_method
from pipeline.report.page import write_report
from pipeline.report.paired import MethodScores, compare_all
from pipeline.report.tables import Score, best_of_columns, result_rows
from pipeline.report.timelines import ranked_timelines


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return write_run(tmp_path_factory.mktemp("run"), seeds=(0, 1))


@pytest.fixture(scope="module")
def artifacts(sources: ReportInputs) -> Artifacts:
    return read_artifacts(sources)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("details")


@pytest.fixture(scope="module")
def details(artifacts: Artifacts, out: Path) -> Details:
    return write_details(artifacts, ranked_timelines(artifacts), out)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def one_video(truth: Labels, predicted: Labels, **given: object) -> MethodPredictions:
    """A method that parsed one test and one validation video, with labels [2, 1, T, C]."""
    parsed = SplitPredictions(("abc_0_4",), truth, predicted)
    values = {"scores": {}, "threshold": 0.5} | given
    return MethodPredictions("m", "M", (0,), {"test": [parsed], "val": [parsed]}, **values)  # type: ignore[arg-type]


# Every method


def test_every_method_can_be_chosen_the_best_first(details: Details, artifacts: Artifacts) -> None:
    assert details.names == ("LINK", "VALOR++", "Pseudo-labels")
    assert artifacts.headline[0].display_name == "LINK"
    assert [each["seeds"] for each in details.methods["methods"]] == [2, 2, 0]


def test_every_table_has_every_method(details: Details, out: Path) -> None:
    everyone = {"link", "valorpp", "pseudo_labels"}
    for name in ("classes", "class_confusion", "modality_confusion", "videos"):
        assert {row["method"] for row in rows_of(out / f"{name}.csv")} == everyone
    for name in ("threshold_sweep", "precision_recall"):
        assert {row["method"] for row in rows_of(out / f"{name}.csv")} == everyone - {
            "pseudo_labels"
        }
    # Annotated events once, predicted ones per method.
    events = rows_of(out / "videos_events.csv")
    assert {row["method"] for row in events if row["kind"] == "truth"} == {""}
    assert {row["method"] for row in events if row["kind"] == "predicted"} == everyone


# Classes


def test_scores_of_a_class_by_hand() -> None:
    truth, predicted = np.zeros((2, 2, 1, 6, 2), np.uint8)
    truth[0, 0, :4, 0] = 1  # 0 to 4 is heard; predicted 1 to 6
    predicted[0, 0, 1:, 0] = 1
    audio, other, *visual = class_scores(one_video(truth, predicted), ("dog", "cat"))
    assert (audio.modality, audio.name, audio.videos, audio.segments) == ("audio", "dog", 1, 4)
    assert (audio.precision, audio.recall) == (60.0, 75.0)
    assert audio.f1 == pytest.approx(100 * 2 * 3 / 9)
    assert audio.low == audio.high == pytest.approx(audio.f1)
    assert audio.event_f1 == 100.0, "3 of 6 seconds are half of the union"
    assert {other.precision, other.recall, other.f1, other.event_f1, other.low} == {None}
    assert {each.segments for each in visual} == {0}


def test_scores_of_classes_are_those_of_the_evaluations(artifacts: Artifacts) -> None:
    method = next(every_method(artifacts))
    found = {(each.modality, each.name): each for each in class_scores(method, VOCABULARY.names)}
    for (modality, name), scores in found.items():
        for level, value in (("segment", scores.f1), ("event", scores.event_f1)):
            by_seed = [
                parser.evaluations["test"]["per_class"][level][modality][name]
                for parser in artifacts.headline
            ]
            known = [f1 for f1 in by_seed if f1 is not None]
            assert value == (pytest.approx(np.mean(known)) if known else None)


# Confusion


def test_a_missed_class_is_taken_for_what_is_wrongly_predicted() -> None:
    truth, predicted = np.zeros((2, 1, 5, 3), np.uint8)
    truth[0, :4, 0] = 1
    predicted[0, 0, 0] = 1  # right
    predicted[0, 1, 1:] = 1  # taken for 1 and 2, a half each
    predicted[0, 2, 1] = 1  # taken for 1; at 3 for nothing
    predicted[0, 4, 2] = 1  # out of nothing
    assert class_confusion(truth, [predicted]).tolist() == [
        [1, 1.5, 0.5, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 0],
    ]


def test_rows_of_a_confusion_add_up_to_the_annotated_seconds(artifacts: Artifacts) -> None:
    method = next(every_method(artifacts))
    parsed = method.by_split["test"]
    counts = class_confusion(parsed[0].truth[0], [each.predicted[0] for each in parsed])
    assert counts[:-1].sum(axis=1) == pytest.approx(parsed[0].truth[0].sum(axis=(0, 1)))


def test_confusion_counts_segments_by_modality() -> None:
    truth, predicted = np.zeros((2, 2, 1, 6, 1), np.uint8)
    truth[0, 0, :4, 0] = 1  # audible at 0 to 4, visible at 3 to 5
    truth[1, 0, 3:5, 0] = 1
    predicted[1, 0, :1, 0] = 1  # visible at 0, audible at 1 and at 4 to 6
    predicted[0, 0, [1, 4, 5], 0] = 1
    audible, visible, both, neither = modality_confusion(truth, [predicted, truth])
    assert audible.tolist() == [(1 + 3) / 2, 1 / 2, 0, 1 / 2]
    assert visible.tolist() == [1 / 2, 1 / 2, 0, 0]
    assert both.tolist() == [0, 0, 1 / 2, 1 / 2]
    assert neither.tolist() == [1 / 2, 0, 0, 0]


# Thresholds


def test_precision_and_recall_by_hand() -> None:
    truth = np.array([1, 1, 0, 0], np.uint8).reshape(1, 4, 1)
    scores = np.array([0.9, 0.3, 0.6, -0.2], np.float32).reshape(1, 4, 1)
    points = {threshold: point for threshold, *point in precision_recall(truth, scores)}
    assert points[0.0] == pytest.approx([100, 200 / 3]), "three of four reach 0"
    assert points[0.5] == [50, 50]
    assert points[0.6] == [50, 50], "inclusive, as the decision is"
    assert points[0.61] == [50, 100]
    assert 0.95 not in points, "nothing is predicted, so there is no precision"
    assert precision_recall(np.zeros_like(truth), scores) == []


def test_the_sweep_passes_through_the_methods_own_score(artifacts: Artifacts) -> None:
    for method in every_method(artifacts):
        found = curves(method)
        if not method.seeds:
            assert found is None
            continue
        assert found is not None
        at_own = THRESHOLDS.index(method.threshold)
        first = artifacts.parsers[method.key][0].evaluations["val"]["metrics"]
        for level, values in found.sweep.items():
            assert values[at_own] == pytest.approx(first[level]["type"])


def test_scores_cover_both_thresholds(sources: ReportInputs, tmp_path: Path) -> None:
    run = write_run(tmp_path, methods={"link": 0.2}, seeds=(0,))
    path = run.models[0] / "link" / "seed0" / "probabilities_val.safetensors"
    shard = read_shard(path)
    gate = np.full_like(shard["gate"], 0.4)
    write_shard(path, replace(shard, arrays={**shard.arrays, "gate": gate}))
    method = next(every_method(read_artifacts(run)))
    assert method.scores["val"].max() == pytest.approx(0.4), "closed gates close every segment"


# Videos


def test_a_video_has_its_bars_and_scores() -> None:
    truth, predicted = np.zeros((2, 2, 1, 4, 3), np.uint8)
    truth[0, 0, 1:3, 0] = predicted[0, 0, [0, 3], 0] = predicted[1, 0, :, 2] = 1
    scores = np.zeros((2, 1, 4, 3), np.float32)
    scores[0, 0, :, 0] = (1, 0, -0.5, 0.5)
    method = one_video(truth, predicted, scores={"test": scores})
    browser = VideoBrowser(["abc_0_4"], 1, ("Dog", "Cat_s", "Owl"), {})
    browser.add(replace(method, by_split={"test": method.by_split["test"], "val": [EMPTY]}))
    data = browser.data()
    assert (data["seconds"], data["classes"]) == (4, ["Dog", "Cat s", "Owl"])
    assert data["videos"] == [["abc_0_4", "test", [0, 0, 1, 3], None]]
    [[segment, event, bars, traces]] = data["results"][0]["videos"]
    assert (segment, event) == (pytest.approx(100 / 3, abs=0.1), pytest.approx(100 / 3, abs=0.1))
    assert bars == [0, 0, 0, 1, 0, 0, 3, 4, 1, 2, 0, 4]
    assert traces == [DIGITS[-1] + "00" + DIGITS[30], "0000"]


EMPTY = SplitPredictions(("def_0_4",), *np.zeros((2, 2, 1, 4, 3), np.uint8))


def test_a_page_of_many_videos_has_an_even_sample() -> None:
    names = [f"v{index}_0_4" for index in range(MOST_RESULTS)]
    browser = VideoBrowser(names, 10, ("Dog",), {})
    assert (browser.data()["total"], len(browser.data()["videos"])) == (MOST_RESULTS, 2000)


def test_clips_are_those_whose_files_are_there(sources: ReportInputs, tmp_path: Path) -> None:
    videos, page = tmp_path / "my videos#1", tmp_path / "results" / "report"
    videos.mkdir()
    name = next(iter(read_artifacts(sources).split_names["test"]))
    (videos / f"{name}.mp4").write_bytes(b"a clip")
    given = replace(sources, videos=videos)
    clips = find_clips(given, page)
    assert list(clips) == [name]
    assert clips[name].url == f"../../my%20videos%231/{name}.mp4"
    assert (clips[name].start, clips[name].end) == (0, 10)
    settings = {"configuration": {"dataset": {"untrimmed": True}}}
    identity = name.rsplit("_", 2)[0]
    (videos / f"{name}.mp4").rename(videos / f"{identity}.mp4")
    whole = find_clips(replace(given, settings=settings), page)
    assert (whole[name].start, whole[name].end) == tuple(map(float, name.rsplit("_", 2)[1:]))
    assert find_clips(replace(sources, videos=tmp_path / "gone"), page) == {}


# Pairs, headline, bold


def test_methods_are_compared_on_the_videos_that_they_share() -> None:
    better = MethodScores("better", ("a", "b", "c"), np.full((1, 2, 3), 80.0))
    worse = MethodScores("worse", ("b", "c", "d"), np.full((1, 2, 3), 50.0))
    found = compare_all([worse, better])
    assert found is not None
    assert (found.names, found.videos) == (("better", "worse"), 2)
    [(name, pairs)] = found.of_best()
    assert (name, [pair.difference for pair in pairs]) == ("worse", [30, 30])
    assert found.interval("event", "worse", "better") == "-30.0 to -30.0"
    assert found.interval("event", "worse", "nobody") == ""
    assert compare_all([better]) is None


def test_the_headline_names_the_best_and_the_runner_up(
    artifacts: Artifacts, details: Details
) -> None:
    rows = result_rows(artifacts, "test")
    scores = {row.name: row.scores["segment"]["type"].mean for row in rows}
    segment, event = leads(rows, details.pairs)
    assert (segment.level, segment.name, event.level) == ("segment", "LINK", "event")
    gap = scores["LINK"] - scores["VALOR++"]
    assert re.match(rf"{gap:.1f} above VALOR\+\+ \({scores['VALOR++']:.1f}\); ", segment.against[0])
    assert segment.against[1].endswith(f"Pseudo-labels ({scores['Pseudo-labels']:.1f})")


def test_the_best_of_each_column_is_marked_with_ties() -> None:
    unknown = Score(float("nan"))
    rows = [
        [Score(50.04), Score(1.0), unknown],
        [Score(49.96), Score(2.0), unknown],
        [Score(49.9), unknown, Score(3.0)],
    ]
    assert best_of_columns(rows) == [
        [True, False, False],
        [True, True, False],
        [False, False, False],
    ], "equal as shown is equal; a value without rivals is not the best"
    assert best_of_columns([]) == []


def test_bold_is_the_best_whatever_the_method(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", methods={"link": 0.5, "valorpp": 0.02}, seeds=(0,))
    write_report(run, tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    table = page.partition('id="table-test"')[2].partition("</table>")[0]
    bold = {
        name: row.count('best"')
        for name, row in re.findall(r'"row" class="text">([^<]+)</th>(.*?)</tr>', table, re.DOTALL)
    }
    assert bold == {
        "Pseudo-labels": 0,
        "Pseudo-labels, masked (oracle)": 0,
        "VALOR++": 10,
        "LINK": 0,
    }
    lines = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    assert [line.count("**") for line in lines if line.startswith("| LINK")] == [0, 0]


# Names of classes


@pytest.mark.parametrize(
    "names",
    [["c" * 80, "a", "b"], ["狗叫" * 20, "कुत्ते_का_भौंकना", "เสียงสุนัขเห่า"], ['"a"', "b's", "c"]],
    ids=["long", "scripts", "quotes"],
)
def test_classes_may_have_any_name(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import report_artifacts
    import yaml

    from pipeline.core.vocabulary import read_vocabulary

    values = {"visual_caption": "a", "audio_caption": "b"}
    values |= {"visual_threshold": 1.0, "audio_threshold": 1.0}  # type: ignore[dict-item]
    vocabulary = tmp_path / "vocabulary.yaml"
    classes = [{"name": name, **values} for name in names]
    vocabulary.write_text(yaml.safe_dump({"classes": classes}, allow_unicode=True), "utf-8")
    monkeypatch.setattr(report_artifacts, "VOCABULARY", read_vocabulary(vocabulary))
    run = replace(write_run(tmp_path, {"link": 0.2}, (0,)), vocabulary=vocabulary)
    write_report(run, tmp_path / "out")
    data = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    shown = json.loads(re.search(r'id="details-data">(.*?)</script>', data, re.DOTALL)[1])  # type: ignore[index]
    assert shown["classes"] == [each["name"].replace("_", " ") for each in classes]
    assert {row["name"] for row in rows_of(tmp_path / "out" / "classes.csv")} == {
        each["name"] for each in classes
    }
    svg = (tmp_path / "out" / "timeline.svg").read_text(encoding="utf-8")
    drawn = re.findall(r">([^<>\n]+)</text>", svg)
    assert not any(len(text) > 30 for text in drawn), "shortened"
    left = [float(x) for x in re.findall(r'<text[^>]*x="(-?[\d.]+)"', svg)]
    assert all(x >= 0 for x in left)


def test_quotes_in_the_projects_tables_are_read_as_they_were_written(tmp_path: Path) -> None:
    from pipeline.core.files import write_tsv
    from pipeline.report.artifacts import read_tsv

    write_tsv(tmp_path / "t.tsv", ["class", "audio"], [['Sp"eech', 1.5]])
    assert read_tsv(tmp_path / "t.tsv") == [{"class": 'Sp"eech', "audio": "1.5"}]


def test_a_run_whose_only_labels_are_masked_has_them_as_a_method(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"link": 0.2}, (0,))
    path = run.pseudo_labels / LABELS_FILE
    shard = read_shard(path)
    masked = {f"{modality}_masked": shard[modality] for modality in ("audio", "visual")}
    write_shard(path, replace(shard, arrays=masked))
    *_, labels = every_method(read_artifacts(run))
    assert labels.name == "Pseudo-labels, masked (oracle)"
    assert labels.by_split["test"][0].truth.shape[1] == SIZES["test"] - 1
