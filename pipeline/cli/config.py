"""``config``: check the configuration of a run, and show where each value comes from."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PipelineError
from pipeline.core.files import REPOSITORY, write_json
from pipeline.core.reading import parse_yaml

logger = logging.getLogger(__name__)

SCHEMA_PATH = REPOSITORY / "workflow" / "schemas" / "config.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "--configfile",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="configuration files, merged over config.yaml; the same for snakemake",
    )
    add(
        "--config",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="keys and values, merged over the files",
    )
    add("--show", action="store_true", help="print every value with where it comes from")
    add("--write-schema", action="store_true", help="write the JSON schema of the configuration")


def run(arguments: argparse.Namespace) -> None:
    """Check the configuration and print it, or write the schema."""
    from pipeline.config.load import (
        CONFIG_FILE,
        Layer,
        config_warnings,
        layers_of,
        merged,
        origins,
        read_yaml,
    )
    from pipeline.config.models import Config
    from pipeline.core.validation import validated

    if arguments.write_schema:
        if not SCHEMA_PATH.parent.is_dir():
            raise PipelineError("--write-schema is for a checkout of the repository; use one.")
        write_json(SCHEMA_PATH, Config.model_json_schema())
        return
    files = [CONFIG_FILE] * CONFIG_FILE.is_file() + arguments.configfile
    changes = [Layer(str(path), read_yaml(path)) for path in files]
    changes += [Layer("--config", _value(word)) for word in arguments.config]
    layers = layers_of(changes)
    config = validated(Config, merged(layers), "config key")
    for warning in config_warnings(config):
        logger.warning(warning)
    if arguments.show:
        for key, value, origin in origins(layers, config):
            print(
                f"{key}: {yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}"
                f"  # {origin}"
            )
    else:
        yaml.safe_dump(config.model_dump(), sys.stdout, sort_keys=False, allow_unicode=True)


def _value(word: str) -> dict[str, Any]:
    """Return the key and value of ``key=value``."""
    key, equals, value = word.partition("=")
    if not equals:
        raise PipelineError(f"--config {word!r} must have the form KEY=VALUE.")
    if "." in key:
        outer, inner = key.split(".", 1)
        nested = f"{outer}={{{inner.replace('.', ': {')}: {value}{'}' * key.count('.')}"
        raise PipelineError(f"--config {word!r} has a dot in its key; write --config '{nested}'.")
    return {key: parse_yaml(value, f"--config {word!r}")}
