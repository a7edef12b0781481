"""What people mistype on the command line: one sentence and exit code 2, never a traceback."""

import errno
import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.core import files
from pipeline.core.errors import PipelineError
from pipeline.core.files import write_text
from pipeline.core.process import name_user


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
        (["train", "--processes", "0"], "0 is given; it must be 1 or more"),
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


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["trian"], "'train'"),
        (["parse", "--checkpiont", "x"], "'--checkpoint'"),
        (["export", "--layout", "valr"], "'valor'"),
        (["segments", "--decoder", "PyAV"], "'pyav'"),
        (["config", "--config", "trainig={}"], "'training'"),
        (["config", "--config", "preset=lpl"], "'llp'"),
        (["config", "--config", "decode={decoder: Decord}"], "'decord'"),
        (["config", "--config", "methods={lnik: {}}"], "'link'"),
        (["config", "--config", "methods={link: {epohcs: 1}}"], "'epochs'"),
        (["import-checkpoint", "valorp", "x", "--out", "o"], "'valorpp'"),
    ],
)
def test_what_was_meant_is_said(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"(did you mean {meant}?)" in said(words, capsys)


def test_a_mistake_is_one_line_without_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["parse", "clip.mp4", "--workers", "x"])
    assert capsys.readouterr().err.splitlines() == [
        "error: argument --workers: x is given; it must be 1 or more; see `avvp parse --help`."
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("training: {seeds: [true]}", "'training.seeds' is [True]; it must be a number, not true"),
        ("decode: {frame_size: yes}", "'decode.frame_size' is true; it must be a number"),
        ("training: {seeds: [010]}", "YAML reads 010 as 8 (in line 1)"),
        ("decode: {timeout_seconds: 1:30}", "YAML reads 1:30 as 90 (in line 1)"),
        ("preset: demo\npreset: llp", "key 'preset' is there twice, in line 1 and in line 2"),
        ("methods: {link: {learning_rate: .inf}}", "'learning_rate' is inf; it must be a finite"),
        ("methods: {link: {learning_rate: .nan}}", "'learning_rate' is nan; it must be a finite"),
        ("dataset:", "config key 'dataset' is empty; it must map names to options"),
        ("dataset: {name: No}", "'dataset.name' is false; it must be text: put it in quotes"),
        ("dataset: {name: 2024}", "'dataset.name' is 2024; it must be text: put it in quotes"),
        ("dataset: {name: My Set}", "it must consist of lower-case letters, digits and hyphens"),
        ("parse: {videos: '${HOME}/videos'}", "has a variable, which is not replaced"),
        ("parse: {videos: ''}", "the path is empty; remove the key"),
        ("3: 4", "it must be text: put it in quotes"),
        ("- preset", "must have keys and values"),
        ("a: &a [*a]", "config key 'a' is unknown"),
        ("a: !!int ''", "is not YAML"),
        ("a: 2024-13-45", "is not YAML: month must be in 1..12"),
        ("[" * 3000, "is not YAML: it is nested too deeply"),
    ],
)
def test_a_configuration_that_yaml_reads_otherwise(
    content: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    assert main(["config", "--configfile", str(path)]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_strictness_takes_what_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "methods:\n  link: &link {learning_rate: 1e-3, compiled: yes}\n"
        "  valorpp: {<<: *link, learning_rate: 2e-3, epochs: '5'}\n"
        "parse: {videos: ~/videos}\n"
    )
    assert main(["config", "--configfile", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "learning_rate: 1e-3" in shown
    assert "learning_rate: 2e-3" in shown
    assert "videos: /home/me/videos" in shown


def test_an_empty_configuration_is_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.yaml").touch()
    assert main(["config", "--configfile", str(tmp_path / "empty.yaml")]) == 0
    assert "preset: demo" in capsys.readouterr().out


def test_a_home_folder_in_a_path_is_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"'{tmp_path}/none.yaml'" in said(["config", "--configfile", "~/none.yaml"], capsys)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_files_are_written_where_chmod_and_fsync_are_not_offered(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    if number != errno.EPERM:  # what CIFS says to chmod alone
        monkeypatch.setattr(os, "fsync", refused)
    monkeypatch.setattr(Path, "chmod", refused)
    monkeypatch.setattr(files, "UMASK", 0o077)  # so that the mode is to change
    write_text(tmp_path / "x", "x")
    assert (tmp_path / "x").read_text() == "x"


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "x", "x")
    assert not list(tmp_path.iterdir())


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    name_user()
    assert getpass.getuser() == f"uid{os.getuid()}"
    monkeypatch.delenv("USER")


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(closed: str, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    words = f"config --config training='{{seeds: [1]}}' {closed}"
    code = (
        "import sys; from pipeline.cli import main; code = main(sys.argv[1:]);"
        f"open({str(out)!r}, 'w').write(str(code)); sys.exit(code)"
    )
    command = f'{sys.executable} -c "{code}" {words}'
    assert subprocess.run(command, shell=True, capture_output=True).returncode == 0
    assert out.read_text() == "0"


def test_a_terminal_that_lacks_characters() -> None:
    words = [sys.executable, "-m", "pipeline", "config", "--config", "parse={videos: 音–é}"]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    ended = subprocess.run(words, env=environment, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert "videos: ??é".encode("latin-1") in ended.stdout


def test_an_interruption_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.cli.config.run", interrupted)
    assert main(["config"]) == 130
    assert capsys.readouterr().err == "error: interrupted.\n"


def test_a_file_that_may_not_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a/b.csv")

    monkeypatch.setattr("pipeline.cli.config.run", refused)
    assert main(["config"]) == 2
    assert capsys.readouterr().err.startswith("error: 'a/b.csv' cannot be used (Permission denied)")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--checkpoint", "c", "--vocabulary", "v.yaml"], "--vocabulary needs --classes"),
        (["--checkpoint", "c", "--preset", "demo"], "--preset needs --classes"),
        (["--classes", "a dog", "--settings", "parsing.json"], "--settings needs --checkpoint"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").touch()
    line = ["parse", str(tmp_path / "clip.mp4"), "--out", str(tmp_path / "o"), *words]
    assert sentence in said(line, capsys)
