"""The one translation of validation errors into sentences that a person can act on."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from pipeline.core.errors import PipelineError

# Characters of a value that a sentence repeats.
LONGEST_VALUE = 200

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], what: str = "option") -> Model:
    """Return the checked values.

    Parameters
    ----------
    model, values
        What is checked against what.
    what
        What a key is called in the sentence, such as ``config key``.

    Raises
    ------
    PipelineError
        A key is unknown or missing, or a value is not allowed: one sentence with the key, the value
        and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise PipelineError(sentence(error, model, what)) from None


def sentence(error: ValidationError, model: type[BaseModel], what: str = "option") -> str:
    """Return the first problem of a validation error as one sentence."""
    first = error.errors(include_url=False)[0]
    location = [part for part in first["loc"] if not str(part).startswith("function-")]
    key = ".".join(str(part) for part in location)
    subject = f"{what} '{key}'" if key else f"the {what}s"
    if first["type"] == "extra_forbidden":
        known = ", ".join(_keys_at(model, location[:-1]))
        return f"{subject} is unknown; it must be one of {known}."
    if first["type"] == "missing":
        return f"{subject} is missing."
    if first["type"] == "value_error":
        return f"{subject}: {first['ctx']['error']}." if key else f"{first['ctx']['error']}."
    return (
        f"{subject} is {_shortened(first['input'])}; {requirement(first['msg'], first['input'])}."
    )


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def requirement(message: str, given: object = None) -> str:
    """Return what pydantic asks of a value, as ``it must ...``."""
    message = re.sub(r"^(Input|Value|String|List|Dictionary) should ", "it must ", message)
    if message.startswith("it must be a valid dictionary"):
        example = f"{given[0]}: {{}}" if isinstance(given, list) and given else "NAME: VALUE"
        return f"it must map names to options, such as {{{example}}}"
    return re.sub(r"^it must have at least 1 item.*", "it must not be empty", message)


@contextmanager
def as_value_error(prefix: str = "") -> Iterator[None]:
    """Raise a PipelineError inside a validator as a ValueError, so that the key is added to it."""
    try:
        yield
    except PipelineError as error:
        raise ValueError(f"{prefix}{str(error).rstrip('.')}") from None


def _keys_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that are allowed at a location of nested models."""
    for part in location:
        field = model.model_fields.get(str(part))
        nested = _models_in(field.annotation) if field else []
        if nested:
            model = nested[0]
        # Else the part is a key of a dictionary of models, which was entered with its field.
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
