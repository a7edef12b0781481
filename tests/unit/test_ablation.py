"""LINK's ablation: its variants are what they are called, and its table says so."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from simulated import make_dataset, make_world
from trained_models import true_labels, write_annotations, write_model

from pipeline.cli import main
from pipeline.config.load import effective_config
from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.link_ablation import components, link_variants
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.report.ablation import write_ablation
from pipeline.training.trainer import Trainer, TrainingJob

REPOSITORY = Path(__file__).resolve().parents[2]
LLP = Dimensions(768, 768, 0, 512, 768, 10, 25)
COMPONENTS = ("TSAM", "CMIM", "PLSIM", "L_label", "L_avss")
# The variants of the paper's ablation, and which of the components each has.
VARIANTS = {
    "baseline": "00000",
    "normalised": "00000",
    "only_tsam": "10000",
    "only_cmim": "01000",
    "only_plsim": "00100",
    "only_s_loss": "00011",
    "no_tsam": "01111",
    "no_cmim": "10111",
    "no_plsim": "11011",
    "no_s_loss": "11100",
    "full": "11111",
}
BASELINE = link_variants()["baseline"]
TINY = {"epochs": 2, "width": 16, "layers": 1, "heads": 2, "feedforward": 32, "batch_size": 8}


def trained_shapes(method: str, **options: object) -> dict[str, torch.Size]:
    parser = build_network(method, LLP, recipe_for(method, options))
    return {name: w.shape for name, w in parser.named_parameters() if w.requires_grad}


def test_baseline_is_the_network_of_valorpp() -> None:
    assert trained_shapes("link", **BASELINE) == trained_shapes("valorpp")
    counts = [
        build_network(method, LLP, recipe_for(method, options)).parameter_count()
        for method, options in (("link", BASELINE), ("valorpp", {}))
    ]
    assert counts[0] == counts[1]


def test_baseline_has_the_recipe_of_valorpp() -> None:
    shared = set(Recipe.model_fields)
    baseline, valorpp = recipe_for("link", BASELINE), recipe_for("valorpp", {})
    assert baseline.model_dump(include=shared) == valorpp.model_dump(include=shared)


def test_baseline_trains_to_the_weights_of_valorpp() -> None:
    dataset = make_dataset(make_world(classes=4), train=16, evaluated=8)
    weights = []
    for method, options in (("link", BASELINE), ("valorpp", {})):
        job = TrainingJob(
            method, recipe_for(method, {**TINY, **options}), dataset, 3, torch.device("cpu")
        )
        trainer = Trainer(job)
        for epoch in (1, 2):
            trainer.run_epoch(epoch)
        weights.append({n: w for n, w in trainer.parser.named_parameters() if w.requires_grad})
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=0, atol=0)


@pytest.mark.parametrize(("variant", "expected"), VARIANTS.items())
def test_variant_has_the_components_of_its_name(variant: str, expected: str) -> None:
    recipe = recipe_for("link", link_variants()[variant])
    assert components(recipe) == {
        name: there == "1" for name, there in zip(COMPONENTS, expected, strict=True)
    }


def test_variants_differ_by_components_alone() -> None:
    toggles = {"tsam", "cmim", "plsim", "label_loss", "avss_weight"}
    for variant, options in link_variants().items():
        beyond = set(options) - toggles
        assert beyond == ({"norm", "decay"} if variant == "baseline" else set()), variant


def test_losses_left_out_are_not_in_the_loss() -> None:
    trained = {
        variant: set(trained_shapes("link", **options))
        for variant, options in link_variants().items()
    }
    assert trained["full"] - trained["no_s_loss"] == {"mu"}
    removed = trained["full"] - trained["no_cmim"]
    assert {name.split(".")[0] for name in removed} == {"audio_cmim", "visual_cmim"}


def shipped() -> dict[str, object]:
    values: dict[str, object] = yaml.safe_load(
        (REPOSITORY / "workflow/presets/demo.yaml").read_text()
    )
    return values


def test_runs_are_methods_and_variants_of_the_configured_method() -> None:
    values = shipped() | {
        "methods": {"link": {"epochs": 7, "cmim_beta": 0.5}, "valorpp": {}},
        "ablation": {"variants": {"quick": {"epochs": 3}, "full": {}}},
    }
    runs = effective_config(values).runs
    assert list(runs) == ["models/link", "models/valorpp", "ablation/quick", "ablation/full"]
    assert runs["ablation/quick"].options == {"epochs": 3, "cmim_beta": 0.5}
    assert runs["ablation/full"] == runs["models/link"]


def test_default_variants_are_the_papers() -> None:
    runs = effective_config(shipped()).runs
    recipes = {
        name.removeprefix("ablation/"): recipe_for("link", run.options)
        for name, run in runs.items()
        if name.startswith("ablation/")
    }
    found = {
        name: "".join(str(int(v)) for v in components(r).values()) for name, r in recipes.items()
    }
    assert found == VARIANTS


@pytest.mark.parametrize(
    ("ablation", "sentence"),
    [
        (
            {"variants": {"wide": {"widht": 2}}},
            r"'ablation': variant 'wide': option of link 'widht' is unk",
        ),
        ({"method": "lnik"}, r"'lnik' is not a method; it must be one of .*link"),
        ({"variants": {"a b": {}}}, r"'a b'"),
        ({"variants": {}}, r"'ablation\.variants' is \{\}"),
    ],
)
def test_mistaken_ablation_is_one_sentence(ablation: dict[str, object], sentence: str) -> None:
    with pytest.raises(PipelineError, match=sentence):
        effective_config(shipped() | {"ablation": ablation})


def test_table_has_ticks_scores_and_changes(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "annotations")
    half = true_labels()
    half[..., 5:, :] = 0
    folders = []
    for variant in ("no_tsam", "full", "baseline"):
        for seed in (0, 1):
            predicted = true_labels() if variant == "full" else half
            folder = tmp_path / variant / f"seed{seed}"
            options = link_variants()[variant]
            folders.append(write_model(folder, annotations, predicted, **options))
    words = ["--annotations", str(annotations), "--out", str(tmp_path)]
    assert main(["ablation", "--models", *map(str, folders), *words]) == 0
    text = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[1] for row in rows] == ["no_tsam", "full", "baseline"], "in the order given"
    assert [row[3:12:2] for row in rows] == [["–"] + ["✓"] * 4, ["✓"] * 5, ["–"] * 5]
    assert "66.7 ± 0.0" in text
    assert "\n\nLabels: weak labels, segment pseudo-labels.\n\n|" in text
    assert "- no_tsam: width=8, layers=1, heads=2, feedforward=8, tsam=False\n" in text
    with (tmp_path / "ablation.csv").open(encoding="utf-8", newline="") as file:
        table = {row["variant"]: row for row in csv.DictReader(file)}
    assert table["no_tsam"]["TSAM"] == "0"
    assert float(table["full"]["segment_type_percent"]) == 100
    assert int(table["baseline"]["parameters"]) < int(table["full"]["parameters"])
    in_order = [str(tmp_path / variant) for variant in ("no_tsam", "full", "baseline")]
    assert main(["ablation", "--models", *in_order, *words]) == 0
    assert (tmp_path / "ablation.md").read_text(encoding="utf-8") == text


def test_variants_scored_on_other_videos_are_refused(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "annotations")
    whole = write_model(tmp_path / "full" / "seed0", annotations, true_labels())
    names = [path.split("\t")[0] for path in (annotations / "AVVP_test_pd.csv").open()][1:4]
    few = write_model(
        tmp_path / "baseline" / "seed0", annotations, true_labels()[:, :3], names=names
    )
    with pytest.raises(PipelineError, match="was not scored on 3 of the 6"):
        write_ablation([whole, few], annotations, tmp_path)


def test_variants_go_by_their_folders(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "annotations")
    folders = [
        write_model(tmp_path / "link" / "seed0", annotations, true_labels()),
        write_model(tmp_path / "wide", annotations, true_labels(), width=16),
        write_model(tmp_path / "link_3", annotations, true_labels(), tsam=False),
    ]
    write_ablation(folders, annotations, tmp_path)
    with (tmp_path / "ablation.csv").open(encoding="utf-8", newline="") as file:
        table = {row["variant"]: row for row in csv.DictReader(file)}
    assert list(table) == ["link", "wide", "link_3"]
    assert "width=16" in table["wide"]["changes"]
    note = "trained with seeds 3, but link with 0; part of the difference may come from the seeds"
    assert [row["note"] for row in table.values()] == ["", "", note]
    assert f"|\n\n- link_3: {note}.\n" in (tmp_path / "ablation.md").read_text(encoding="utf-8")


def test_variants_that_learn_from_other_labels_say_so(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "annotations")
    folders = [
        write_model(tmp_path / labels, annotations, true_labels(), labels=labels)
        for labels in ("hard", "teacher")
    ]
    write_ablation(folders, annotations, tmp_path)
    text = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    assert "- Labels of hard: weak labels, segment pseudo-labels.\n" in text
    assert "- Labels of teacher: weak labels, segment pseudo-labels; also the teacher's" in text


def test_variants_on_other_features_or_of_two_recipes_are_refused(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "annotations")
    full = write_model(tmp_path / "full" / "seed0", annotations, true_labels())
    other = write_model(
        tmp_path / "plain" / "seed0", annotations, true_labels(), made_by={"clip": "other"}
    )
    with pytest.raises(PipelineError, match="full/seed0' was trained on clip 'y', but"):
        write_ablation([full, other], annotations, tmp_path)
    han = write_model(tmp_path / "full" / "seed1", annotations, true_labels(), "han")
    with pytest.raises(PipelineError, match=r"is full with method=link, but '.*seed1' has .*han"):
        write_ablation([full, han], annotations, tmp_path)


def test_parsers_of_two_methods_are_refused(tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "annotations")
    folders = [
        write_model(tmp_path / method / "seed0", annotations, true_labels(), method)
        for method in ("link", "han")
    ]
    with pytest.raises(PipelineError, match="the parsers are of han, link, but an ablation"):
        write_ablation(folders, annotations, tmp_path)
