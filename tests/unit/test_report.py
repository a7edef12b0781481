import csv
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from markupsafe import escape
from report_artifacts import HOSTILE, PUBLISHED, SIZES, write_run
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.cli import main
from pipeline.core.errors import PipelineError, Status
from pipeline.core.shards import (
    CHECKPOINT_FILE,
    CHECKPOINT_HEADER,
    LABELS_FILE,
    StatusRow,
    read_shard,
    write_shard,
)
from pipeline.data.download.history import HISTORY_FILE, DownloadHistory, HistoryRow
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.recipes.base import CALIBRATED
from pipeline.parsers.registry import recipe_for
from pipeline.report.artifacts import Artifacts, ReportInputs, read_artifacts
from pipeline.report.details import write_details
from pipeline.report.learned import learned_plots
from pipeline.report.page import write_report
from pipeline.report.plots import pseudo_label_plots, training_plots
from pipeline.report.provenance import PROVENANCE_FILE, read_costs
from pipeline.report.published import read_published
from pipeline.report.quality import data_quality, read_findings, worst_rows
from pipeline.report.tables import (
    HOW_CALIBRATED,
    Score,
    markdown,
    result_rows,
)
from pipeline.report.timelines import (
    TIMELINE_FILE,
    TimelinePlot,
    ranked_timelines,
    showcase,
    timeline_svg,
)
from pipeline.report.titles import LLP
from pipeline.report.trained import GATES, TrainedParser

BEFORE_AND_AFTER = ("before_calibration", "pseudo_labels")
VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def artifacts(sources: ReportInputs) -> Artifacts:
    return read_artifacts(sources)


