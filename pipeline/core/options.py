"""Options: what people can set, declared once and used by configuration, command line and docs.

Each stage's options are one model. The configuration contains it, the command line generates its
arguments from it (``pipeline.cli.shared.options``), the docs list its fields, and fingerprints hash
what ``deciding`` returns.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from pipeline.core.references import is_hub_reference
from pipeline.core.validation import pattern

Count = Annotated[int, Field(ge=1)]
# What torch's generators take.
LARGEST_SEED = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
# At most a day: alarms and sockets take no endless time.
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


SHA256 = pattern(r"^[0-9a-f]{64}$", "be the 64 hex digits that `sha256sum FILE` prints")
Sha256 = Annotated[str, Field(pattern=SHA256), BeforeValidator(_lowered)]


def written_out(path: str) -> str:
    """Return a path spelled one way: without ``./`` and ``//``, the user's folder for ``~``."""
    if "${" in path or path.startswith("$"):
        raise ValueError(f"'{path}' has a variable, which is not replaced; write the path itself")
    if not path.strip():
        raise ValueError("the path is empty; remove the key, or name a file or folder")
    try:
        return path if is_hub_reference(path) else str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"'{path}' is in a home folder that is not known; write it out") from None


_PATH = AfterValidator(written_out)
# A path in a configuration, or hf: and package: references.
PathText = Annotated[str, _PATH]

# Marks a field that changes how a job runs, never what it writes:
# ``Field(..., json_schema_extra=RUNTIME)``.
RUNTIME: dict[str, Any] = {"runtime": True}


class Options(BaseModel):
    """A group of options: frozen, finite, and without any other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false for numbers; pydantic takes them for 1 and 0."""
        values = value if isinstance(value, list | tuple) else [value]
        field = cls.model_fields[str(info.field_name)]
        if any(isinstance(each, bool) for each in values) and _is_number(field.annotation):
            raise PydanticCustomError("truth_value", "it must be a number, not true or false")
        return value

    def deciding(self, paths: bool = True) -> dict[str, Any]:
        """Return the values that decide results, as JSON values: all but those marked RUNTIME.

        Parameters
        ----------
        paths
            Whether to include paths, of which the contents decide rather than the spelling.
        """
        deciding = {}
        for name, field in type(self).model_fields.items():
            if not is_runtime(field.json_schema_extra) and (paths or not _is_path(field)):
                deciding[name] = _deciding(getattr(self, name), paths)
        return deciding

    def runtime(self) -> dict[str, Any]:
        """Return the values marked RUNTIME, without those of nested groups."""
        fields = type(self).model_fields.items()
        return {
            name: getattr(self, name)
            for name, field in fields
            if is_runtime(field.json_schema_extra)
        }


def is_runtime(extra: object) -> bool:
    """Return whether a field's ``json_schema_extra`` marks it RUNTIME."""
    return isinstance(extra, dict) and bool(extra.get("runtime"))


def _is_path(field: FieldInfo) -> bool:
    return _PATH in (*field.metadata, *_types_in(field.annotation))


def _deciding(value: Any, paths: bool) -> Any:
    if isinstance(value, Options):
        return value.deciding(paths)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _deciding(each, paths) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_deciding(each, paths) for each in value]
    return value


def _is_number(annotation: Any) -> bool:
    """Return whether a field takes numbers, and neither true and false nor anything."""
    types = list(_types_in(annotation))
    return any(each in types for each in (int, float)) and bool not in types and Any not in types


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _types_in(argument)
