"""``train``: train a parser, then predict and score validation and test."""

import argparse

from pipeline.cli.sources import add_source_arguments, limit_threads, source_of
from pipeline.errors import PipelineError
from pipeline.parsers.registry import METHODS, recipe_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's arguments."""
    parser.add_argument("--method", required=True, help=", ".join(METHODS))
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value of the method's recipe; may be given several times",
    )
    parser.add_argument(
        "--fit-only", action="store_true", help="leave only the checkpoint and the curve"
    )
    parser.add_argument(
        "--save-every",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="how often the state that a killed run resumes from is written (default: 20)",
    )
    add_source_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    options = dict(_split(option) for option in arguments.option)
    recipe = recipe_for(arguments.method, options)

    from pipeline.encoders.base import choose_device
    from pipeline.training import train
    from pipeline.vocabulary import read_vocabulary

    limit_threads(arguments)
    train(
        arguments.method,
        recipe,
        source_of(arguments),
        arguments.annotations,
        read_vocabulary(arguments.vocabulary),
        arguments.seed,
        arguments.out,
        choose_device(arguments.device),
        arguments.fit_only,
        arguments.save_every,
    )


def _split(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not equals:
        raise PipelineError(f"--option {option!r} has no '='; give KEY=VALUE.")
    return key.strip(), value.strip()
