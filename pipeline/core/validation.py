"""The one translation of validation errors into sentences that a person can act on."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.core.errors import PipelineError, one_of

# Characters of a value that a sentence repeats.
LONGEST_VALUE = 200
# Parts of an error's place that name a type or a function instead of a key.
NOT_A_KEY = re.compile(r"(constrained-)?(int|float|str|bool)|none|\[key\]|function-.*|\w+\[.*\]")
# What a value must be, by the type of the error, where pydantic's words are not a user's.
REQUIREMENTS = {
    "string_type": "it must be text",
    "int_from_float": "it must be a valid integer",
    "int_parsing_size": "it must be a valid integer of fewer digits",
    "list_type": "it must be a list, such as [A, B]",
    "tuple_type": "it must be a list, such as [A, B]",
    "invalid_key": "it must be text: put it in quotes",
    "recursion_loop": "it must not contain itself",
}
NEEDS_KEYS = ("dict_type", "model_type", "model_attributes_type", "mapping_type")
# What a text must be, by the pattern that it must match.
_PATTERNS: dict[str, str] = {}

Model = TypeVar("Model", bound=BaseModel)


def pattern(expression: str, requirement: str) -> str:
    """Return a pattern for a field, and remember how a sentence puts it: ``it must ...``."""
    _PATTERNS[expression] = requirement
    return expression


def validated(
    model: type[Model], values: Mapping[str, Any], what: str = "option", where: str = ""
) -> Model:
    """Return the checked values.

    Parameters
    ----------
    model, values
        What is checked against what.
    what
        What a key is called in the sentence, such as ``config key``.
    where
        Start of the sentence, such as the file.

    Raises
    ------
    PipelineError
        A key is unknown or missing, or a value is not allowed: one sentence with the key, the value
        and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise PipelineError(where + sentence(error, model, what)) from None


def sentence(error: ValidationError, model: type[BaseModel], what: str = "option") -> str:
    """Return the first problem of a validation error as one sentence."""
    problems = error.errors(include_url=False)
    # A required key that is mistyped is both missing and unknown.
    first = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    location = _keys_of(first)
    key = ".".join(str(part) for part in location)
    subject = f"{what} '{key}'" if key else f"the {what}s"
    if first["type"] == "json_invalid":
        return f"it is not valid JSON: {first['ctx']['error']}."
    if first["type"] == "extra_forbidden":
        return f"{subject} is unknown; it {one_of(location[-1], _keys_at(model, location[:-1]))}."
    if first["type"] == "missing":
        return f"{subject} is missing."
    if first["type"] == "value_error":
        return f"{subject}: {first['ctx']['error']}." if key else f"{first['ctx']['error']}."
    # A value of one of several types has an error for each.
    alike = [each for each in problems if _keys_of(each) == location]
    allowed = " or ".join(dict.fromkeys(map(requirement, alike))).replace(" or it must be", " or")
    given = _shown(first["input"])
    return f"{subject} is {given}; {allowed}." if key else f"{allowed}, not {given}."


def requirement(problem: ErrorDetails) -> str:
    """Return what is asked of a value, as ``it must ...``."""
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind in NEEDS_KEYS:
        name = given[0] if isinstance(given, list) and given else "NAME"
        value = "{}" if isinstance(given, list) and given else "VALUE"
        return f"it must map names to options, such as {{{name}: {value}}}"
    if kind == "string_type" and isinstance(given, bool):
        return "it must be text: put it in quotes, as YAML reads No, Yes, On and Off as no text"
    if kind == "string_type" and given is not None and not isinstance(given, list | dict):
        return "it must be text: put it in quotes"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"it {one_of(given, known)}"
    if kind == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        return f"it must {_PATTERNS[context['pattern']]}"
    if kind in REQUIREMENTS:
        return REQUIREMENTS[kind]
    message = re.sub(r"^(Input|Value|String|List|Dictionary) should ", "it must ", problem["msg"])
    return re.sub(r"^it must have at least 1 (item|character).*", "it must not be empty", message)


@contextmanager
def as_value_error(prefix: str = "") -> Iterator[None]:
    """Raise a PipelineError inside a validator as a ValueError, so that the key is added to it."""
    try:
        yield
    except PipelineError as error:
        raise ValueError(f"{prefix}{str(error).rstrip('.')}") from None


def _keys_of(problem: ErrorDetails) -> list[int | str]:
    """Return the keys that lead to a problem's value."""
    return [part for part in problem["loc"] if not NOT_A_KEY.fullmatch(str(part))]


def _shown(value: object) -> str:
    """Return a value as it is written in YAML, shortened."""
    text = "empty" if value is None else repr(value)
    text = text.lower() if isinstance(value, bool) else text
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


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
