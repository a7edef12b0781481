"""The commands and snippets of README and docs/, as a reader meets them."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CLI = (["avvp"], ["python", "-m", "pipeline"])

HUB = "needs the Hugging Face Hub"
INDEX = "needs a package index"
# Commands that no test runs as written, and what stands for them.
NOT_RUN = {
    "pip install .": f"{INDEX}; test_package.py installs the wheel where there is one",
    "pip install -U 'yt-dlp[default,deno]'": INDEX,
    "git clone ADDRESS avvp-pipeline": "a placeholder; tests copy the tracked files instead",
    "cd avvp-pipeline": "the same",
    "make test": "runs this test",
    "make test-all": "runs this test",
    "tests/slurm/install.sh": "changes the machine; CI runs it first",
    "pytest tests/slurm": "is part of the suite",
    "python tests/slurm/cluster.py /tmp/toy": "runs until it is stopped; tests/slurm starts it",
    "snakemake --cores 4 --default-storage-provider s3 --default-storage-prefix"
    " s3://my-bucket/run1 --storage-s3-access-key KEY --storage-s3-secret-key SECRET --"
    " features": "a placeholder; test_object_storage.py has a local S3",
    "avvp doctor --llp --motion data/feats/r2plus1d_18": f"{HUB}; test_doctor.py has a local one",
    "avvp import-checkpoint valorpp hf:NTUBarista/valor_trained_models"
    " --out results/models/valorpp_released/seed87": f"{HUB}; test_released.py has a local one",
    "avvp teacher --clip UnAV_CLIP.zip --clap UnAV_CLAP.zip --annotations unav100_annotations.json"
    " --out teacher": "needs UnAV-100; test_teacher.py simulates it",
    "avvp pseudo-labels --clip DIR --clap DIR --annotations annotations --teacher teacher"
    " --out teacher_labels": "the same",
    "avvp train --method uwav --features features --pseudo-labels teacher_labels"
    " --annotations annotations --option labels=teacher --out models/uwav": "the same",
}
# Pages whose blocks list forms of commands, not commands.
FORMS = {"docs/reference/commands.md"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The shell commands of a block without a language, each on one line, without comments."""
        if self.language or self.page in FORMS or "\t" in self.text or '": ' in self.text:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        parts = [part for line in lines for part in _without_comment(line).split(" && ")]
        return [" ".join(part.split()) for part in parts if part.strip()]


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    for indent, language, text in FENCE.findall((REPOSITORY / page).read_text(encoding="utf-8")):
        lines = (line.removeprefix(indent) for line in text.splitlines(keepends=True))
        yield Block(page, language, "".join(lines))


def is_run(command: str) -> bool:
    """Return whether a test runs a command."""
    return not any(command == each or command.startswith(f"{each} '") for each in NOT_RUN)


def stage_words(command: str) -> list[str]:
    """Return a command's words after ``avvp``, or none if it is not a stage's."""
    words = shlex.split(command)
    return next((words[len(start) :] for start in CLI if words[: len(start)] == start), [])


def configuration(block: Block) -> str | None:
    """Return the text of a block that is the configuration file my.yaml."""
    if block.language == "yaml" and block.text.startswith("# my.yaml\n"):
        return block.text
    return None


def fresh_clone(folder: Path) -> Path:
    """Copy the tracked files, as a clone would have them, older than any environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = REPOSITORY / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
            os.utime(target, (0, 0))
    return folder


def add_documented_method(clone: Path) -> None:
    """Add the method of the tutorial to a checkout, as the tutorial says."""
    found = list(blocks("docs/tutorials/train-your-own-method.md"))
    network, recipe = [block.text for block in found if block.language == "python"]
    (line,) = [block.text for block in found if block.text.startswith('"mmil": Method(')]
    (clone / "pipeline/parsers/mmil.py").write_text(network)
    (clone / "pipeline/parsers/recipes/mmil.py").write_text(recipe)
    registry = clone / "pipeline/parsers/registry.py"
    text = registry.read_text()
    beginning = re.search(r"^METHODS: .* = \{\n", text, re.MULTILINE)
    assert beginning
    imported = "from pipeline.parsers.recipes.mmil import MmilRecipe\n\n"
    registry.write_text(
        text[: beginning.start()]
        + imported
        + beginning[0]
        + f"    {line}"
        + text[beginning.end() :]
    )


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line)
