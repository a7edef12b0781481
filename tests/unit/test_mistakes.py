"""What people mistype on the command line: one sentence and exit code 2, never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.files import write_text


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail, and return the last line it says."""
    try:
        code = main(words)
    except SystemExit as error:  # argparse says so itself
        code = error.code
    assert code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("file/x.tsv", r"file/x\.tsv' cannot be written .*one of its parent folders is a file"),
        ("file/below/x.tsv", r"cannot be written .*one of its parent folders is a file"),
        ("folder", r"folder' cannot be written .*give the path of a file inside this folder"),
        (".", r"'\.' cannot be written .*give the path of a file inside this folder"),
        ("..", r"'\.\.' cannot be written .*give the path of a file inside this folder"),
        ("x" * 300, r"cannot be written .*choose a shorter name"),
    ],
)
def test_a_path_that_cannot_be_a_files(
    path: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder" if path.startswith(".") else tmp_path)
    with pytest.raises(PipelineError, match=sentence):
        write_text(Path(path), "x")
    left = {each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*")}
    assert left == {"file", "folder"}


def test_a_configuration_in_another_encoding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("dataset: {name: über}".encode("latin-1"))
    assert f"'{path}' is not YAML" in said(["config", "--configfile", str(path)], capsys)


@pytest.mark.parametrize(
    ("settings", "place"),
    [("{}", "(key 'segments' is missing)"), ("nothing", "(it is not valid JSON")],
)
def test_settings_that_are_no_run(
    settings: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["inference-settings", "--settings", settings, "--thresholds", "t", "--out", "o"]
    assert place in said(words, capsys)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--embed-mb", "inf", "it must be a finite number"),
        ("--embed-mb", "nan", "it must be"),
        ("--embed-mb", "-1", "it must be greater than or equal to 0"),
        ("--timeout-seconds", "inf", "it must be a finite number"),
        ("--timeout-seconds", "nan", "it must be"),
        ("--timeout-seconds", "0", "it must be greater than 0"),
        ("--timeout-seconds", "soon", "it must be a valid number"),
        ("--workers", "0", "it must be 1 or more"),
        ("--threads", "-1", "it must be 1 or more"),
        ("--threshold", "nan", "it must be"),
    ],
)
def test_numbers_of_parse(
    option: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = said(["parse", __file__, "--classes", "a", "--out", "o", option, value], capsys)
    assert value in sentence
    assert allowed in sentence


@pytest.mark.parametrize("stage", ["segments", "videos", "parse"])
def test_a_time_that_never_ends(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it must be less than" in said([stage, "--timeout-seconds", "1e9"], capsys)


@pytest.mark.parametrize("section", ["decode", "download"])
def test_a_time_that_never_ends_in_the_configuration(
    section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{section}: {{timeout_seconds: .inf}}")
    assert f"'{section}.timeout_seconds' is inf" in said(
        ["config", "--configfile", str(path)], capsys
    )


def test_a_video_that_is_not_there_is_said_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "nope.mp4")
    sentence = said(["parse", missing, "--checkpoint", "nowhere", "--out", str(tmp_path)], capsys)
    assert sentence == f"error: '{missing}' does not exist; check the path."


def test_an_output_that_is_a_file_is_said_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").touch()
    out = str(tmp_path / "out")
    sentence = said(["parse", __file__, "--checkpoint", "nowhere", "--out", out], capsys)
    assert "cannot be written (" in sentence
    assert "one of its parent folders is a file" in sentence


def test_a_reader_that_leaves_early() -> None:
    command = f"{sys.executable} -m pipeline config --show | head -1"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert ended.stdout.count("\n") == 1
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--gpus", "-1"], "-1 is given; it must be 0 or more"),
        (["train", "--clap-logit-scale", "inf"], "inf is given; it must be finite and above 0"),
        (["train", "--save-every", "nan"], "nan is given; it must be finite and 0 or more"),
        (["import-features", "--clap-logit-scale", "inf"], "it must be a finite number"),
        (["config", "--config", "training={seeds: [1"], "is not YAML"),
        (["config", "--config", "training={seeds: [-1]}"], "must be greater than or equal to 0"),
    ],
)
def test_numbers_and_values_that_cannot_be(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in said(words, capsys)


def test_scores_never_overwrite_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "videos.csv"
    table.write_text("filename")
    words = ["evaluate", "--videos", str(table), "--out", str(table)]
    for name in ("truth-audio", "truth-visual", "predicted-audio", "predicted-visual"):
        words += [f"--{name}", str(tmp_path / name)]
    assert "is one of the tables; choose another file" in said(words, capsys)
    assert table.read_text() == "filename"


def test_a_long_value_is_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"training: {{seeds: {'x' * 5000}}}")
    assert len(said(["config", "--configfile", str(path)], capsys)) < 400