@pytest.fixture(scope="module")
def out(sources: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(sources, folder)
    return folder


@pytest.fixture(scope="module")
def llp(sources: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llp")
    write_report(replace(sources, dataset=LLP), folder)
    return folder


class Page(HTMLParser):
    """Elements of a page as (tag, attributes), and whether every one is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, *tags: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.elements if tag in tags)


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


# Tables


def test_a_row_is_mean_and_sample_deviation_over_seeds(artifacts: Artifacts) -> None:
    row = next(row for row in result_rows(artifacts, "test") if row.name == "LINK")
    values = [
        parser.evaluations["test"]["metrics"]["event"]["visual"]
        for parser in artifacts.parsers["link"]
    ]
    assert row.seeds == len(values) == 3
    score = row.scores["event"]["visual"]
    assert score.mean == pytest.approx(sum(values) / 3)
    squares = sum((value - score.mean) ** 2 for value in values)
    assert score.std == pytest.approx((squares / 2) ** 0.5)


def test_one_training_has_no_deviation() -> None:
    assert str(Score(61.25)) == "61.2"
    assert str(Score(61.26, 0.34)) == "61.3 ± 0.3"


def test_rows_count_scored_videos_and_mark_the_oracle(artifacts: Artifacts) -> None:
    rows = result_rows(artifacts, "test")
    assert [row.name for row in rows] == [
        "Pseudo-labels",
        "Pseudo-labels, masked (oracle)",
        "VALOR++",
        "LINK",
    ]
    assert {(row.videos, row.total) for row in rows} == {(SIZES["test"] - 1, SIZES["test"])}
    assert "weak labels" in rows[1].note
    assert not rows[0].note


def test_scores_with_corrected_annotations_have_a_row(artifacts: Artifacts) -> None:
    replaced = {"test": {"audio": 1, "visual": 1200}, "val": {"audio": 0, "visual": 0}}

    def corrected(parser: TrainedParser) -> TrainedParser:
        evaluations = {
            split: evaluation | {"corrected": evaluation | {"replaced": replaced[split]}}
            for split, evaluation in parser.evaluations.items()
        }
        return replace(parser, evaluations=evaluations)

    link, valorpp = artifacts.parsers["link"], artifacts.parsers["valorpp"]
    parsers = {
        "valorpp": (valorpp[0], *map(corrected, valorpp[1:])),
        "link": tuple(map(corrected, link)),
    }
    rows = result_rows(replace(artifacts, parsers=parsers), "test")
    assert [row.name for row in rows[2:]] == ["VALOR++", "LINK", "LINK, corrected annotations"]
    assert rows[4].cells == rows[3].cells
    assert rows[4].coverage == rows[3].coverage
    assert rows[4].note == "audio of 1 video, visual of 1,200 videos"
    assert len(result_rows(replace(artifacts, parsers=parsers), "val")) == 4


def test_markdown_lines_up_and_has_ten_scores(artifacts: Artifacts) -> None:
    lines = markdown(result_rows(artifacts, "val")).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {15}
    assert "11/12" in lines[2]


def test_results_csv_has_unrounded_values_of_this_run_only(out: Path, artifacts: Artifacts) -> None:
    with (out / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["split"]) for row in rows] == [
        (row.name, split) for split in ("test", "val") for row in result_rows(artifacts, split)
    ]
    for written, row in zip(rows, result_rows(artifacts, "test"), strict=False):
        for level in LEVELS:
            for metric in METRICS:
                value = float(written[f"{level}_{metric}_percent"])
                assert value == row.scores[level][metric].mean
    assert rows[0]["segment_type_std"] == ""


def test_published_rows_agree_with_their_own_mean() -> None:
    rows = read_published(PUBLISHED)
    assert len({row.method for row in rows}) == len(rows) > 20
    for row in rows:
        assert (row.segment is None) == (row.event is None) == (row.source is None), row.method
        for scores in filter(None, (row.segment, row.event)):
            assert all(20 < score < 80 for score in scores)
            is_mean = abs(sum(scores[:3]) / 3 - scores[3]) < 0.11
            assert is_mean or "is printed as" in row.note, row.method
    link = next(row for row in rows if row.method == "LINK")
    assert (link.segment[3], link.event[3]) == (66.9, 61.3)


def test_a_malformed_published_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text("methods: [{method: X, year: 2020, segment: [1, 2]}]")
    with pytest.raises(PipelineError, match=r"published\.yaml"):
        read_published(path)


def test_published_protocols_are_those_of_their_code() -> None:
    protocols = {row.method: row.protocol for row in read_published(PUBLISHED)}
    assert protocols["HAN"] == protocols["VALOR++"] == protocols["UWAV"] == "gate g, 0.5"
    assert protocols["LINK"] == "not said"
    labels = {row.method: row.labels for row in read_published(PUBLISHED)}
    assert labels["HAN"] == "weak labels"
    for method in ("CMPAE", "UWAV", "UWAV (CLIP, CLAP)"):
        assert labels[method].endswith("thresholds from validation's dense labels")
    assert "; also UnAV-100's dense labels" in labels["UWAV"]


# Published results beside one's own


def test_every_published_row_shows_its_protocol(llp: Path) -> None:
    page = (llp / "index.html").read_text(encoding="utf-8")
    table = page.partition('id="table-published"')[2].partition("</table>")[0]
    text = (llp / "results.md").read_text(encoding="utf-8")
    assert "- VALOR+: its scores are in the paper of VALOR, which could not be checked." in text
    for row in read_published(PUBLISHED):
        of_page = table.partition(f'class="text">{row.method}</th>')[2].partition("</tr>")[0]
        assert f'<td class="text">{row.protocol}</td>' in of_page
        line = next(line for line in text.splitlines() if line.startswith(f"| {row.method} "))
        if row.method not in {"LINK", "VALOR++"}:  # which stand in the run's own tables first
            assert f"| {row.protocol} " in line


def test_calibrated_pseudo_labels_are_said_once(
    sources: ReportInputs, out: Path, tmp_path: Path
) -> None:
    sentence = str(escape(HOW_CALIBRATED))
    assert (out / "index.html").read_text(encoding="utf-8").count(sentence) == 1
    assert (out / "results.md").read_text(encoding="utf-8").count(HOW_CALIBRATED) == 1
    fixed = write_run(tmp_path / "run", methods={"valorpp": 0.2}, seeds=(0,))
    path = fixed.pseudo_labels / LABELS_FILE
    write_shard(path, replace(read_shard(path), meta={"thresholds": "fixed"}))
    write_report(fixed, tmp_path)
    assert sentence not in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert HOW_CALIBRATED not in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_another_corpus_has_no_published_results(out: Path) -> None:
    for name in ("results.md", "index.html"):
        text = (out / name).read_text(encoding="utf-8")
        assert "UWAV" not in text
        assert "ublished results" not in text
        assert ", this run" not in text


def test_llp_stands_beside_published_results(llp: Path) -> None:
    page = (llp / "index.html").read_text(encoding="utf-8")
    assert "LINK, this run" in page
    own = page.partition("LINK, this run")[2].partition("</tr>")[0]
    labels = f"weak labels, segment pseudo-labels; also {escape(CALIBRATED)}"
    assert f'<td class="text">CLAP, CLIP</td><td class="text labels">{labels}</td>' in own
    assert '<td class="text">gate g, 0.5</td>' in own
    assert "<title>Audio-visual video parsing: llp, 20" in page


def test_released_weights_have_a_row_and_no_curve(tmp_path: Path) -> None:
    sources = write_run(tmp_path / "run", seeds=(0,))
    folder = sources.models[0] / "valorpp_released" / "seed87"
    shutil.copytree(sources.models[0] / "valorpp" / "seed0", folder)
    (folder / "curve.csv").unlink()
    path = folder / CHECKPOINT_FILE
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()[CHECKPOINT_HEADER])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header |= {"seed": 87, "released": {"model": "valorpp"}}
    save_file(weights, path, {CHECKPOINT_HEADER: json.dumps(header)})
    write_report(sources, tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        methods = {row["method"] for row in csv.DictReader(file)}
    assert {"VALOR++", "VALOR++ (released weights)", "LINK"} <= methods
    curves = read_artifacts(sources)
    assert "VALOR++ (released weights)" not in training_plots(curves)[0].description


# The page


def test_the_page_asks_for_nothing_but_its_own_tables(out: Path, page: Page) -> None:
    assert not list(page.all("img", "iframe", "object", "embed", "audio", "video"))
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"href", "src", "xlink:href"}:
                assert value is not None
                assert value.startswith("#") or value == "data:," or (out / value).is_file()


def test_text_from_outside_stays_text(out: Path, page: Page) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert text.count("&lt;img src=x") >= 3  # a left-out video, its reason, and a check row
    assert text.count("</script>") == 3
    assert page.open == []


def test_the_page_is_well_built(page: Page) -> None:
    ids = [value for _, attributes in page.elements if (value := attributes.get("id"))]
    assert len(set(ids)) == len(ids)
    for attributes in page.all("a"):
        href = attributes["href"] or ""
        assert href[1:] in ids or href.endswith(".csv") or href == PROVENANCE_FILE
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
    assert all(attributes.get("scope") for attributes in page.all("th"))
    svgs = list(page.all("svg"))
    assert len(svgs) == len(list(page.all("figcaption"))) == 7
    assert all(attributes.get("aria-label") for attributes in svgs)
    headings = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3"}]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert max(np.diff(headings)) <= 1


def test_every_figure_has_its_numbers_beside_it(out: Path) -> None:
    figures = sorted(path for path in out.glob("*.svg") if path.name != TIMELINE_FILE)
    assert len(figures) == 7
    ElementTree.parse(out / TIMELINE_FILE)
    for path in figures:
        ElementTree.parse(path)  # well-formed on its own too
        with path.with_suffix(".csv").open(encoding="utf-8") as file:
            widths = {len(row) for row in csv.reader(file)}
        assert len(widths) == 1


def test_every_table_of_the_report_is_linked_from_its_page(page: Page, out: Path) -> None:
    links = {attributes["href"] for attributes in page.all("a")}
    tables = {path.name for path in out.iterdir() if path.suffix in {".csv", ".json"}}
    assert {link for link in links if link and not link.startswith(("#", "http"))} == tables


def test_the_same_run_gives_the_same_bytes(
    sources: ReportInputs, out: Path, tmp_path: Path
) -> None:
    write_report(sources, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in out.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


# Plots


def test_curves_have_every_epoch_of_every_seed(artifacts: Artifacts) -> None:
    loss, f1 = training_plots(artifacts)
    assert len(loss.rows) == len(f1.rows) == 2 * 3 * 30
    assert [list(plot.header)[3:] for plot in (loss, f1)] == [
        ["loss"],
        ["val_segment_type", "val_event_type"],
    ]


# Pseudo-labels before and after calibration, learned weights


def test_labels_before_calibration_are_at_the_vocabularys_thresholds(artifacts: Artifacts) -> None:
    assert not artifacts.uncalibrated_labels("test").any()
    plot = pseudo_label_plots(artifacts)[0]
    before, after = (list(plot.header).index(name) for name in BEFORE_AND_AFTER)
    scores = artifacts.quality["test"]["unmasked"]["metrics"]["segment"]
    assert all(row[before] < row[after] for row in plot.rows)  # type: ignore[operator]
    assert [row[after] for row in plot.rows[: len(METRICS)]] == list(scores.values())


def test_labels_at_fixed_thresholds_have_no_before(artifacts: Artifacts) -> None:
    labels = replace(artifacts.labels, meta={"thresholds": "fixed"})
    plot = pseudo_label_plots(replace(artifacts, labels=labels))[0]
    assert {row[2] for row in plot.rows} == {None}
    assert "before calibration" not in plot.svg


def test_gates_have_their_start_and_learned_value(artifacts: Artifacts) -> None:
    gates, _ = learned_plots(artifacts)
    by_name = {row[2]: row[3:] for row in gates.rows if row[1] == 0}
    assert by_name == {
        "α, visual to audio": [0, 0.5],
        "β, visual to audio": [1, 1.5],
        "α β, visual to audio": [0, 0.75],
        "α, audio to visual": [0, -0.25],
        "β, audio to visual": [1, 1.25],
        "α β, audio to visual": [0, -0.3125],
        "μ of L_avss": [0, 0.75],
    }
    assert len(gates.rows) == 3 * len(by_name)


def test_attention_is_averaged_over_segments_with_and_without_events(artifacts: Artifacts) -> None:
    _, attention = learned_plots(artifacts)
    assert {row[2] for row in attention.rows} - {None} == {0.75}
    assert {row[3] for row in attention.rows} - {None} == {0.25}
    counts = artifacts.truth("test").any(axis=3).sum(axis=1).ravel()
    assert [row[4] for row in attention.rows] == counts.tolist()


def test_a_method_without_such_weights_has_no_such_figures(tmp_path: Path) -> None:
    artifacts = read_artifacts(write_run(tmp_path, methods={"valorpp": 0.1}, seeds=(0,)))
    assert learned_plots(artifacts) == []


def test_a_broken_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    run = write_run(tmp_path, methods={"link": 0.2}, seeds=(0,))
    (run.models[0] / "link/seed0/checkpoint.safetensors").write_bytes(b"not one")
    with pytest.raises(PipelineError, match="train the parser again"):
        learned_plots(read_artifacts(run))


# Videos


def test_videos_are_ranked_by_the_published_metric(artifacts: Artifacts) -> None:
    ranked = ranked_timelines(artifacts)
    assert len(ranked) == SIZES["test"] + SIZES["val"] - 2
    scores = [timeline.f1 for timeline in ranked]
    assert scores == sorted(scores)
    for split in ("test", "val"):
        metrics = artifacts.headline[0].evaluations[split]["metrics"]
        videos = [video for video in ranked if video.split == split]
        segment, event = (metrics[level]["type"] for level in LEVELS)
        assert np.mean([video.f1 for video in videos]) == pytest.approx(segment)
        assert np.mean([video.event_f1 for video in videos]) == pytest.approx(event)


def _timeline(filename: str = "abc_0_4") -> TimelinePlot:
    truth = np.zeros((2, 4, 3), np.uint8)
    predicted = truth.copy()
    truth[0, 1:3, 0] = 1
    predicted[0, [0, 3], 0] = 1
    predicted[1, :, 2] = 1
    return TimelinePlot(filename, "test", 12.5, 6.25, truth, predicted, ("Dog", "Cat_s", HOSTILE))


def test_bars_are_the_events() -> None:
    assert _timeline().bars == [
        ("audio", "truth", "Dog", 1, 3),
        ("audio", "predicted", "Dog", 0, 1),
        ("audio", "predicted", "Dog", 3, 4),
        ("visual", "predicted", HOSTILE, 0, 4),
    ]
    assert _timeline().tracks() == [("audio", [0]), ("visual", [2])]


def test_a_picture_of_a_video_without_events_can_be_drawn() -> None:
    empty = np.zeros((2, 4, 3), np.uint8)
    timeline = TimelinePlot("abc_0_4", "val", 100.0, 100.0, empty, empty, ("a", "b", "c"))
    assert timeline_svg(timeline).count(">no events<") == 2
    assert showcase([timeline]) is timeline


# Data quality, cost


def test_a_video_counts_once_by_its_worst_row() -> None:
    ok = StatusRow("a", True, Status.OK)
    padded = StatusRow("a", True, Status.TOO_SHORT, "8 s")
    failed = StatusRow("a", False, Status.NOT_FINITE, "NaN")
    assert worst_rows([ok, padded]) == worst_rows([padded, ok]) == [padded]
    assert worst_rows([failed, ok, padded]) == [failed]


def test_data_quality_counts_every_video(artifacts: Artifacts) -> None:
    quality = data_quality(artifacts)
    assert quality.counts[0] == ("ok", sum(SIZES.values()) - 6, 0)
    assert ("too_short", 3, 0) in quality.counts
    assert ("missing", 0, 1) in quality.counts
    assert quality.by_split == tuple((split, size - 1, size) for split, size in SIZES.items())
    assert [video.split for video in quality.left_out] == ["test", "train", "val"]


def test_a_missing_video_says_what_its_download_met(artifacts: Artifacts, tmp_path: Path) -> None:
    names = [video.filename for video in data_quality(artifacts).left_out]
    ledger = DownloadHistory(tmp_path / HISTORY_FILE)
    for name in names:
        ledger.add(HistoryRow(name, Status.PRIVATE, "sign in if you were let in", 1, "2026-01-01"))
    explained = data_quality(
        replace(artifacts, sources=replace(artifacts.sources, videos=tmp_path))
    ).left_out
    before = data_quality(artifacts).left_out
    assert {video.status for video in before} > {Status.MISSING}
    for was, now in zip(before, explained, strict=True):
        told = ("private", "sign in if you were let in")
        expected = told if was.status == Status.MISSING else (was.status, was.detail)
        assert (now.filename, now.status, now.detail) == (was.filename, *expected)


def test_findings_are_grouped_by_kind_and_table(sources: ReportInputs) -> None:
    unknown, nothing = read_findings(sources.check)
    assert (unknown.kind, unknown.count) == ("unknown_video", 1)
    assert (nothing.kind, nothing.count) == ("sets_nothing", 2)
    assert read_findings(None) == []


def test_costs_sum_over_a_stages_jobs(sources: ReportInputs) -> None:
    segments, annotations = read_costs(sources.benchmarks)
    assert (segments.stage, segments.jobs, segments.wall_seconds) == ("segments", 2, 50.5)
    assert (segments.longest_seconds, segments.cpu_seconds) == (30.0, 52.5)
    assert segments.memory_mb == 310.5
    assert (annotations.stage, annotations.memory_mb) == ("annotations", None)
    assert read_costs([]) == []


# What else a run may look like


def test_the_best_on_test_leads(tmp_path: Path) -> None:
    run = write_run(tmp_path, methods={"han": 0.5, "valorpp": 0.1}, seeds=(4,))
    artifacts = read_artifacts(run)
    assert [parser.method for parser in artifacts.headline] == ["valorpp"]
    assert result_rows(artifacts, "test")[-1].scores["segment"]["type"].std is None


def test_a_run_without_parsers_is_one_sentence(sources: ReportInputs, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="cannot find a checkpoint at"):
        read_artifacts(replace(sources, models=(tmp_path,)))


def test_models_are_a_run_a_method_or_a_seed(tmp_path: Path) -> None:
    run = write_run(tmp_path, methods={"link": 0.2, "valorpp": 0.1}, seeds=(0, 1))
    whole = run.models[0]
    for models in ([whole], [whole / "link", whole / "valorpp/seed1", whole / "valorpp/seed0"]):
        parsers = read_artifacts(replace(run, models=tuple(models))).parsers
        seeds = {name: [parser.seed for parser in of] for name, of in parsers.items()}
        assert seeds == {"valorpp": [0, 1], "link": [0, 1]}


def test_videos_that_the_headline_did_not_parse_are_not_its(tmp_path: Path) -> None:
    run = write_run(tmp_path, methods={"link": 0.2}, seeds=(0, 1))
    folders = [run.models[0] / "link" / f"seed{seed}" for seed in (0, 1)]
    for number, folder in enumerate(folders, 1):
        path = folder / "probabilities_test.safetensors"
        shard = read_shard(path)
        write_shard(path, shard.select(shard.names[1:]))
        if number < len(folders):
            with pytest.raises(PipelineError, match=r"seed1' was scored on other test videos than"):
                ranked_timelines(read_artifacts(run))
    artifacts = read_artifacts(run)
    assert len(artifacts.names("test")) == len(artifacts.parsed["test"][0].names) + 1
    assert shard.names[0] not in {timeline.filename for timeline in ranked_timelines(artifacts)}
    assert learned_plots(artifacts)
    write_details(artifacts, ranked_timelines(artifacts), tmp_path / "out")


def test_methods_are_those_of_the_checkpoints(tmp_path: Path) -> None:
    run = write_run(tmp_path, methods={"link": 0.2, "valorpp": 0.1}, seeds=(0, 1))
    (run.models[0] / "link").rename(run.models[0] / "a_name_of_mine")
    assert list(read_artifacts(run).parsers) == ["valorpp", "link"], "in the registry's order"
    (run.models[0] / "valorpp" / "seed0").rename(run.models[0] / "a_name_of_mine" / "seed9")
    parsers = read_artifacts(run).parsers
    assert [parser.seed for parser in parsers["valorpp"]] == [0, 1]


def test_inputs_and_protocol_are_what_the_checkpoint_says(artifacts: Artifacts) -> None:
    parser = artifacts.headline[0]
    assert (parser.inputs, parser.protocol) == ("CLAP, CLIP", "gate g, 0.5")
    options = {"motion": True, "gate": "modality", "segment_threshold": 0.25}
    other = replace(parser, recipe=recipe_for("link", options), fingerprints={"layout": "han"})
    assert other.inputs == "VGGish, ResNet-152, R(2+1)D"
    assert other.protocol == "gates p, 0.5; segments 0.25"
    gates = set(get_args(Recipe.model_fields["gate"].annotation))
    assert gates == set(GATES), "every gate has its words"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"val": {}}', '{"val": {"videos": 1}, "test": {"videos": 1}}']
)
def test_a_malformed_evaluation_is_one_sentence(tmp_path: Path, text: str) -> None:
    run = write_run(tmp_path, methods={"link": 0.2}, seeds=(0,))
    (run.models[0] / "link" / "seed0" / "metrics.json").write_text(text)
    with pytest.raises(PipelineError, match=r"metrics\.json"):
        read_artifacts(run)


def test_the_stage_prints_its_table_and_the_page(
    sources: ReportInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", "--models", *sources.models, "--pseudo-labels", sources.pseudo_labels]
    words += ["--annotations", sources.annotations, "--statuses", *sources.statuses]
    assert main([*map(str, words), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^LINK( +\d+\.\d( ± \d+\.\d)?){5}$", printed, re.MULTILINE)
    assert printed.splitlines()[-1] == f"report: {tmp_path / 'index.html'}"
    assert "No benchmark files" in (tmp_path / "index.html").read_text(encoding="utf-8")
