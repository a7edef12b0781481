"""Commands that documents, configuration and error sentences tell people to type."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest
from documents import FORMS, NOT_RUN, PAGES, blocks, is_run, stage_words

from pipeline.cli import STAGES

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "*.yaml",
        "Makefile",
        "docs/**/*.md",
        "pipeline/**/*.py",
        "workflow/**/*",
    )
    for path in REPOSITORY.glob(pattern)
    if path.suffix in {"", ".md", ".yaml", ".py", ".smk", ".json"} and path.is_file()
)
# Between backticks, over lines too, or a line of its own, which a comment's mark may begin.
COMMAND = r"`({0}\s[^`]+)`|^[#\s]*({0}\s(?:.*\\\n)*.+)$"
# Snakemake runs nothing on this machine without being told how many cores it may have.
SAYS_WHERE = {"--cores", "--workflow-profile", "--dry-run", "--unlock"}
# Run by tests/workflow/test_walkthrough.py, test_other_dataset.py and test_documented_runs.py.
SHELL = {
    "make env",
    "make demo",
    "source .venv/bin/activate",
    "mkdir -p runs/llp",
    "python tables.py unav100_annotations.json 60 unav/tables",
}


def commands(text: str, program: str) -> list[list[str]]:
    """Return the words of each command of a program, without comments."""
    found = re.findall(COMMAND.format(re.escape(program)), text, re.MULTILINE)
    lines = (re.sub(r"\\?\n\s*#?", " ", one or other) for one, other in found)
    return [shlex.split(line, comments=True) for line in lines]


def all_commands(program: str) -> list[tuple[str, list[str]]]:
    return [
        (str(path.relative_to(REPOSITORY)), words)
        for path in DOCUMENTS
        for words in commands(path.read_text(encoding="utf-8"), program)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "run `snakemake inference_settings` in",
        "    snakemake inference_settings   # --cores 1",
        "# as `snakemake\n# inference_settings` does",
    ],
)
def test_a_command_is_found_wherever_it_stands(text: str) -> None:
    assert commands(text, "snakemake") == [["snakemake", "inference_settings"]]


def test_snakemake_is_told_how_many_cores() -> None:
    found = all_commands("snakemake")
    assert len(found) > 20
    assert [each for each in found if not SAYS_WHERE & set(each[1])] == []


def test_what_snakemake_is_asked_for_is_a_rule() -> None:
    from snakemake.cli import get_argument_parser

    parser = get_argument_parser()
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    text += (REPOSITORY / "Snakefile").read_text()
    rules = set(re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE))
    asked = set()
    for _, words in all_commands("snakemake"):
        given = parser.parse_args(["1" if word == "N" else word for word in words[1:]])
        asked |= {*given.targets, *given.forcerun}
    assert {"videos", "inference_settings", "pseudo_labels"} <= asked
    assert asked - {"TARGET", "RULE"} <= rules


def test_every_stage_has_the_options_that_are_named() -> None:
    found = [(path, words[3:]) for path, words in all_commands("python -m pipeline")]
    installed = [(path, words[1:]) for path, words in all_commands("avvp")]
    assert len(found) > 10
    assert len(installed) > 1
    for path, (stage, *words) in found + installed:
        if stage == "STAGE":
            continue
        assert stage in STAGES, path
        parser = argparse.ArgumentParser()
        module = importlib.import_module(f"pipeline.cli.{stage.replace('-', '_')}")
        module.add_arguments(parser)
        known = set(re.findall(r"--[\w-]+", parser.format_help()))
        assert {word for word in words if word.startswith("--")} <= known, path


def test_every_command_of_a_block_is_run_or_says_why_not() -> None:
    """Snakemake is planned (test_documented_runs.py), stages run (test_documented_stages.py)."""
    found = {command for page in PAGES for block in blocks(page) for command in block.commands}
    known = ("snakemake ", "python -c ")
    unknown = [
        command
        for command in found - SHELL
        if is_run(command) and not command.startswith(known) and not stage_words(command)
    ]
    assert unknown == []
    assert found >= SHELL
    assert [each for each in NOT_RUN if not any(one.startswith(each) for one in found)] == []


def test_a_page_whose_blocks_are_forms_has_nothing_to_run() -> None:
    assert [block.commands for page in FORMS for block in blocks(page) if block.commands] == []


def test_every_python_block_is_run() -> None:
    run_by = {
        "README.md": "test_walkthrough.py",
        "docs/tutorials/parse-a-video.md": "test_api.py",
        "docs/tutorials/train-your-own-method.md": "test_walkthrough.py",
        "docs/reference/python-api.md": "test_api.py",
        "docs/how-to/extend.md": "test_extending.py",
        "docs/how-to/your-dataset.md": "test_other_dataset.py",
    }
    found = {page for page in PAGES for block in blocks(page) if block.language == "python"}
    assert found == run_by.keys()
    for page, name in run_by.items():
        (test,) = (REPOSITORY / "tests").rglob(name)
        assert Path(page).name in test.read_text(), (page, name)
