"""The leaderboard's columns, published counterparts, and the page of a comparison."""

import csv
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from simulated_board import HOSTILE_NAME, METHODS, PSEUDO, simulated_standings, write_simulated_page

from pipeline.core.vocabulary import DEFAULT_PATH
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.recipes.base import CALIBRATED, TAUGHT, TUNED
from pipeline.parsers.registry import METHODS as TRAINABLE
from pipeline.parsers.registry import recipe_for
from pipeline.report.artifacts import dense_labels
from pipeline.report.comparison.leaderboard import board_rows, leaderboard, rank_table
from pipeline.report.comparison.standings import assess_standings
from pipeline.report.published import counterpart, published_differences, read_published
from pipeline.report.significance import pair_csv
from pipeline.report.tables import ResultRow, Score, parser_row
from pipeline.report.trained import PARTS, SELECTIONS, TrainedParser

PUBLISHED = read_published(DEFAULT_PATH.with_name("published.yaml"))
VAL_TYPE = "val_segment_type"


class DenseRecipe(Recipe):
    """A method that uses more than weak labels, and trains two networks."""

    @property
    def extra_supervision(self) -> str:
        return "UnAV-100's dense labels"

    @property
    def selections(self) -> tuple[Any, ...]:
        return ("segment_audio", "event_event")


def trained(
    recipe: Recipe, curve: Sequence[dict[str, float]] = (), epoch: int = 1, released: str = ""
) -> TrainedParser:
    metrics = dict.fromkeys(("audio", "visual", "audio_visual", "type", "event"), 50.0)
    evaluation = {"videos": 3, "metrics": {"segment": metrics, "event": metrics}}
    return TrainedParser(
        display_name="Mine",
        method="mine",
        seed=0,
        recipe=recipe,
        fingerprints={},
        folder=Path("mine"),
        evaluations={"test": evaluation},
        curve=tuple(curve),
        epoch=epoch,
        released=released,
    )


def row_named(name: str, inputs: str = "CLAP, CLIP", **changes: Any) -> ResultRow:
    scores = {
        level: dict.fromkeys(("audio", "visual", "audio_visual", "type", "event"), Score(60.0))
        for level in ("segment", "event")
    }
    return ResultRow(name, "test", scores, 1, 1200, 1200, inputs=inputs, **changes)


# Labels


def test_labels_say_what_a_method_learns_from() -> None:
    assert trained(recipe_for("han", {})).labels() == "weak labels"
    assert trained(recipe_for("link", {})).labels() == PSEUDO
    assert trained(DenseRecipe()).labels() == f"{PSEUDO}; also UnAV-100's dense labels"
    assert trained(recipe_for("cmpae", {})).labels() == f"weak labels; also {TUNED}"
    assert trained(recipe_for("cmpae", {"visual_thresholds": "none"})).labels() == "weak labels"
    taught = trained(recipe_for("uwav", {"labels": "teacher"}))
    assert taught.labels() == f"{PSEUDO}; also {TAUGHT}, {CALIBRATED}"
    assert trained(recipe_for("uwav", {})).labels() == PSEUDO


def test_dense_labels_of_the_run_count_for_those_that_use_pseudo_labels() -> None:
    calibrated, of_teacher = {"thresholds": "calibrated"}, {"teacher": "0123456789"}
    assert dense_labels({}) == []
    assert dense_labels(calibrated) == [CALIBRATED]
    assert dense_labels(of_teacher) == [TAUGHT, CALIBRATED]
    assert dense_labels(of_teacher, are_masked=False) == []
    link, dense = recipe_for("link", {}), dense_labels(of_teacher)
    assert trained(link).labels(dense) == f"{PSEUDO}; also {TAUGHT}, {CALIBRATED}"
    assert trained(link).labels([CALIBRATED]) == f"{PSEUDO}; also {CALIBRATED}"
    assert trained(DenseRecipe()).labels([CALIBRATED]).endswith(f"dense labels, {CALIBRATED}")
    assert trained(recipe_for("han", {})).labels(dense) == "weak labels"
    assert trained(link, released="valorpp").labels(dense) == PSEUDO, "not by this run's"
    taught = trained(recipe_for("uwav", {"labels": "teacher"}))
    assert taught.labels(dense) == taught.labels(), "nothing is said twice"


