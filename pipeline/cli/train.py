"""``train``: train a parser with one or several seeds, then predict and score val and test."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import (
    add_gpus,
    add_recipe_options,
    count,
    limit_threads,
    recipe_options,
    seconds,
    seed_number,
)
from pipeline.cli.shared.sources import add_source_arguments, source_of
from pipeline.core.errors import PipelineError
from pipeline.core.shards import CHECKPOINT_FILE
from pipeline.parsers.registry import METHODS, recipe_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--method", required=True, help=", ".join(METHODS))
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seed", type=seed_number, default=0, help="train this seed into OUT (default: 0)"
    )
    seeds.add_argument(
        "--seeds",
        type=seed_number,
        nargs="+",
        metavar="SEED",
        help="train each seed into OUT/seed{SEED}",
    )
    parser.add_argument(
        "--processes",
        type=count,
        default=1,
        metavar="N",
        help="seeds trained in parallel, each on its own GPU if there are enough (--device auto or"
        " cuda), else with a share of the CPU threads (default: 1)",
    )
    parser.add_argument(
        "--batch-seeds",
        action="store_true",
        help="train the seeds of each process as one batched network, which keeps a GPU busier (a"
        " CPU is slower with it); the results differ from those without by rounding, and on a GPU"
        " by their dropout",
    )
    add_recipe_options(parser, "change an option of the method's recipe; repeatable")
    parser.add_argument(
        "--fit-only", action="store_true", help="write only the checkpoint and the training curve"
    )
    parser.add_argument(
        "--save-every",
        type=seconds,
        default=20.0,
        metavar="SECONDS",
        help="how often to save the state that a killed run resumes from (default: 20)",
    )
    parser.add_argument(
        "--eager",
        action="store_true",
        help="run every step on a GPU kernel by kernel instead of replaying a CUDA graph: several"
        " times slower, with the same result; if capturing fails",
    )
    add_source_arguments(parser)
    add_gpus(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train every seed and print what each came to."""
    recipe = recipe_for(arguments.method, recipe_options(arguments))

    folders = _folders(arguments)

    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.training.multi_seed import SeedPlan, choose_devices, train_seeds

    limit_threads(arguments)
    plan = SeedPlan(
        arguments.method,
        recipe,
        source_of(arguments),
        arguments.annotations,
        read_vocabulary(arguments.vocabulary),
        arguments.fit_only,
        arguments.save_every,
        not arguments.eager,
        arguments.batch_seeds,
    )
    processes = min(arguments.processes, len(folders))
    if arguments.batch_seeds and processes == len(folders):
        raise PipelineError(
            "--batch-seeds needs several --seeds in each process; with --processes"
            f" {processes}, each trains one."
        )
    train_seeds(plan, folders, choose_devices(arguments.device, processes))
    for seed, folder in folders.items():
        print(_result(seed, folder))


def _result(seed: int, folder: Path) -> str:
    """Return what a seed came to, as one line."""
    from pipeline.parsers.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(folder)
    return (
        f"seed {seed}: epoch {checkpoint.epoch}, segment-level Type@AV on validation"
        f" {checkpoint.score:.2f}%, {folder / CHECKPOINT_FILE}"
    )


def _folders(arguments: argparse.Namespace) -> dict[int, Path]:
    """Return each seed's folder."""
    if arguments.seeds is None:
        return {arguments.seed: arguments.out}
    if len(set(arguments.seeds)) < len(arguments.seeds):
        raise PipelineError(f"--seeds must differ; {arguments.seeds} repeats one.")
    return {seed: arguments.out / f"seed{seed}" for seed in arguments.seeds}
