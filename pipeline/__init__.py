"""Audio-visual video parsing: detect audio and visual events in videos, second by second.

>>> import pipeline
>>> parser = pipeline.load_parser("results/models/link/seed0")    # a folder, or "hf:owner/name"
>>> parsed = parser.parse("clip.mp4")
>>> parsed.events, parsed.probabilities["audio"]

The command ``avvp`` and the Snakemake rules call the same functions. Importing the package is
cheap: heavy libraries are loaded when a function is first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.api import evaluate, zero_shot
    from pipeline.core.errors import ItemError, PipelineError
    from pipeline.features.read import Features, read_features
    from pipeline.inference.events import Event, Parsed
    from pipeline.inference.parser import Parser, load_parser

__version__ = "0.1.0"

__all__ = [
    "Event",
    "Features",
    "ItemError",
    "Parsed",
    "Parser",
    "PipelineError",
    "__version__",
    "evaluate",
    "load_parser",
    "read_features",
    "zero_shot",
]

# Where each exported name is defined.
_MODULES = {
    "Event": "pipeline.inference.events",
    "Features": "pipeline.features.read",
    "ItemError": "pipeline.core.errors",
    "Parsed": "pipeline.inference.events",
    "Parser": "pipeline.inference.parser",
    "PipelineError": "pipeline.core.errors",
    "evaluate": "pipeline.api",
    "load_parser": "pipeline.inference.parser",
    "read_features": "pipeline.features.read",
    "zero_shot": "pipeline.api",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
