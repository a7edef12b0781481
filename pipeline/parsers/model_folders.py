"""Which trained parsers a path means: a model folder, its checkpoint, or a folder of seeds."""

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.shards import CHECKPOINT_FILE


def model_folder(path: Path) -> Path:
    """Return the folder of the one parser that a path means; see `model_folders`.

    Raises
    ------
    PipelineError
        It means several.
    """
    if (path / CHECKPOINT_FILE).is_file():
        return path
    found = model_folders([path])
    if len(found) > 1:
        raise PipelineError(
            f"'{path}' has {len(found)} trained parsers; name one of them, such as '{found[0]}'."
        )
    return found[0]


def model_folders(paths: Iterable[Path]) -> list[Path]:
    """Return the folders of the parsers that paths mean.

    A path may be a model folder, the checkpoint in it, or a folder of such folders, such as
    ``results/models/link`` with its seeds or ``results/models``. Any other path stays as it is.
    """
    return [folder for path in paths for folder in _folders_in(path)]


def _folders_in(path: Path) -> list[Path]:
    if path.name == CHECKPOINT_FILE and path.is_file():
        return [path.parent]
    patterns = (CHECKPOINT_FILE, f"*/{CHECKPOINT_FILE}", f"*/*/{CHECKPOINT_FILE}")
    found = [checkpoint.parent for pattern in patterns for checkpoint in path.glob(pattern)]
    return sorted(found, key=_numbered) or [path]


def _numbered(path: Path) -> list[tuple[str, int]]:
    """Return a sort key that puts seed2 before seed10."""
    parts = re.findall(r"(\D*)(\d*)", str(path))
    return [(text, int(digits or -1)) for text, digits in parts]
