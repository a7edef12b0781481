"""Model weights from a checked file or a random seed; pickles are never loaded unsafely."""

import argparse
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file, sha256_of
from pipeline.core.reading import check_not_pointer, read_json
from pipeline.core.wording import first_line
from pipeline.features.encoders.options import EncoderOptions

Module = TypeVar("Module", bound=torch.nn.Module)
logger = logging.getLogger(__name__)

# What training checkpoints hold beside weights: the numpy scalars of LAION's .pt files, and the
# command line of a training script.
SAFE_GLOBALS = [
    argparse.Namespace,
    np.core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Int64DType,
]

# Keys under which training checkpoints keep the weights.
WEIGHT_KEYS = ("state_dict", "model", "model_state_dict")

# First bytes of what torch.save writes, before and since PyTorch 1.6.
PICKLE, ZIP = b"\x80", b"P"

# Constant buffers of text towers.
CONSTANTS = ("position_ids", "token_type_ids")


def build(spec: EncoderOptions, make: Callable[[], Module]) -> Module:
    """Return ``make()`` with the weights of ``spec``, in fp32 evaluation mode without gradients.

    Raises
    ------
    PipelineError
        The weights file is missing, has another checksum, or does not fit the model.
    """
    seed = spec.random_seed
    if seed is None:
        with _quiet(), _NoDraws():
            model = make()
        load_into(model, read_weights(spec.weights_path, spec.expected_sha256()), spec.weights_path)
    else:
        logger.warning(
            "%s has random weights (seed %d): its features are meaningless", spec.encoder, seed
        )
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            model = make()
    return model.float().eval().requires_grad_(False)


def read_weights(path: Path, sha256: str | None) -> dict[str, torch.Tensor]:
    """Read tensors by name from ``.safetensors``, or from others with ``weights_only=True``.

    The weights of a training checkpoint are unpacked (``WEIGHT_KEYS``), and the ``module.`` prefix
    of data-parallel training is removed.

    Raises
    ------
    PipelineError
        The file is missing, its checksum differs, or it is not a weights file.
    """
    check_not_pointer(existing_file(path, "weights"))
    if sha256 is not None and (seen := sha256_of(path)) != sha256:
        raise PipelineError(
            f"the weights '{path}' have sha256 {seen}, but {sha256} was expected;"
            " download the file again or correct the checksum."
        )
    if path.suffix != ".safetensors":
        _check_form(path)
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, torch.Tensor] = load_file(path)
            return tensors
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = first_line(error).rstrip(".")
        raise PipelineError(
            f"the weights '{path}' are corrupt or truncated ({reason}); download the file again."
        ) from None
    except Exception as error:  # pickle.UnpicklingError, and any other error of a hostile pickle
        raise PipelineError(
            f"'{path}' contains more than weights and is not loaded ({type(error).__name__});"
            " convert it to .safetensors."
        ) from None
    state = _unpacked(checkpoint)
    are_named = all(isinstance(name, str) for name in state)
    if not state or not are_named or not all(map(torch.is_tensor, state.values())):
        raise PipelineError(f"'{path}' is not a weights file: it has no tensors by name.")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _check_form(path: Path) -> None:
    """Check that a file is a pickle, alone or in a zip archive without a program."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise PipelineError(
                    f"'{path}' is a TorchScript program, as OpenAI released CLIP, and is not run;"
                    " download the same weights as .safetensors, such as from the Hugging Face Hub."
                )
        return
    with path.open("rb") as file:
        if file.read(1) not in (PICKLE, ZIP):
            raise PipelineError(
                f"'{path}' is not a file of weights; it must be .safetensors, or what torch.save"
                " writes."
            )


@contextmanager
def checked_config(spec: EncoderOptions) -> Iterator[None]:
    """Name the model's configuration file if a library cannot read it or build its model.

    Raises
    ------
    PipelineError
        The file is not JSON, or not a configuration of the model.
    """
    path = spec.config_path
    if path is not None:
        values = read_json(path, "the model configuration", "download it again")
        if not isinstance(values, dict):  # open_clip would keep it, and fail for other models too
            raise PipelineError(f"'{path}' is not a model configuration; it must have keys.")
    try:
        yield
    except (PipelineError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # libraries raise anything
        if path is None:
            raise
        reason = first_line(error).rstrip(".:")
        raise PipelineError(
            f"{spec.backend} cannot build a model from '{path}' ({reason}); check that file."
        ) from error


def _unpacked(checkpoint: object) -> Mapping[str, torch.Tensor]:
    """Return the weights in a checkpoint by name; empty if there are none."""
    if not isinstance(checkpoint, Mapping):
        return {}
    found = (checkpoint[key] for key in WEIGHT_KEYS if isinstance(checkpoint.get(key), Mapping))
    return next(found, checkpoint)


def load_into(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load weights into a model; names and shapes must match exactly.

    RoBERTa's constant buffers, which only some versions of transformers store, keep the model's own
    values.

    Raises
    ------
    PipelineError
        Names or shapes do not match.
    """
    expected, kept = (
        {name: tensor for name, tensor in tensors.items() if not name.endswith(CONSTANTS)}
        for tensors in (model.state_dict(), state)
    )
    missing, extra = expected.keys() - kept.keys(), kept.keys() - expected.keys()
    other = [name for name in kept.keys() & expected if kept[name].shape != expected[name].shape]
    if missing or extra or other:
        examples = ", ".join(sorted([*missing, *extra, *other])[:3])
        raise PipelineError(
            f"the weights '{path}' do not fit the model: {len(missing)} missing, {len(extra)}"
            f" unexpected, {len(other)} of another shape (such as {examples}); check the model"
            " and the weights."
        )
    model.load_state_dict(kept, strict=False)


# What initialisations draw with; a drawing that fills a tensor, or makes one.
_FILLS = {
    torch.ops.aten.normal_.default,
    torch.ops.aten.uniform_.default,
    torch.ops.aten.erfinv_.default,
}


class _NoDraws(TorchDispatchMode):
    """Leave out the random numbers of weights that a file replaces.

    All parameters come from the file, see `load_into`; buffers, which may not be in it, are
    computed as ever. The drawing takes longer than the reading of the file.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, but for those that draw."""
        if func in _FILLS:
            return args[0]
        if func is torch.ops.aten.randn.default:
            func = torch.ops.aten.empty.memory_format
        return func(*args, **(kwargs or {}))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings that a model has no weights while it is built."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
