"""The command line: ``avvp STAGE ...``, the same as ``python -m pipeline STAGE ...``.

Each stage is one module of this folder, with ``add_arguments(parser)`` and ``run(arguments)``. It
is imported only when its stage runs, so ``--help`` is quick and a stage loads only what it uses.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from pipeline import __version__
from pipeline.core.errors import PipelineError
from pipeline.core.gpus import claimed_gpus
from pipeline.core.hub import is_hub_reference
from pipeline.core.progress import configure_logging

# Stage name -> what it does. Its module is the name with underscores.
STAGES: dict[str, str] = {
    "demo": "render the synthetic corpus: videos and annotation tables in LLP's formats",
    "demo-encoders": "train the demo's small CLIP and CLAP on synthetic pictures and sounds",
    "fetch": "download one file and check its sha256",
    "videos": "download what a folder of videos lacks, and list what is missing",
    "annotations": "check the annotation tables",
    "manifest": "list every video with its split, file and shard",
    "segments": "decode one shard's videos into 1-second segments",
    "features": "run a frozen encoder over one shard's segments",
    "features-verify": "see that a feature folder is whole",
    "features-compare": "compare two feature folders segment by segment",
    "prompts": "embed the class captions with an encoder's text tower",
    "pseudo-labels": "label segments by similarity to the captions",
    "train": "train a parser, then predict and score validation and test",
    "export": "write features and labels in VALOR's layout",
    "predict": "parse a split with a trained parser",
    "parse-setup": "note how a run's features were made, for parsing other videos",
    "parse": "detect audio and visual events in unlabelled videos",
    "pack": "write a trained parser as one folder, to move or publish it",
    "evaluate": "score predicted event tables with the published LLP metrics",
    "evaluate-model": "score what a trained parser predicted for validation and test",
    "compare": "rank trained parsers and test their differences to one method",
    "ablation": "set the trained variants of a method side by side",
    "report": "draw the result tables, plots and the page",
    "config": "print or check the effective configuration and its schema",
}

# Weights and tokenizers are local files, and hub libraries retry for minutes without a network. Set
# unless the user has set them, or names a repository on the Hub (hf:OWNER/NAME).
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def argument_parser(stage: str | None) -> argparse.ArgumentParser:
    """Return the parser; only ``stage`` gets its arguments, the others their one-line help."""
    parser = argparse.ArgumentParser(
        prog="avvp",
        description="Audio-visual video parsing, one stage at a time; Snakemake runs them all.",
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
    """Run one stage and return the exit code: 0 for success, 2 for a user's mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    stage = next((word for word in words if word in STAGES), None)
    arguments = argument_parser(stage).parse_args(words)
    if not any(map(is_hub_reference, vars(arguments).values())):
        for variable, value in OFFLINE.items():
            os.environ.setdefault(variable, value)
    configure_logging(arguments.debug)
    try:
        with claimed_gpus(getattr(arguments, "gpus", None)):
            _module_of(arguments.stage).run(arguments)
    except PipelineError as error:
        if arguments.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _module_of(stage: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"pipeline.cli.{stage.replace('-', '_')}")
