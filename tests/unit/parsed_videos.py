"""Parsed videos made by hand, for tests of what is written for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import Status
from pipeline.inference.events import DecisionThresholds, Parsed
from pipeline.inference.videos import MediaFacts


def make_parsed(
    probabilities: Any, class_names: Sequence[str], gates: Any = None, **changes: Any
) -> Parsed:
    """Return a video with probabilities and gates [2, T, C], audio first."""
    both = np.asarray(probabilities, np.float32)
    open_gates = np.ones_like(both) if gates is None else np.asarray(gates, np.float32)
    values: dict[str, Any] = {
        "name": "v",
        "title": "v.mp4",
        "path": Path("v.mp4"),
        "media": MediaFacts(float(both.shape[1]), "mov,mp4", None, None),
        "class_names": tuple(class_names),
        "probabilities": {"audio": both[0], "visual": both[1]},
        "gates": {"audio": open_gates[0], "visual": open_gates[1]},
        "thresholds": DecisionThresholds(0.5, 0.5, 0.5),
        "has_sound": True,
        "has_pictures": True,
        "notes": (),
        "provenance": {},
        "status": Status.OK,
        "seconds": {"audio": float(both.shape[1]), "visual": float(both.shape[1])},
    }
    return Parsed(**values | changes)
