"""A trained parser may be named by its folder, its checkpoint, or the folder of its only seed."""

from pathlib import Path

import pytest
from trained_models import VOCABULARY, true_labels, write_annotations, write_model

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.inference.packed import parser_folder
from pipeline.parsers.model_folders import model_folder, model_folders


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two methods: one of three seeds, and one of a single seed."""
    annotations = write_annotations(tmp_path / "annotations")
    for name in ("link/seed10", "link/seed2", "link/seed0", "valorpp/seed0"):
        folder = tmp_path / "models" / name
        write_model(folder, annotations, true_labels(), method=folder.parent.name)
    return tmp_path / "models"


def test_what_is_unambiguous_is_taken(models: Path, tmp_path: Path) -> None:
    seed = models / "link/seed0"
    assert model_folder(seed / "checkpoint.safetensors") == seed
    assert parser_folder(str(seed / "checkpoint.safetensors")) == seed
    assert parser_folder(models / "valorpp") == models / "valorpp/seed0"
    seeds = [folder.name for folder in model_folders([models / "link"])]
    assert seeds == ["seed0", "seed2", "seed10"]
    assert len(model_folders([models])) == 4
    (models / "link/seed0/checkpoint.safetensors").rename(models / "link/checkpoint.safetensors")
    names = [folder.name for folder in model_folders([models / "link"])]
    assert names == ["link", "seed2", "seed10"], "of every depth"
    assert model_folder(models / "link") == models / "link"
    (models / "link/checkpoint.safetensors").rename(models / "link/seed0/checkpoint.safetensors")
    assert model_folders([tmp_path / "none"]) == [tmp_path / "none"]
    with pytest.raises(PipelineError, match=r"link' has 3 trained parsers; name one .*link/seed0'"):
        parser_folder(models / "link")


def test_commands_take_a_folder_of_seeds(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = tmp_path / "vocabulary.yaml"
    vocabulary.write_text(
        "classes:\n" + "".join(f"- {each.model_dump_json()}\n" for each in VOCABULARY.classes)
    )
    common = ["--annotations", str(tmp_path / "annotations"), "--vocabulary", str(vocabulary)]
    assert main(["evaluate-model", "--model", str(models / "link"), *common]) == 0
    printed = capsys.readouterr().out
    assert [f"link/seed{seed}: " in printed for seed in (0, 2, 10)] == [True] * 3
    words = ["compare", "--models", str(models / "link"), str(models / "valorpp"), *common]
    assert main([*words, "--reference", "valorpp", "--out", str(tmp_path / "compare")]) == 0
    table = (tmp_path / "compare/compare.csv").read_text()
    assert "LINK" in table
    assert "VALOR++" in table
