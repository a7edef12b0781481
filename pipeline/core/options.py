"""Options: what people can set, declared once and used by configuration, command line and docs.

Each stage's options are one model. The configuration contains it, the command line generates its
arguments from it (``pipeline.cli.options``), the docs list its fields, and fingerprints hash what
``deciding`` returns.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
# At most a day: alarms and sockets take no endless time.
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

# Marks a field that changes how a job runs, never what it writes:
# ``Field(..., json_schema_extra=RUNTIME)``.
RUNTIME: dict[str, Any] = {"runtime": True}


class Options(BaseModel):
    """A group of options: frozen, and without any other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def deciding(self) -> dict[str, Any]:
        """Return the values that decide results, as JSON values: all but those marked RUNTIME."""
        deciding = {}
        for name, field in type(self).model_fields.items():
            if not is_runtime(field.json_schema_extra):
                deciding[name] = _deciding(getattr(self, name))
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


def _deciding(value: Any) -> Any:
    if isinstance(value, Options):
        return value.deciding()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _deciding(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_deciding(each) for each in value]
    return value