def test_every_method_states_its_labels_and_selection() -> None:
    for name, method in TRAINABLE.items():
        recipe = recipe_for(name, {})
        assert recipe.supervision.startswith("weak labels"), name
        assert all(selection in SELECTIONS for selection in recipe.selections), method


# Selection


def test_validation_of_the_selected_epoch_and_of_the_best() -> None:
    curve = [{"epoch": n, VAL_TYPE: value} for n, value in enumerate((40.0, 55.0, 52.0), 1)]
    assert trained(Recipe(), curve, epoch=3).validation_type == (52, 55)
    assert trained(Recipe(), curve, epoch=2).validation_type == (55, 55)
    assert trained(Recipe(), curve, epoch=3).selected_by == "seg. Type"
    assert trained(Recipe(selection="event_audio"), curve).selected_by == "ev. A"
    assert trained(DenseRecipe(), curve).selected_by == "seg. A, ev. Event"


def test_epochs_of_other_phases_are_of_other_networks() -> None:
    curve = [
        {"phase": 1.0, "epoch": 1.0, VAL_TYPE: 70.0},
        {"phase": 2.0, "epoch": 2.0, VAL_TYPE: 50.0},
        {"phase": 2.0, "epoch": 3.0, VAL_TYPE: 60.0},
    ]
    assert trained(Recipe(), curve, epoch=2).validation_type == (50, 60)


def test_released_weights_have_no_validation() -> None:
    released = trained(Recipe(), released="valorpp")
    assert released.selected_by == "–"
    assert all(value != value for value in released.validation_type)


# Tables


@pytest.fixture(scope="module")
def standings() -> dict:
    return simulated_standings(videos=120)


