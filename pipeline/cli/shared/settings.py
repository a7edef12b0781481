"""The arguments that say how a run makes features, shared by the commands that need it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.inference.settings import InferenceSettings


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare where the settings come from."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="YAML", help="the run's configuration")
    source.add_argument("--settings", metavar="JSON", help="settings, as the workflow gives them")


def settings_from(arguments: argparse.Namespace) -> "InferenceSettings":
    """Return the settings that the arguments name.

    Raises
    ------
    PipelineError
        They are not valid.
    """
    from pipeline.config.load import load_config
    from pipeline.config.settings import inference_settings
    from pipeline.inference.settings import settings_from_json

    if arguments.config:
        return inference_settings(load_config([arguments.config]))
    return settings_from_json(
        arguments.settings,
        "--settings is not valid",
        "give the run's configuration with --config instead",
    )
