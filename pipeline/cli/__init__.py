"""The command line: ``avvp STAGE ...``, the same as ``python -m pipeline STAGE ...``.

Each module of this folder is one stage, with ``add_arguments(parser)`` and ``run(arguments)``. It
is imported only when its stage runs, so ``--help`` is quick and a stage loads only what it uses.
What stages have in common is in ``shared``.
"""

import argparse
import importlib
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.cli.shared.command_parser import CommandParser
from pipeline.core.errors import PipelineError
from pipeline.core.gpus import claimed_gpus
from pipeline.core.process import accept_any_character, name_user, open_missing_streams
from pipeline.core.progress import configure_logging

# Command to what it does. Its module is the name with underscores.
STAGES: dict[str, str] = {
    "demo": "render the synthetic corpus: videos and annotation tables in LLP's format",
    "demo-encoders": "train the demo's small CLIP and CLAP",
    "fetch": "download a file and check its SHA-256",
    "videos": "download missing videos, and list what is missing",
    "annotations": "check annotation tables",
    "manifest": "list every video with its split, file and shard",
    "segments": "decode one shard's videos into one-second segments",
    "features": "encode one shard's segments with a frozen encoder",
    "encode-videos": "decode and encode one shard's videos in one job, without a segments shard",
    "import-features": "import features that others released",
    "features-verify": "check a feature folder",
    "features-compare": "compare two feature folders segment by segment",
    "prompts": "embed the class captions with an encoder's text tower",
    "teacher": "train UWAV's temporal label network on densely labelled videos",
    "pseudo-labels": "label segments by CLIP and CLAP similarity to class captions",
    "train": "train a parser, then predict and score validation and test",
    "import-checkpoint": "import the weights that a method's authors released",
    "predict": "parse a split with a trained parser",
    "evaluate": "score predicted event tables with the published LLP metrics",
    "evaluate-model": "score what a trained parser predicted for validation and test",
    "compare": "rank trained parsers and test their differences to a reference",
    "ablation": "tabulate the trained variants of a method",
    "report": "write the result tables, plots and page of a run",
    "inference-settings": "save how a run makes features, for parsing other videos",
    "parse": "detect audio and visual events in unlabelled videos",
    "pack": "write a trained parser as one folder, to move or publish it",
    "export": "write features and labels in VALOR's or HAN's layout",
    "config": "check the configuration, and show where each value comes from",
    "doctor": "check this machine, or with --llp the published numbers of VALOR++",
}

# Stages that may download from the Hugging Face Hub. The others read local files only; without a
# network, the Hub's libraries would retry for minutes.
DOWNLOADING = {"fetch", "parse", "import-checkpoint", "doctor"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


# Libraries that only some stages need, and the extra of pyproject.toml that installs them.
EXTRAS = {"matplotlib": "train", "yt_dlp": "download"}


def argument_parser(stage: str | None) -> CommandParser:
    """Return the parser; only ``stage`` gets its arguments, the others their one-line help."""
    parser = CommandParser(
        prog="avvp",
        description="Audio-visual video parsing: detect audible and visible events in videos.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, summary in STAGES.items():
        subparser = stages.add_parser(name, help=summary, description=summary)
        subparser.add_argument(
            "--debug", action="store_true", help="show tracebacks and debug messages"
        )
        if name == stage:
            _module_of(name).add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage and return the exit code: 0 for success, 2 for a user's mistake.

    A stage may return another: ``doctor`` returns 1 if something is wrong. Ctrl-C gives 130.
    """
    open_missing_streams()
    accept_any_character()
    name_user()
    words = list(sys.argv[1:] if argv is None else argv)
    stage = next((word for word in words if word in STAGES), None)
    arguments = argument_parser(stage).parse_args(words)
    if arguments.stage not in DOWNLOADING:
        for variable, value in OFFLINE.items():
            os.environ.setdefault(variable, value)
    configure_logging(arguments.debug)
    try:
        with claimed_gpus(getattr(arguments, "gpus", None)):
            code = _module_of(arguments.stage).run(_with_home(arguments))
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        # `head` has seen enough. The interpreter flushes again at exit, which must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        known = _sentence_and_code(arguments.stage, error)
        if known is None or arguments.debug:
            raise
        print(f"error: {known[0]}", file=sys.stderr)
        return known[1]
    return int(code or 0)


def _sentence_and_code(stage: str, error: BaseException) -> tuple[str, int] | None:
    """Return what to say of an error, and the exit code; None if it is a fault of the program."""
    if isinstance(error, PipelineError):
        return str(error), 2
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"'{error.filename}' cannot be used ({error.strerror}); check the path and its"
            " permissions."
        ), 2
    if isinstance(error, KeyboardInterrupt):
        return "interrupted.", 130
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra:
            needs = f"{stage} needs {error.name}, which is not installed"
            return f"{needs}; install the package with its extra: avvp-pipeline[{extra}].", 2
    return None


def _with_home(arguments: argparse.Namespace) -> argparse.Namespace:
    """Replace ``~`` in paths, which shells leave in words such as ``--out=~/parsed``."""

    def written_out(value: Any) -> Any:
        if isinstance(value, list):
            return [written_out(each) for each in value]
        return value.expanduser() if isinstance(value, Path) else value

    return argparse.Namespace(**{key: written_out(value) for key, value in vars(arguments).items()})


def _reader_left() -> bool:
    """Return whether the program that reads the standard output has ended."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _module_of(stage: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"pipeline.cli.{stage.replace('-', '_')}")