def cells(table: str, name: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_leaderboard_has_labels_selection_and_validation(standings: dict) -> None:
    tested = assess_standings(standings)
    rows = board_rows(standings.values(), tested, PUBLISHED)
    table = leaderboard(rows)
    lines = table.partition("\n\n")[0].splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 2 + len(METHODS) + len(PUBLISHED)
    nrep = next(line for line in lines if line.startswith("| NREP ") and "this run" in line)
    columns = [title.strip() for title in lines[0].split("|")]
    of_nrep = dict(zip(columns, map(str.strip, nrep.split("|")), strict=True))
    assert of_nrep["Selected by"] == "seg. A, ev. Event"
    assert of_nrep["Val. Type"] == "69.0 / 69.4"
    assert of_nrep["Labels"] == "weak labels, segment pseudo-labels"
    cells_of_type = [line.split("|")[-8].strip(" *") for line in lines[2:-2]]
    segment_types = [float(text.partition("±")[0]) for text in cells_of_type]
    assert segment_types == sorted(segment_types, reverse=True)
    assert {line.split("|")[1].strip() for line in lines[-2:]} == {"VALOR+", "MM-CSE"}
    assert "- VALOR+: its scores are" in table
    ranked = cells(rank_table(rows), "LINK")
    index, found = list(standings).index("LINK"), tested["segment", "type"]
    assert ranked[3:5] == [found.letters[index], str(found.ranks[index])]


def test_every_pair_is_in_the_table_of_pairs(standings: dict) -> None:
    tested = assess_standings(standings)
    names = [standing.row.name for standing in standings.values()]
    header, rows = pair_csv(names, tested)
    assert len(rows) == 4 * 16 * 15 / 2
    assert len({tuple(row[:3]) for row in rows}) == len(rows)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    for row in table:
        assert row["first"] != row["second"]
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["p"] <= row["p_holm"]
        level, metric = row["metric"].split("_")
        letters = dict(zip(names, tested[level, metric].letters, strict=True))
        share = set(letters[row["first"]]) & set(letters[row["second"]])
        assert row["is_significant"] == (not share)


# Published counterparts


@pytest.mark.parametrize(
    ("name", "inputs", "expected"),
    [
        *((name, "CLAP, CLIP", name) for name in ("HAN", "MM-Pyramid", "MGN", "JoMoLD", "CMPAE")),
        *((name, "CLAP, CLIP", name) for name in ("VALOR", "VALOR+", "VALOR++", "LINK", "NREP")),
        *((name, "CLAP, CLIP", name) for name in ("CoLeaF", "CoLeaF+", "MM-CSE", "LEAP (HAN)")),
        ("LEAP", "CLAP, CLIP", "LEAP (MM-Pyramid)"),
        ("LINK, as printed", "CLAP, CLIP", "LINK"),
        ("VALOR++ (released weights)", "CLAP, CLIP, R(2+1)D", "VALOR++"),
        ("UWAV", "CLAP, CLIP", "UWAV (CLIP, CLAP)"),
        ("UWAV", "VGGish, ResNet-152, R(2+1)D", "UWAV"),
        ("DG-SCT, temporal part", "CLAP, CLIP", None),
        ("Mine", "CLAP, CLIP", None),
    ],
)
def test_methods_find_their_published_results(name: str, inputs: str, expected: str | None) -> None:
    work = counterpart(row_named(name, inputs), PUBLISHED)
    assert (work.method if work else None) == expected


def test_every_method_finds_its_published_result_or_is_a_part_of_one() -> None:
    unknown = {
        method.display_name
        for method in TRAINABLE.values()
        if method.display_name not in PARTS
        and counterpart(row_named(method.display_name), PUBLISHED) is None
    }
    assert unknown == {"LINK+"}, "this project's own, which nobody has published"
    names = {method.display_name for method in TRAINABLE.values()}
    assert set(PARTS) <= names, "a display name has changed"


def test_methods_of_the_field_are_listed_and_numbers_have_a_source() -> None:
    listed = {work.method: work for work in PUBLISHED}
    assert {"DG-SCT", "CM-PIE"} <= set(listed)
    assert "published numbers only" in listed["CM-PIE"].note
    for name in ("VALOR+", "MM-CSE"):
        assert not any(score.is_known for score in listed[name].cells)
        assert "could not be checked" in listed[name].note


def test_a_part_of_a_method_is_not_taken_for_it() -> None:
    [name] = PARTS
    table = published_differences([row_named(name), row_named("VALOR+")], PUBLISHED)
    found = cells(table, name)
    assert found[1:3] == ["DG-SCT", "LINK, Table I"]
    assert found[3].startswith("not DG-SCT but its temporal gates and MGN, on features;")
    assert found[7] == "60.0 (57.1, +2.9)"
    assert cells(table, "VALOR+")[4] == "60.0 (–)"
    part = TrainedParser(**vars(trained(Recipe())) | {"display_name": name})
    assert parser_row([part], "test", 3, "seeds differ").note.endswith("sound; seeds differ")


def test_labels_that_differ_from_the_published_ones_are_said() -> None:
    row = row_named("UWAV", labels="weak labels, segment pseudo-labels", protocol="gate g, 0.5")
    differs = cells(published_differences([row], PUBLISHED), "UWAV")[3]
    assert differs.startswith("labels weak labels, segment pseudo-labels, published weak labels,")
    assert "UnAV-100" in differs


# The page


class Elements(HTMLParser):
    """All elements of a page, and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("is_llp", [True, False])
def test_the_page_is_whole_and_safe(is_llp: bool, tmp_path: Path) -> None:
    text = write_simulated_page(tmp_path, is_llp).read_text(encoding="utf-8")
    page = Elements(text)
    assert page.open == []
    assert HOSTILE_NAME not in text
    tags = [tag for tag, _ in page.found]
    assert "img" not in tags
    rows = [
        attributes for tag, attributes in page.found if tag == "tr" and "data-source" in attributes
    ]
    assert len(rows) == len(METHODS) + is_llp * len(PUBLISHED)
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in page.found:
        href = attributes.get("href") or ""
        if href.startswith("#"):
            assert href[1:] in ids
        assert tag != "a" or href.startswith("#") or href.endswith((".csv", ".md"))
        assert not any(name.startswith("on") for name in attributes)
    assert ("UWAV (CLIP, CLAP)" in text) == is_llp


def test_plots_have_their_numbers_beside_them(tmp_path: Path) -> None:
    write_simulated_page(tmp_path, is_llp=True)
    for level in ("segment", "event"):
        assert (tmp_path / f"compare_{level}.svg").is_file()
        with (tmp_path / f"compare_{level}.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["method"]: row for row in csv.DictReader(file)}
        assert len(rows) == len(METHODS)
        link = rows["LINK"]
        assert float(link["low"]) < float(link["percent"]) < float(link["high"])
        by_seed = [float(value) for value in link["percent_by_seed"].split()]
        assert sum(by_seed) / 3 == pytest.approx(float(link["percent"]), abs=1e-3)
        assert rows["DG-SCT, temporal part"]["published"] == ""
        assert rows["MM-CSE"]["published"] == ""
    assert float(rows["UWAV"]["published"]) == 63.9
