"""The states that interrupted trainings resume from."""

import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from pipeline.core.files import atomic_path

logger = logging.getLogger(__name__)

# Seconds between writes of the state that an interrupted run resumes from.
SAVE_EVERY_SECONDS = 20.0
STATE_FILE = "training_state.pt"


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, atomically."""
    # Given a path, torch would hide the reason why a write fails.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def read_state(path: Path, identity: str) -> dict[str, Any] | None:
    """Return the saved state of a job, or None; training then starts over.

    Parameters
    ----------
    path
        A state, if there is one.
    identity
        The state's ``identity`` must be this; another job's is ignored.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, OSError):
        state = None
    if not isinstance(state, dict):
        logger.warning("'%s' is corrupt or truncated; starting from scratch", path)
        return None
    if state.get("identity") != identity:
        logger.info("'%s' belongs to a different recipe or dataset; starting from scratch", path)
        return None
    return state
