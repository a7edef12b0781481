"""Generate the reference tables from the code that declares the options.

MkDocs calls ``on_page_markdown`` for each page, which replaces a line ``<!-- generated: NAME -->``
with the output of the function of that name.
"""

import argparse
import re
import sys
import types
from collections.abc import Iterator, Sequence
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

# The package is documented from this checkout, installed or not.
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.cli import STAGES, argument_parser
from pipeline.config.models import Config
from pipeline.parsers.recipes import HanEncoderRecipe, Recipe, SegmentLossRecipe
from pipeline.parsers.registry import METHODS

PLACEHOLDER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
# A help text that ends with its one default, which has a column of its own here.
STATED_DEFAULT = re.compile(r"((?:(?!default).)*) \(default:? ((?:(?!default)[^()])*)\)", re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its placeholders filled."""
    return PLACEHOLDER.sub(lambda match: GENERATED[match[1]](), markdown)


def configuration() -> str:
    """Return one section per top-level key of the configuration."""
    parts = []
    for key, field in Config.model_fields.items():
        section = section_of(field.annotation)
        parts.append(f"## {key}\n\n{field.description or (section and summary(section)) or ''}\n")
        rows = options(section) if section else [row(key, field)]
        parts.append(table(("Key", "Type", "Default", "Description"), rows))
    return "\n".join(parts)


def recipes() -> str:
    """Return the options that all methods share, then what each method changes or adds."""
    headings = ("Option", "Type", "Default", "Description")
    shared = table(headings, options(Recipe))
    parts = [f"### Options of every method {{#recipe}}\n\n{shared}"]
    encoder = changed_options(headings, HanEncoderRecipe, Recipe)
    parts.append("### Options of methods with the HAN encoder {#recipe-han-encoder}\n")
    parts.append(encoder)
    losses = changed_options(headings, SegmentLossRecipe, HanEncoderRecipe)
    parts.append("### Options of VALOR's segment losses {#recipe-segment-losses}\n")
    parts.append(f"They come after those of methods with the HAN encoder.\n\n{losses}")
    for key, method in METHODS.items():
        # A derived recipe, such as LINK as printed, is shown against the one it derives from.
        families: dict[type[BaseModel], str] = {
            Recipe: "every method",
            HanEncoderRecipe: "methods with the HAN encoder",
            SegmentLossRecipe: "methods with VALOR's segment losses",
        }
        families |= {other.recipe: other.display_name for other in METHODS.values()}
        base = next(base for base in method.recipe.__mro__[1:] if base in families)
        where = families[base]
        parts.append(f"### `{key}`: {method.display_name} {{#recipe-{key}}}\n")
        if changed := changed_options(headings, method.recipe, base):
            parts.append(f"Options that are new or whose default differs from {where}:\n")
            parts.append(changed)
        else:
            parts.append(f"All defaults are those of {where}.\n")
    return "\n".join(parts)


def changed_options(headings: Sequence[str], recipe: type[Recipe], base: type[Recipe]) -> str:
    """Return a table of the options that a recipe adds to its base or changes; empty if none."""
    known = base.model_fields
    changed = [
        row(name, field)
        for name, field in recipe.model_fields.items()
        if name not in known or field.default != known[name].default
    ]
    return table(headings, changed) if changed else ""


def commands() -> str:
    """Return one section per stage: its summary, its usage and its arguments."""
    parts = []
    for stage, text in STAGES.items():
        parser = stage_parser(stage)
        rows = [
            argument_row(parser, action)
            for action in parser._actions
            if action.dest not in {"help", "debug"} and action.help != argparse.SUPPRESS
        ]
        parts.append(f"## {stage}\n\n{text[:1].upper()}{text[1:].rstrip('.')}.\n")
        parts.append(table(("Argument", "Default", "Description"), rows))
    return "\n".join(parts)


def stages() -> str:
    """Return the list of all stages."""
    rows = [(f"[`{stage}`](#{stage})", cell(text)) for stage, text in STAGES.items()]
    return table(("Command", "What it does"), rows)


GENERATED = {
    "configuration": configuration,
    "recipes": recipes,
    "commands": commands,
    "stages": stages,
}


def options(model: type[BaseModel], prefix: str = "") -> list[tuple[str, ...]]:
    """Return a row for each option of a model; those of nested models have dotted keys."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, field in model.model_fields.items():
        nested = section_of(field.annotation)
        if nested is None:
            rows[row(f"{prefix}{name}", field)] = []
            continue
        place = f"{prefix}{name}.NAME" if is_mapping(field.annotation) else f"{prefix}{name}"
        # Sections with the same option, as the encoders, share its row.
        for key, *rest in options(nested):
            rows.setdefault((key, *rest), []).append(place)
    return [
        (f"`{joined(places)}.{key.strip('`')}`" if places else key, *rest)
        for (key, *rest), places in rows.items()
    ]


def joined(places: list[str]) -> str:
    """Return one place as it is and several as ``{clip,clap}``."""
    return places[0] if len(places) == 1 else "{" + ",".join(places) + "}"


def row(key: str, field: FieldInfo) -> tuple[str, ...]:
    """Return an option's key, type, default and description."""
    annotation = field.annotation
    if field.metadata:
        annotation = Annotated[annotation, *field.metadata]
    return f"`{key}`", type_name(annotation), default_of(field), cell(field.description or "")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a type holds: itself, one of a union's, or a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (section_of(each) for each in get_args(annotation))
    return next((model for model in found if model), None)


def is_mapping(annotation: Any) -> bool:
    """Whether a type is a mapping, whose keys are the user's own names."""
    return get_origin(annotation) is dict


def summary(model: type[BaseModel]) -> str:
    """Return the first paragraph of a model's docstring, its code in Markdown's quotes."""
    return cleandoc(model.__doc__ or "").partition("\n\n")[0].replace("``", "`")


def type_name(annotation: Any) -> str:
    """Return how a type is written for a reader: ``integer ≥ 1``, ``pad | drop | fail``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = ", ".join(limits(arguments[1:]))
        return f"{type_name(arguments[0])} {bounds}".strip()
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " \\| ".join(type_name(each) for each in arguments)
    if origin is list or origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return "mapping"
    if annotation is type(None):
        return "`null`"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " \\| ".join(f"`{member.value}`" for member in annotation)
    names = {int: "integer", float: "number", str: "text", bool: "boolean", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def limits(metadata: tuple[Any, ...]) -> Iterator[str]:
    """Yield the limits of a number, as ``≥ 1``."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from limits(tuple(item.metadata))
        for kind, name, sign in (
            (annotated_types.Ge, "ge", "≥"),
            (annotated_types.Gt, "gt", ">"),
            (annotated_types.Le, "le", "≤"),
            (annotated_types.Lt, "lt", "<"),
        ):
            if isinstance(item, kind):
                yield f"{sign} {getattr(item, name):g}"


def default_of(field: FieldInfo) -> str:
    """Return a default as YAML has it; a long mapping only says that it is one."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return ""
    if default is None:
        return "`null`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, dict):
        return cell("`{}`" if not default else ", ".join(f"`{key}`" for key in default))
    return cell(f"`{default.value if isinstance(default, Enum) else default}`")


def stage_parser(stage: str) -> argparse.ArgumentParser:
    """Return the parser of one stage's own arguments."""
    (subparsers,) = (
        action
        for action in argument_parser(stage)._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    parser: argparse.ArgumentParser = subparsers.choices[stage]
    return parser


def argument_name(action: argparse.Action) -> str:
    """Return an argument as it is typed: ``--seeds SEED ...``."""
    if action.nargs == 0:
        return f"`{' '.join(action.option_strings)}`"
    value = action.metavar or action.dest.upper()
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if action.nargs in ("+", "*"):
        value = f"{value} ..."
    return f"`{' '.join([*action.option_strings, str(value)])}`"


def argument_default(action: argparse.Action, text: str) -> tuple[str, str]:
    """Return an argument's default and its help text without it."""
    match = STATED_DEFAULT.fullmatch(text)
    described, stated = match.groups() if match else (text, "")
    if action.required:
        return "required", described
    default = action.default
    if default is None or default is False or default in (argparse.SUPPRESS, []):
        return stated, described
    if isinstance(default, Path) and default.is_absolute():
        default = default.relative_to(ROOT) if default.is_relative_to(ROOT) else default
    if isinstance(default, float):
        default = f"{default:g}"
    return f"`{default}`", described


def argument_row(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, ...]:
    """Return an argument's name, default and description."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    default, described = argument_default(action, text)
    return argument_name(action), cell(default), cell(described)


def cell(text: str) -> str:
    """Return text that may stand in a table's cell."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table, or a sentence where there is nothing to list."""
    if not rows:
        return "No options.\n"
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
