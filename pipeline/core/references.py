"""Paths in a configuration: plain ones, files of the package, and files on the Hugging Face Hub.

- ``weights/clip.pt``: a path, relative to the working directory.
- ``package:NAME``: a file or folder that the package carries (``pipeline/resources/``).
- ``hf:OWNER/NAME/FILE[@REVISION]``: a file of a model repository on the Hub, and
  ``hf:OWNER/NAME[@REVISION]`` the repository as a folder; both are fetched to ``OWNER/NAME/`` in
  ``hub_folder()``. Dataset repositories are ``hf:datasets/OWNER/NAME/FILE``, and fetched to
  ``datasets/OWNER/NAME/`` in it.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.files import RESOURCES

PACKAGE_PREFIX = "package:"
HUB_PREFIX = "hf:"
# Where a run folder keeps files of the Hub, and what shows that a folder is one.
HUB_FOLDER = Path("resources") / "hub"
RUN_FOLDER_MARKS = (HUB_FOLDER, Path("config.yaml"), Path("Snakefile"), Path(".snakemake"))
HUB_VARIABLE = "AVVP_HUB"

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_FILE = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
# A branch, a tag or a commit: it becomes part of a path in the Hub library's cache.
_REVISION = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|[./](?=[A-Za-z0-9_]))*"
_HUB = re.compile(
    rf"hf:(?P<datasets>datasets/)?(?P<repository>{_NAME}/{_NAME})(?P<file>(?:/{_FILE})*)(?:@(?P<revision>{_REVISION}))?"
)


def hub_folder() -> Path:
    """Return the folder where files of the Hub are kept.

    It is ``AVVP_HUB`` if that is set; ``resources/hub`` if the working directory is a run folder,
    which has a ``config.yaml``, a ``Snakefile``, ``.snakemake`` or ``resources/hub``; else
    ``avvp/hub`` in the user's cache folder (``XDG_CACHE_HOME``, by default ``~/.cache``).
    """
    if chosen := os.environ.get(HUB_VARIABLE):
        return Path(chosen)
    if any(mark.exists() for mark in RUN_FOLDER_MARKS):
        return HUB_FOLDER
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avvp" / "hub"


@dataclass(frozen=True)
class HubReference:
    """A file of a Hub repository, or the whole repository.

    Attributes
    ----------
    repository
        ``OWNER/NAME``.
    file
        Path inside the repository; empty for the repository itself.
    revision
        Branch, tag or commit.
    kind
        ``model`` or ``dataset``.
    """

    repository: str
    file: str = ""
    revision: str = "main"
    kind: str = "model"

    def __str__(self) -> str:
        """Return the reference as it is written in a configuration."""
        prefix = HUB_PREFIX + ("datasets/" if self.kind == "dataset" else "")
        at = "" if self.revision == "main" else f"@{self.revision}"
        return prefix + "/".join(filter(None, (self.repository, self.file))) + at

    @property
    def path(self) -> Path:
        """Where it is kept."""
        folder = hub_folder() / "datasets" if self.kind == "dataset" else hub_folder()
        return folder / self.repository / self.file


def parse_hub_reference(text: str) -> HubReference:
    """Return the parts of ``hf:OWNER/NAME[/FILE][@REVISION]``.

    Raises
    ------
    PipelineError
        The text does not have this form.
    """
    match = _HUB.fullmatch(text)
    if match is None:
        raise PipelineError(
            f"'{text}' is not a file on the Hugging Face Hub; it must have the form"
            " hf:OWNER/NAME/FILE, optionally with @REVISION."
        )
    kind = "dataset" if match["datasets"] else "model"
    file, revision = match["file"].lstrip("/"), match["revision"] or "main"
    return HubReference(match["repository"], file, revision, kind)


def file_of_repository(repository: str, file: str) -> str:
    """Return the reference of a file of a repository ``hf:[datasets/]OWNER/NAME[@REVISION]``."""
    name, at, revision = repository.partition("@")
    return f"{name}/{file}{at}{revision}"


def is_hub_reference(path: str) -> bool:
    """Return whether a path of a configuration names something on the Hub."""
    return path.startswith(HUB_PREFIX)


def located(path: str) -> str:
    """Return where a path of a configuration lies on disk.

    Raises
    ------
    PipelineError
        The package has no such file, or a Hub reference is malformed.
    """
    if is_hub_reference(path):
        return str(parse_hub_reference(path).path)
    if not path.startswith(PACKAGE_PREFIX):
        return path
    found = RESOURCES / path.removeprefix(PACKAGE_PREFIX)
    if not found.resolve().is_relative_to(RESOURCES) or not found.exists():
        known = sorted(f"{PACKAGE_PREFIX}{each.name}" for each in RESOURCES.iterdir())
        raise PipelineError(f"'{path}' is not in the package; it {one_of(path, known)}, or a path.")
    return str(found)
