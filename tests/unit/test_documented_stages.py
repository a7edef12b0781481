"""Every documented command of the guides and methods runs as written, on small simulated data.

Networks are small and each phase of a training has one epoch. README and the tutorials are walked
through in a shell, in tests/workflow/test_walkthrough.py.
"""

import glob
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from documents import PAGES, blocks, is_run, stage_words
from released import Release, simulated_names, simulated_truth, write_folders
from released_valor import released_network
from small_methods import SMALL

from pipeline.cli import main
from pipeline.data.annotations import EVENT_TABLES
from pipeline.parsers.registry import METHODS

pytestmark = pytest.mark.extended

# `doctor` exits with 1: simulated features do not give the published scores.
EXIT_CODES = {"doctor": 1}
# How every page of a method trains it on the demo's features; test_every_method.py trains each.
TRAIN_ONE = re.compile(
    r"avvp train --method (\w+) --features results/features"
    r" --annotations resources/demo/annotations --seed 0 --out models/\1"
)
TRAINED = "link"


def commands_of(page: str) -> list[str]:
    """Return the commands of a page that run here."""
    commands = []
    for command in (command for block in blocks(page) for command in block.commands):
        one = TRAIN_ONE.fullmatch(command)
        assert one is None or one[1] in METHODS, command
        # Those with --classes are in test_hub_encoders.py.
        is_elsewhere = (one and one[1] != TRAINED) or "--classes" in command or not is_run(command)
        if not is_elsewhere and (stage_words(command) or command.startswith("python -c")):
            commands.append(command)
    return commands


GUIDES = [
    page
    for page in PAGES
    if page.startswith("docs/") and not page.startswith("docs/tutorials/") and commands_of(page)
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages' commands read."""
    folder = tmp_path_factory.mktemp("world")
    names = simulated_names(16)
    release = Release(simulated_truth(names))
    write_folders(folder / "data", release.valor())
    write_folders(folder / "data/feats", release.han())
    for archive, files in release.uwav("inside").items():
        for name, content in files.items():
            path = folder / "data" / archive / name.removeprefix("inside/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    np.save(folder / "data/text_words.npy", np.eye(25, 300, dtype=np.float32))
    tables = folder / "annotations"
    release.write_tables(tables, {"train": names[:8], "val": names[8:12], "test": names[12:]})
    for copy in ("resources/annotations", "resources/demo/annotations"):
        shutil.copytree(tables, folder / copy)
    shutil.copytree(tables, folder, dirs_exist_ok=True)
    for modality, table in EVENT_TABLES.items():
        shutil.copyfile(tables / table, folder / f"predicted_{modality}.csv")
    (folder / "parsed.tsv").write_text("\n".join(["filename", *names[12:]]) + "\n")
    (folder / "resources/videos").mkdir()
    torch.save(released_network("valorpp").state_dict(), folder / "checkpoint_best.pt")
    prepare(folder)
    return folder


def prepare(folder: Path) -> None:
    """Make features and pseudo-labels of the released ones, as a run has them."""
    features, tables = folder / "results/features", ["--annotations", str(folder / "annotations")]
    sources = ["--valor", str(folder / "data"), "--uwav", str(folder / "data")]
    assert main(["import-features", *sources, *tables, "--shards=2", f"--out={features}"]) == 0
    clip, clap = (str(next(features.glob(f"{kind}-*"))) for kind in ("clip", "clap"))
    words = ["pseudo-labels", "--clip", clip, "--clap", clap, *tables]
    assert main([*words, "--out", str(folder / "results/pseudo_labels")]) == 0


@pytest.mark.parametrize("page", GUIDES)
def test_the_commands_of_a_page_run(
    page: str, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    for command in commands_of(page):
        words = [word for each in shlex.split(command) for word in expanded(each)]
        if words[:2] == ["python", "-c"]:
            subprocess.run([sys.executable, *words[1:]], check=True)
            continue
        words = stage_words(shlex.join(words))
        extra = quick_options(words[1 + words.index("--method")]) if words[0] == "train" else []
        code = main([*words, *extra])
        assert code == EXIT_CODES.get(words[0], 0), f"{command}: {capsys.readouterr().err}"


def quick_options(method: str) -> list[str]:
    """Return the options by which a method is small and each of its phases has one epoch."""
    known = METHODS[method].recipe.model_fields
    epochs = {name: 1 for name in ("epochs", "estimator_epochs") if name in known}
    options = {**SMALL[method], **epochs}
    return [word for name, value in options.items() for word in ("--option", f"{name}={value}")]


def expanded(word: str) -> list[str]:
    """Return the paths that a pattern stands for in a shell."""
    return sorted(glob.glob(word)) or [word] if "*" in word else [word]
