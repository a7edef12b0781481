"""The states that interrupted trainings resume from."""

import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.files import atomic_path

logger = logging.getLogger(__name__)

# Seconds between writes of the state that an interrupted run resumes from.
SAVE_EVERY_SECONDS = 20.0
STATE_FILE = "training_state.pt"


def random_states(shuffling: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Return the states of everything that a training draws from, as part of its state."""
    return {
        "shuffling": shuffling.get_state(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_states(
    state: dict[str, Any], shuffling: torch.Generator, device: torch.device
) -> None:
    """Restore what ``random_states`` returned."""
    shuffling.set_state(state["shuffling"])
    torch.set_rng_state(state["random"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], device)


def copy_of_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a module's weights on the CPU."""
    return {name: weight.cpu().clone() for name, weight in module.state_dict().items()}


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
        logger.warning(
            "'%s' is of another recipe or dataset, or of other seeds in one network"
            " (--batch-seeds); starting from scratch",
            path,
        )
        return None
    return state
