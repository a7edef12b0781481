"""Read YAML and JSON that people write or hand over: one sentence where they cannot be read."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file

# YAML 1.1 reads 010 as 8, and 1:30 as 90.
OTHER_BASES = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class _RefusedError(yaml.YAMLError):
    """Valid YAML that its author can hardly have meant."""


class _StrictLoader(yaml.SafeLoader):
    """YAML's plain types, without repeated keys and without numbers of other bases."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a mapping whose keys differ."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                other = first.setdefault((key.tag, key.value), key)
                if other is not key:
                    raise _RefusedError(
                        f"the key '{key.value}' is there twice, {_place(other.start_mark)} and"
                        f" {_place(key.start_mark)}; remove one"
                    )
        return node

    def construct_scalar(self, node: Any) -> Any:
        """Return the text of a value."""
        is_number = node.tag.endswith((":int", ":float"))
        if is_number and OTHER_BASES.fullmatch(node.value):
            reader = _NUMBERS[node.tag.rpartition(":")[2]]
            raise _RefusedError(
                f"YAML reads {node.value} as {reader(yaml.SafeLoader(''), node)}"
                f" ({_place(node.start_mark)}); write that number, or '{node.value}' in quotes"
            )
        return super().construct_scalar(node)


_NUMBERS: dict[str, Callable[..., Any]] = {
    "int": yaml.SafeLoader.construct_yaml_int,
    "float": yaml.SafeLoader.construct_yaml_float,
}


def parse_yaml(content: str | bytes, subject: str) -> Any:
    """Return the values of a YAML document.

    Parameters
    ----------
    content
        The document; bytes must be UTF-8.
    subject
        What it is, first in the sentence, such as ``'config.yaml'``.

    Raises
    ------
    PipelineError
        It is not YAML, repeats a key, or has a number that YAML reads as another one.
    """
    try:
        return yaml.load(content, _StrictLoader)
    except _RefusedError as error:
        raise PipelineError(f"{subject}: {error}.") from None
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        raise PipelineError(f"{subject} is not YAML: {_problem(error)}.") from None


def read_yaml(path: Path, what: str) -> Any:
    """Return the values of a YAML file.

    Raises
    ------
    PipelineError
        It is missing, or see ``parse_yaml``.
    """
    return parse_yaml(existing_file(path, what).read_bytes(), f"{what} '{path}'")


def read_json(path: Path, what: str, remedy: str) -> Any:
    """Return the values of a JSON file.

    Parameters
    ----------
    path
        The file.
    what
        What it is, such as ``the scores``.
    remedy
        What to do if it is damaged.

    Raises
    ------
    PipelineError
        It is missing, or not JSON.
    """
    check_not_pointer(existing_file(path, what))
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"{what} '{path}' is not valid JSON ({error}); {remedy}.") from None


def check_not_pointer(path: Path) -> None:
    """Check that a file is not what Git leaves of a large file without its LFS extension.

    Raises
    ------
    PipelineError
        It is.
    """
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise PipelineError(
                f"'{path}' is a Git LFS pointer, not the file itself; run `git lfs pull` in its"
                " repository, or download the file."
            )


def _place(mark: yaml.Mark) -> str:
    return f"in line {mark.line + 1}"


def _problem(error: Exception) -> str:
    """Return what is wrong with a document, and where."""
    if isinstance(error, yaml.reader.ReaderError):
        if isinstance(error.character, int) and error.encoding == "unicode":
            return f"it has the control character U+{error.character:04X}; remove it"
        return "it is not UTF-8; save it with that encoding"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        start = f"{error.context} " if str(error.problem).startswith("but ") else ""
        return f"{start}{error.problem} ({_place(error.problem_mark)})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return " ".join(str(error).split())
