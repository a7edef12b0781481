"""Command-line arguments generated from option models, each declared once in its model."""

import argparse
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from pipeline.core.options import Options
from pipeline.core.validation import requirement, validated

# As in the models of the options.
FINITE = ConfigDict(allow_inf_nan=False)
OptionGroup = TypeVar("OptionGroup", bound=Options)


def add_options(
    parser: argparse.ArgumentParser,
    model: type[Options],
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> None:
    """Add an argument for each field of a model.

    Parameters
    ----------
    parser
        Gets ``--field-name`` for each.
    model
        The options; names, types, defaults and help texts come from its fields.
    only, without
        Fields to take, or to leave out; all are taken by default.
    """
    for name, field in model.model_fields.items():
        if (not only or name in only) and name not in without:
            parser.add_argument(f"--{name.replace('_', '-')}", **_argument(name, field))


def options_from(
    arguments: argparse.Namespace, model: type[OptionGroup], **values: Any
) -> OptionGroup:
    """Return the options that the arguments give, with some values set otherwise.

    Raises
    ------
    PipelineError
        Values exclude each other.
    """
    given = {name: getattr(arguments, name) for name in model.model_fields if name in arguments}
    return validated(model, given | values)


def _argument(name: str, field: FieldInfo) -> dict[str, Any]:
    text = (field.description or "").replace("%", "%%")
    if field.annotation is bool and field.default is False:
        return {"action": "store_true", "help": text}
    return {
        "type": _reader(field),
        "default": None if field.is_required() else field.get_default(call_default_factory=True),
        "required": field.is_required(),
        "metavar": _metavar(name, field.annotation),
        "help": text + _default_text(field),
    }


def _reader(field: FieldInfo) -> Callable[[str], Any]:
    """Return a function from a word of the command line to the field's value."""
    annotation: Any = field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[annotation, *field.metadata] if field.metadata else annotation,
        config=FINITE,
    )

    def read(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            problem = error.errors(include_url=False)[-1]
            raise argparse.ArgumentTypeError(f"{text} is given; {requirement(problem)}") from None

    return read


def _metavar(name: str, annotation: Any) -> str:
    choices = _choices(annotation)
    return "{" + ",".join(choices) + "}" if choices else name.rpartition("_")[2].upper()


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    if get_origin(annotation) is Union:
        return []
    return []


def _default_text(field: FieldInfo) -> str:
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return "" if default is None else f" (default: {default})"
