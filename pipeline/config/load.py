"""How the configuration of a run is put together: a preset, with changes merged over it.

A preset is a complete configuration. ``config.yaml``, each ``--configfile`` and ``--config`` are
merged over it in this order, key by key; ``methods`` and ``ablation.variants`` replace those below
as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.models import Config
from pipeline.core import reading
from pipeline.core.errors import PipelineError, one_of
from pipeline.core.files import REPOSITORY
from pipeline.core.validation import validated

DEFAULT_PRESET = "demo"
# Keys whose value replaces what is below as a whole.
REPLACED = {("methods",), ("ablation", "variants")}
DEMO_WEIGHTS = "package:demo_encoders/"
CONFIG_FILE = Path("config.yaml")


@dataclass(frozen=True)
class Layer:
    """Some keys and values of a configuration, and where they come from."""

    origin: str
    values: Mapping[str, Any]


def preset_folder() -> Path:
    """Return the folder of the presets: the package's when installed, else the checkout's."""
    installed = Path(__file__).resolve().parents[1] / "presets"
    return installed if installed.is_dir() else REPOSITORY / "workflow" / "presets"


def preset_names() -> list[str]:
    """Return the names of the presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def read_preset(name: str) -> Layer:
    """Read a preset.

    Raises
    ------
    PipelineError
        There is no such preset.
    """
    if name not in preset_names():
        raise PipelineError(f"config key 'preset' is {name!r}; it {one_of(name, preset_names())}.")
    return Layer(f"preset {name}", read_yaml(preset_folder() / f"{name}.yaml"))


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read the keys and values of a configuration file.

    Raises
    ------
    PipelineError
        The file is missing, or is not YAML with keys and values.
    """
    values = reading.read_yaml(path, "the configuration")
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise PipelineError(f"'{path}' must have keys and values; see config.yaml.")
    return values


def layers_of(changes: Sequence[Layer]) -> list[Layer]:
    """Return the preset that the last change names, and the changes."""
    preset = DEFAULT_PRESET
    for layer in changes:
        preset = layer.values.get("preset", preset)
    return [read_preset(preset), *changes]


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the values of all layers, later ones over earlier ones."""
    values: dict[str, Any] = {}
    for layer in layers:
        values = _merge(values, layer.values, ())
    return values


def effective_config(changes: Mapping[str, Any], files: Sequence[Path] = ()) -> Config:
    """Return the checked configuration of files and of changes, merged over a preset.

    Parameters
    ----------
    changes
        Keys and values, such as those of ``--config``, over those of the files.
    files
        Configuration files, later over earlier ones.

    Raises
    ------
    PipelineError
        A key is unknown, a value is not allowed, or two exclude each other: one sentence with the
        key, the value and what is allowed.
    """
    layers = [Layer(str(path), read_yaml(path)) for path in files]
    layers.append(Layer("the command line", _with_nulls(changes)))
    return validated(Config, merged(layers_of(layers)), "config key")


def load_config(files: Sequence[Path] = (), preset: str | None = None) -> Config:
    """Return the configuration of files merged over a preset.

    Parameters
    ----------
    files
        Configuration files, later over earlier ones.
    preset
        Name of the preset; default: what the files say, else ``demo``.

    Raises
    ------
    PipelineError
        See ``effective_config``.
    """
    return effective_config({} if preset is None else {"preset": preset}, files)


def config_warnings(config: Config) -> list[str]:
    """Return what is allowed in a configuration but hardly meant, one sentence each."""
    toys = [
        name
        for name, encoder in config.encoders.by_name.items()
        if encoder.weights.startswith(DEMO_WEIGHTS)
    ]
    if config.dataset.source != "local" or not toys:
        return []
    return [
        f"the weights of {' and '.join(toys)} are the demo's, which know only its synthetic videos;"
        " set `preset: llp` to use your own videos."
    ]


def origins(layers: Sequence[Layer], config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and origin of every value of a configuration that layers make."""
    for path, value in _leaves(config.model_dump(mode="json")):
        yield ".".join(path), value, _origin(layers, path)


def _origin(layers: Sequence[Layer], path: tuple[str, ...]) -> str:
    for layer in reversed(layers):
        at: Any = layer.values
        for depth, part in enumerate(path, start=1):
            if not isinstance(at, Mapping) or part not in at:
                break
            at = at[part]
            if path[:depth] in REPLACED and depth < len(path):
                return layer.origin if path[depth] in (at or {}) else "default"
        else:
            return layer.origin
    return "default"


def _leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield path, values


def _with_nulls(value: Any) -> Any:
    """Return values of Snakemake's ``--config``, which reads a nested null as text."""
    if isinstance(value, Mapping):
        return {key: _with_nulls(each) for key, each in value.items()}
    return None if value in ("null", "~") else value


def _merge(below: Any, above: Any, path: tuple[str, ...]) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)) or path in REPLACED:
        return above
    both = dict(below)
    for key, value in above.items():
        both[key] = _merge(below[key], value, (*path, key)) if key in below else value
    return both
