"""The leaderboard and its differences, on predictions whose scores are known."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from simulated import make_world, write_corpus
from trained_models import (
    FINGERPRINTS,
    NAMES,
    SECONDS,
    TINY,
    VIDEOS,
    VOCABULARY,
    Labels,
    true_labels,
    write_annotations,
    write_model,
)

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.shards import LABELS_FILE, Shard, write_shard
from pipeline.data.annotations import EVENT_TABLES, segments_to_events, write_events
from pipeline.parsers.checkpoint import read_checkpoint
from pipeline.parsers.recipes.base import CALIBRATED
from pipeline.report.comparison.compare import compare
from pipeline.report.comparison.standings import TESTED, read_standings
from pipeline.report.published import PublishedRow
from pipeline.report.tables import HOW_CALIBRATED

PUBLISHED = PublishedRow(
    method="VALOR++",
    year=2023,
    inputs="CLAP, CLIP, R(2+1)D",
    protocol="gate h, 0.4",
    segment=[68.1, 68.4, 61.9, 66.2, 66.8],
    event=[61.2, 64.7, 55.5, 60.4, 59.0],
    source="LINK paper, Table I",
    note="it read other tables",
)


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return write_annotations(tmp_path / "annotations")


def halved(videos: int = VIDEOS) -> Labels:
    """The truth, of which only the first half is found in some videos."""
    labels = true_labels()
    labels[:, :videos, 5:] = 0
    return labels


def nothing() -> Labels:
    return np.zeros_like(true_labels())


def compared(
    folders: list[Path],
    annotations: Path,
    out: Path,
    dataset: str = "other",
    reference: str = "link",
) -> dict[str, dict[str, str]]:
    compare(folders, annotations, VOCABULARY, reference, [PUBLISHED], dataset, out)
    with (out / "compare.csv").open(encoding="utf-8", newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_identical_methods_do_not_differ(tmp_path: Path, annotations: Path) -> None:
    folders = [
        write_model(tmp_path / method / "seed0", annotations, halved(3), method)
        for method in ("link", "valorpp")
    ]
    row = compared(folders, annotations, tmp_path)["VALOR++"]
    for level, metric in TESTED:
        name = f"{level}_{metric}_difference"
        values = [float(row[key]) for key in (name, f"{name}_low", f"{name}_high")]
        assert values == [0, 0, 0]
        assert float(row[f"{name}_p_holm"]) == 1


def test_better_on_every_video_is_a_difference(tmp_path: Path, annotations: Path) -> None:
    folders = [
        write_model(tmp_path / "link" / "seed0", annotations, halved()),
        write_model(tmp_path / "valorpp" / "seed0", annotations, true_labels(), "valorpp"),
        write_model(tmp_path / "han" / "seed0", annotations, nothing(), "han"),
    ]
    rows = compared(folders, annotations, tmp_path)
    assert list(rows) == ["VALOR++", "LINK", "HAN"], "best first"
    # Five of ten segments: F1 = 2·5 / (5 + 10) at segment level; an event of IoU 0.5 matches.
    assert float(rows["LINK"]["segment_type_percent"]) == pytest.approx(200 / 3)
    assert float(rows["LINK"]["event_type_percent"]) == pytest.approx(100)
    for method, gap in (("VALOR++", 100 / 3), ("HAN", -200 / 3)):
        found = {key: float(rows[method][key]) for key in rows[method] if "_difference" in key}
        assert found["segment_type_difference"] == pytest.approx(gap)
        assert found["segment_type_difference_low"] == pytest.approx(gap)
        assert found["segment_event_difference_p_holm"] < 0.001
    assert rows["LINK"]["segment_type_difference"] == "", "the reference has none to itself"


def test_a_comparison_leaves_a_page_tables_and_plots(tmp_path: Path, annotations: Path) -> None:
    folders = [
        write_model(tmp_path / method / "seed0", annotations, labels, method)
        for method, labels in (("link", true_labels()), ("valorpp", halved()), ("han", nothing()))
    ]
    out = tmp_path / "out"
    row = compared(folders, annotations, out)["HAN"]
    names = {"compare.html", "compare.md", "compare.csv", "compare_pairs.csv"}
    names |= {f"compare_{level}.{end}" for level in ("segment", "event") for end in ("svg", "csv")}
    assert {path.name for path in out.iterdir()} == names
    assert row["labels"] == "weak labels"
    assert row["selected_by"] == "seg. Type"
    assert (row["val_segment_type_selected"], row["val_segment_type_best"]) == ("50.0", "50.0")
    assert (row["segment_type_letters"], float(row["segment_type_rank"])) == ("c", 3)
    with (out / "compare_pairs.csv").open(encoding="utf-8", newline="") as file:
        pairs = {(row["metric"], row["first"], row["second"]): row for row in csv.DictReader(file)}
    assert len(pairs) == 3 * len(TESTED)
    # The truth and its first halves are the same events, and 100/3 points apart in segments.
    assert float(pairs["segment_type", "LINK", "VALOR++"]["difference"]) == pytest.approx(100 / 3)
    assert pairs["segment_type", "LINK", "VALOR++"]["is_significant"] == "1"
    assert pairs["event_type", "LINK", "VALOR++"]["p_holm"] == "1.0"


def test_seeds_are_averaged_before_videos_are_resampled(tmp_path: Path, annotations: Path) -> None:
    lucky, unlucky = true_labels(), true_labels()
    lucky[:, :3] = unlucky[:, 3:] = 0
    folders = [
        write_model(tmp_path / "link" / f"seed{seed}", annotations, labels)
        for seed, labels in enumerate((lucky, unlucky))
    ]
    row = compared(folders, annotations, tmp_path)["LINK"]
    ends = [float(row[f"segment_type_{end}"]) for end in ("percent", "low", "high")]
    assert ends == [50, 50, 50], "every video scores 50 over both seeds"
    assert float(row["segment_type_std"]) == 0
    assert row["seeds"] == "2"


def test_intervals_and_deviation_are_of_different_things(tmp_path: Path, annotations: Path) -> None:
    folders = [
        write_model(tmp_path / "link" / f"seed{seed}", annotations, labels)
        for seed, labels in enumerate((true_labels(), nothing()))
    ]
    row = compared(folders, annotations, tmp_path)["LINK"]
    assert float(row["segment_type_low"]) == float(row["segment_type_high"]) == 50
    assert float(row["segment_type_std"]) == pytest.approx(100 / np.sqrt(2))


def test_videos_are_paired_by_name(tmp_path: Path, annotations: Path) -> None:
    folders = [write_model(tmp_path / "link" / "seed0", annotations, halved(2))]
    order = [3, 1, 5, 0, 2, 4]
    shuffled = halved(2)[:, order]
    names = [NAMES[row] for row in order]
    folders.append(
        write_model(tmp_path / "valorpp" / "seed0", annotations, shuffled, "valorpp", names)
    )
    standings = read_standings(folders, annotations, VOCABULARY, "link")
    np.testing.assert_array_equal(standings["link"].per_video, standings["valorpp"].per_video)
    assert sorted(set(standings["link"].per_video[0].round())) == [67, 100]


def test_size_and_time_come_from_checkpoint_and_curve(tmp_path: Path, annotations: Path) -> None:
    folder = write_model(tmp_path / "link" / "seed0", annotations, halved())
    row = compared([folder], annotations, tmp_path)["LINK"]
    parser = read_checkpoint(folder).build()
    trained = sum(weight.numel() for weight in parser.parameters())
    assert int(row["parameters"]) == trained
    assert float(row["training_seconds"]) == 2 * SECONDS
    assert (row["videos"], row["total"]) == (str(VIDEOS), str(VIDEOS + 1))


def test_other_videos_are_refused(tmp_path: Path, annotations: Path) -> None:
    folders = [
        write_model(tmp_path / "link" / "seed0", annotations, halved()),
        write_model(
            tmp_path / "valorpp" / "seed0",
            annotations,
            halved()[:, 1:],
            "valorpp",
            NAMES[1:],
        ),
    ]
    message = rf"valorpp/seed0' was not scored on 1 of the 6 test videos.*'{NAMES[0]}'"
    with pytest.raises(PipelineError, match=message):
        compared(folders, annotations, tmp_path)


def test_method_and_seed_are_what_the_checkpoint_says(tmp_path: Path, annotations: Path) -> None:
    folders = [
        write_model(tmp_path / "mine_7", annotations, halved()),
        write_model(tmp_path / "valorpp" / "elsewhere_7", annotations, true_labels()),
    ]
    with pytest.raises(PipelineError, match=r"mine_7' and '.*elsewhere_7' are both LINK.* seed 7;"):
        compared(folders, annotations, tmp_path)
    folders[1] = write_model(tmp_path / "link" / "seed7", annotations, halved(), "valorpp")
    rows = compared(folders, annotations, tmp_path)
    assert {name: row["note"] for name, row in rows.items()} == {"LINK": "", "VALOR++": ""}


@pytest.mark.parametrize(
    ("mine", "sentence"),
    [
        (FINGERPRINTS | {"clip": "z"}, r"link/seed0' was trained on clip 'y', but .*han.* on 'z';"),
        ({"layout": "valor"}, r"seed0' was trained on layout 'shards', but .*han.* on 'valor';"),
        ({}, ""),
        (FINGERPRINTS | {"motion": "m", "labels": "l"}, ""),
    ],
)
def test_other_features_are_refused_as_far_as_both_are_known(
    mine: dict[str, str], sentence: str, tmp_path: Path, annotations: Path
) -> None:
    folders = [
        write_model(tmp_path / "link" / "seed0", annotations, halved()),
        write_model(tmp_path / "han" / "seed0", annotations, halved(), "han", made_by=mine),
    ]
    if sentence:
        with pytest.raises(PipelineError, match=sentence):
            compared(folders, annotations, tmp_path)
    else:
        assert len(compared(folders, annotations, tmp_path)) == 2


def test_seeds_of_two_recipes_are_refused(tmp_path: Path, annotations: Path) -> None:
    folders = [
        write_model(tmp_path / "link" / f"seed{seed}", annotations, halved(), epochs=3 + seed)
        for seed in (0, 1)
    ]
    message = r"link/seed0' is LINK with epochs=3, but '.*link/seed1' has epochs=4; .*ablation"
    with pytest.raises(PipelineError, match=message):
        compared(folders, annotations, tmp_path)


def test_other_seeds_than_the_references_are_said(tmp_path: Path, annotations: Path) -> None:
    seeds = {"link": (0, 1), "valorpp": (1, 2), "han": (0, 1)}
    folders = [
        write_model(tmp_path / method / f"seed{seed}", annotations, halved(), method)
        for method, of_method in seeds.items()
        for seed in of_method
    ]
    rows = compared(folders, annotations, tmp_path)
    note = (
        "trained with seeds 1, 2, but LINK with 0, 1; "
        "part of the difference may come from the seeds"
    )
    assert {name: row["note"] for name, row in rows.items()} == {
        "LINK": "",
        "VALOR++": note,
        "HAN": "",
    }
    text = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert f"|\n\n- VALOR++ (this run): {note}.\n\n## Ranks" in text


def test_scores_that_are_not_of_the_events_beside_them_are_refused(
    tmp_path: Path, annotations: Path
) -> None:
    folder = write_model(tmp_path / "link" / "seed0", annotations, halved())
    path = folder / "metrics.json"
    evaluations = json.loads(path.read_text())
    evaluations["test"]["metrics"]["event"]["visual"] += 1e-9  # another order of summing
    path.write_text(json.dumps(evaluations))
    row = compared([folder], annotations, tmp_path)["LINK"]
    assert float(row["event_visual_percent"]) == 100, "from the events"
    evaluations["test"]["metrics"]["event"]["visual"] -= 0.01
    path.write_text(json.dumps(evaluations))
    message = r"json' has 99.9900 for test event visual, but .* score 100.0000 .*evaluate again"
    with pytest.raises(PipelineError, match=message):
        compared([folder], annotations, tmp_path)


@pytest.mark.parametrize("kind", ["calibrated", "fixed"])
def test_calibrated_pseudo_labels_are_said(kind: str, tmp_path: Path, annotations: Path) -> None:
    folder = write_model(tmp_path / "link" / "seed0", annotations, halved())
    write_shard(tmp_path / LABELS_FILE, Shard((), {}, {"thresholds": kind}))
    compare([folder], annotations, VOCABULARY, "link", [PUBLISHED], "other", tmp_path, tmp_path)
    text = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert text.count(HOW_CALIBRATED) == (kind == "calibrated")
    assert text.count(f"segment pseudo-labels; also {CALIBRATED} ") == (kind == "calibrated")


def test_reference_must_be_there(tmp_path: Path, annotations: Path) -> None:
    folder = write_model(tmp_path / "link" / "seed0", annotations, halved())
    with pytest.raises(PipelineError, match=r"'han' is not among the trained methods \(link\)"):
        compared([folder], annotations, tmp_path, reference="han")


def test_published_numbers_stand_among_own_ones_for_llp_only(
    tmp_path: Path, annotations: Path
) -> None:
    folder = write_model(tmp_path / "link" / "seed0", annotations, halved())
    compared([folder], annotations, tmp_path / "llp", "llp")
    compared([folder], annotations, tmp_path / "other")

    def tables(name: str) -> list[str]:
        text = (tmp_path / name / "compare.md").read_text(encoding="utf-8")
        return ["\n".join(part.splitlines()) for part in text.split("\n\n") if part[0] == "|"]

    # 66.7 of this run is above the published 66.2, and both say what they read.
    rows = tables("llp")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["LINK", "VALOR++"]
    assert "this run" in rows[0]
    assert [cell.strip() for cell in rows[0].split("|")[2:6]] == [
        "CLAP, CLIP",
        "weak labels, segment pseudo-labels",
        "gate g, 0.5",
        "this run",
    ]
    assert [cell.strip() for cell in rows[1].split("|")[2:6]] == [
        "CLAP, CLIP, R(2+1)D",
        "not said",
        "gate h, 0.4",
        "LINK paper, Table I",
    ]
    assert "VALOR++" not in "".join(tables("llp")[1:])
    llp, other = (
        (tmp_path / name / "compare.md").read_text(encoding="utf-8") for name in ("llp", "other")
    )
    assert "VALOR++" not in other
    assert "ublished results" not in other
    assert "\n\n- VALOR++ (LINK paper, Table I): it read other tables.\n\n## Ranks" in llp


def test_command_line(
    tmp_path: Path, annotations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = tmp_path / "vocabulary.yaml"
    lines = [str(event_class.model_dump()) for event_class in VOCABULARY.classes]
    vocabulary.write_text("classes:\n" + "\n".join(f"- {line}" for line in lines))
    folders = [
        str(write_model(tmp_path / method / "seed0", annotations, halved(), method))
        for method in ("link", "valorpp")
    ]
    words = ["compare", "--models", *folders, "--annotations", str(annotations)]
    words += ["--vocabulary", str(vocabulary), "--reference", "valorpp", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "VALOR++" in capsys.readouterr().out
    assert "## Differences to VALOR++" in (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert main([*words, "--reference", "han"]) == 2


def test_folders_of_the_documented_training_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_corpus(tmp_path, make_world(classes=2))
    tiny = [word for key, value in TINY.items() for word in ("--option", f"{key}={value}")]
    for method in ("link", "valorpp"):
        words = ["train", "--method", method, *corpus.words(), *tiny, "--option", "epochs=1"]
        assert main([*words, "--seed", "0", "--out", str(tmp_path / f"my_{method}")]) == 0
    words = ["compare", "--models", str(tmp_path / "my_link"), str(tmp_path / "my_valorpp")]
    words += ["--annotations", str(corpus.annotations), "--vocabulary", str(corpus.vocabulary)]
    capsys.readouterr()
    assert main([*words, "--pseudo-labels", str(corpus.labels.parent), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| LINK " in printed
    assert "| VALOR++ " in printed


def test_every_table_says_how_many_of_the_splits_videos_it_covers(
    tmp_path: Path, annotations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [
        write_model(tmp_path / method / "seed0", annotations, halved(), method)
        for method in ("link", "valorpp")
    ]
    compared(folders, annotations, tmp_path, "llp")
    lines = (tmp_path / "compare.md").read_text(encoding="utf-8").splitlines()
    own = [line for line in lines if line.startswith(("| LINK ", "| VALOR++ "))]
    own = [line for line in own if PUBLISHED.source not in line]
    assert len(own) == 2 + 2 + 2 + 1, "the leaderboard, the ranks, the intervals, the differences"
    assert all(f" {VIDEOS}/{VIDEOS + 1} " in line for line in own)
    vocabulary = tmp_path / "vocabulary.yaml"
    vocabulary.write_text(yaml.safe_dump({"classes": [c.model_dump() for c in VOCABULARY.classes]}))
    words = ["--annotations", str(annotations), "--vocabulary", str(vocabulary)]
    assert main(["evaluate-model", "--model", str(folders[0]), *words]) == 0
    assert f"test, {VIDEOS} of {VIDEOS + 1} videos" in capsys.readouterr().out


def test_a_model_is_also_scored_with_corrected_annotations(
    tmp_path: Path, annotations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "link" / "seed0", annotations, halved())
    before = json.loads((folder / "metrics.json").read_text())
    corrections = tmp_path / "corrections"
    corrections.mkdir()
    for table, labels in zip(EVENT_TABLES.values(), halved(), strict=True):
        write_events(corrections / table, segments_to_events(labels, NAMES), VOCABULARY)
    vocabulary = tmp_path / "vocabulary.yaml"
    vocabulary.write_text(yaml.safe_dump({"classes": [c.model_dump() for c in VOCABULARY.classes]}))
    words = ["--annotations", str(annotations), "--vocabulary", str(vocabulary)]
    words += ["--model", str(folder), "--corrections", str(corrections)]
    assert main(["evaluate-model", *words]) == 0
    after = json.loads((folder / "metrics.json").read_text())
    for split in ("val", "test"):
        corrected = after[split].pop("corrected")
        assert corrected["metrics"]["segment"]["type"] == 100
        assert corrected["replaced"] == {"audio": VIDEOS, "visual": VIDEOS}
    assert after == before
    assert capsys.readouterr().out.count("with corrected annotations") == 2
    compared([folder], annotations, tmp_path)  # with the original annotations
    (corrections / EVENT_TABLES["audio"]).write_text("filename\tonset\toffset\tevent_labels\n")
    (corrections / EVENT_TABLES["visual"]).unlink()
    assert main(["evaluate-model", *words]) == 2
    assert "corrects no video of the val and test tables" in capsys.readouterr().err


def test_methods_are_shown_beside_their_published_results(
    tmp_path: Path, annotations: Path
) -> None:
    folders = [
        write_model(tmp_path / method / "seed0", annotations, halved(3), method)
        for method in ("link", "link_printed", "valorpp")
    ]
    link = PUBLISHED.model_copy(
        update={"method": "LINK", "inputs": "CLAP, CLIP", "protocol": "gate g, 0.5"}
    )
    works = [PUBLISHED, link]
    compare(folders, annotations, VOCABULARY, "link", works, "llp", tmp_path / "llp")
    _, _, section = (tmp_path / "llp/compare.md").read_text().partition("published results\n")
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if "(" in line}
    rows.pop("Method", None)
    assert {"LINK", "LINK, as printed", "VALOR++"} <= set(rows)
    what = rows["VALOR++"].split("|")[4].strip()
    assert what.startswith(
        "inputs CLAP, CLIP, published CLAP, CLIP, R(2+1)D; protocol gate g, 0.5, published gate h"
    )
    own = json.loads((tmp_path / "valorpp/seed0/metrics.json").read_text())["test"]["metrics"]
    value = own["segment"]["audio"]
    assert f"{value:.1f} (68.1, {value - 68.1:+.1f})" in rows["VALOR++"]
    assert rows["LINK"].split("|")[4].strip() == rows["LINK, as printed"].split("|")[4].strip()
    assert rows["LINK, as printed"].split("|")[2].strip() == "LINK"
    compare(folders, annotations, VOCABULARY, "link", works, "other", tmp_path / "other")
    assert "Differences to published" not in (tmp_path / "other/compare.md").read_text()
