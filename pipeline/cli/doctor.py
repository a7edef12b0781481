"""``doctor``: check this machine, or the published numbers of VALOR++ with its released files."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.shared.arguments import add_machine, limit_threads
from pipeline.core.errors import PipelineError
from pipeline.core.references import is_hub_reference
from pipeline.parsers.released import RELEASED_REPOSITORY

if TYPE_CHECKING:
    from pipeline.doctor.machine import CheckLine

PRESET = "llp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "--llp",
        action="store_true",
        help="predict LLP's test split with the released VALOR++ and compare with the paper",
    )
    add(
        "--features",
        type=Path,
        metavar="DIR",
        help="with --llp: released features in VALOR's layout, or CLIP.zip and CLAP.zip (default:"
        " download)",
    )
    add(
        "--motion",
        type=Path,
        metavar="DIR",
        help="with --llp: R(2+1)D features, HAN's r2plus1d_18 (default: st/ or"
        " feats/r2plus1d_18/ in --features)",
    )
    add(
        "--checkpoint",
        metavar="FILE",
        help=f"with --llp: released file (default: from {RELEASED_REPOSITORY})",
    )
    add(
        "--annotations",
        type=Path,
        metavar="DIR",
        help="with --llp: folder of LLP's tables (default: download)",
    )
    add(
        "--out",
        type=Path,
        default=Path("results/doctor"),
        metavar="DIR",
        help="with --llp: folder for what is fetched and predicted (default: %(default)s)",
    )
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per check; return 1 if something is wrong."""
    from pipeline.doctor.machine import has_failed

    lines = []
    for line in _checks(arguments):
        print(line, flush=True)
        lines.append(line)
    return int(has_failed(lines))


def _checks(arguments: argparse.Namespace) -> "Iterator[CheckLine]":
    from pipeline.doctor.machine import check_environment

    if not arguments.llp:
        for name in ("features", "motion", "checkpoint", "annotations"):
            if getattr(arguments, name) is not None:
                raise PipelineError(f"--{name} must be used with --llp; add --llp.")
        yield from check_environment(arguments.out)
        return

    from pipeline.config.load import load_config
    from pipeline.core.devices import choose_device
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.doctor.llp import LlpSources, check_llp

    _require_given(arguments)
    limit_threads(arguments)
    tables = load_config(preset=PRESET).dataset.tables
    sources = LlpSources(
        out=arguments.out,
        annotations=arguments.annotations,
        tables={name: (table.url, table.sha256) for name, table in tables.items()},
        features=arguments.features,
        motion=arguments.motion,
        checkpoint=arguments.checkpoint or RELEASED_REPOSITORY,
    )
    yield from check_llp(sources, read_vocabulary(), choose_device(arguments.device))


def _require_given(arguments: argparse.Namespace) -> None:
    """Check that every file and folder that was passed exists."""
    for name in ("features", "motion", "annotations"):
        folder = getattr(arguments, name)
        if folder is not None and not folder.is_dir():
            raise PipelineError(f"--{name} '{folder}' is not a folder; check the path.")
    checkpoint = arguments.checkpoint
    if checkpoint and not is_hub_reference(checkpoint) and not Path(checkpoint).is_file():
        raise PipelineError(f"--checkpoint '{checkpoint}' is not a file; check the path.")
