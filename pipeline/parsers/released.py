"""Weights released by VALOR's authors, with their names and sizes mapped onto our networks.

Sources: the network and the published settings are those of the code that VALOR's authors released
(Lai, Chen, Wang, NeurIPS 2023; github.com/Franklin905/VALOR); the weights are in their repository
NTUBarista/valor_trained_models on the Hugging Face Hub. What a released file wraps its weights in
is not documented, so every usual form is accepted (``encoders.weights.read_weights``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.files import sha256_of
from pipeline.core.references import (
    HUB_PREFIX,
    HubReference,
    is_hub_reference,
    parse_hub_reference,
)
from pipeline.core.vocabulary import Vocabulary
from pipeline.data.hub import fetch_hub_file, list_hub_files, read_record
from pipeline.parsers.registry import build_network, recipe_for

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.parsers.checkpoint import Checkpoint
    from pipeline.parsers.interface import Dimensions
    from pipeline.parsers.recipes import HanEncoderRecipe, Recipe

# Layer of the released network to layer of ours; {i} counts the encoder's layers from 0.
LAYER_NAMES = {
    "fc_a": "projection.audio",
    "fc_v": "projection.visual",
    "fc_st": "projection.motion",
    "fc_fusion": "projection.fusion",
    "hat_encoder.layers.{i}.self_attn": "encoder.layers.{i}.self_attention",
    "hat_encoder.layers.{i}.cm_attn": "encoder.layers.{i}.cross_attention",
    "hat_encoder.layers.{i}.linear1": "encoder.layers.{i}.feedforward.0",
    "hat_encoder.layers.{i}.linear2": "encoder.layers.{i}.feedforward.3",
    "hat_encoder.layers.{i}.norm1": "encoder.layers.{i}.attention_norm",
    "hat_encoder.layers.{i}.norm2": "encoder.layers.{i}.output_norm",
    "fc_prob": "head.probability",
    "fc_frame_att": "head.over_time",
    "fc_av_att": "head.over_modality",
}
# Layers of 3-D features; a file without them is of a network without these features.
MOTION_LAYERS = ("fc_st.", "fc_fusion.")
# Layers that the released code builds and never uses.
UNUSED_LAYERS = ("hat_encoder.final_norm_a.", "hat_encoder.final_norm_v.")
RELEASED_FILE = "checkpoint_best.pt"
RELEASED_REPOSITORY = "hf:NTUBarista/valor_trained_models"
RELEASED_SEGMENTS = 10


@dataclass(frozen=True)
class ReleasedModel:
    """A model whose weights were released.

    Attributes
    ----------
    display_name
        Its name in the paper.
    method
        The method whose network and recipe it has.
    folder
        Its folder in the released repository.
    seed
        Seed it was trained with.
    layout
        Layout of the features it was trained on, see ``npy_layouts``.
    audio, visual, motion
        Feature sizes.
    """

    display_name: str
    method: str
    folder: str
    seed: int
    layout: str
    audio: int
    visual: int
    motion: int = 512

    @property
    def title(self) -> str:
        """Name in tables."""
        return f"{self.display_name} (released weights)"


RELEASED = {
    "valor": ReleasedModel("VALOR", "valor", "model_VALOR", 1000, "han", 128, 2048),
    "valorplus": ReleasedModel("VALOR+", "valor_plus", "model_VALOR+", 64, "han", 128, 2048),
    "valorpp": ReleasedModel("VALOR++", "valorpp", "model_VALOR++", 87, "valor", 768, 768),
}


def released_model(key: str) -> ReleasedModel:
    """Return a released model.

    Raises
    ------
    PipelineError
        There is no such model.
    """
    if key not in RELEASED:
        raise PipelineError(
            f"'{key}' is not a method with released weights; it {one_of(key, RELEASED)}."
        )
    return RELEASED[key]


def released_file(key: str, source: str, update: bool = False) -> Path:
    """Return the file of a released model; download it first if it is on the Hub.

    Parameters
    ----------
    key
        One of ``RELEASED``.
    source
        A path, ``hf:OWNER/NAME/FILE``, or ``hf:OWNER/NAME``, in which the model's file is found by
        name.
    update
        Accept a file that changed on the Hub.

    Raises
    ------
    PipelineError
        The repository has no such file, or several, or the download fails.
    """
    model = released_model(key)
    if not is_hub_reference(source):
        return Path(source)
    reference = parse_hub_reference(source)
    if not reference.file:
        file = _only_file(reference, model)
        reference = HubReference(reference.repository, file, reference.revision, reference.kind)
    fetch_hub_file(reference, reference.path, update)
    return reference.path


def _only_file(reference: HubReference, model: ReleasedModel) -> str:
    """Return the path in a repository of a model's file."""
    files = [
        PurePosixPath(path)
        for path in list_hub_files(reference)
        if PurePosixPath(path).name == RELEASED_FILE
    ]
    found = [path for path in files if model.folder in path.parts[:-1]]
    if len(found) == 1:
        return str(found[0])
    listed = ", ".join(map(str, found or files)) or "none"
    number = f"{len(found)} files" if found else "no file"
    raise PipelineError(
        f"{reference.repository} has {number} '{RELEASED_FILE}' in a folder '{model.folder}'"
        f" (found: {listed}), but must have exactly one; pass the path of the file,"
        f" hf:{reference.repository}/PATH."
    )


def read_released(key: str, path: Path, vocabulary: Vocabulary) -> "Checkpoint":
    """Read released weights as a checkpoint of our network.

    Parameters
    ----------
    key
        One of ``RELEASED``.
    path
        File of the weights; it is never unpickled beyond tensors and plain values.
    vocabulary
        The classes.

    Raises
    ------
    PipelineError
        The file is not one of weights, a name or shape is not the model's, or the file is no longer
        what was downloaded.
    """
    # Imported here because the report, which lacks torch, reads the table of models above.
    from pipeline.features.encoders.weights import read_weights
    from pipeline.parsers.checkpoint import Checkpoint
    from pipeline.parsers.interface import Dimensions

    model = released_model(key)
    state = read_weights(path, None)
    motion = any(name.startswith(MOTION_LAYERS) for name in state)
    recipe = recipe_for(model.method, {"motion": motion})
    dimensions = Dimensions(
        audio=model.audio,
        visual=model.visual,
        motion=model.motion if motion else 0,
        text_audio=0,
        text_visual=0,
        segments=RELEASED_SEGMENTS,
        classes=len(vocabulary),
    )
    return Checkpoint(
        method=model.method,
        recipe=recipe,
        seed=model.seed,
        dimensions=dimensions,
        classes=vocabulary.names,
        epoch=0,
        score=0.0,
        fingerprints={"layout": model.layout},
        weights=_mapped(state, model, dimensions, recipe, path),
        released={"model": key, **_origin(path)},
    )


def import_released(
    key: str, source: str, vocabulary: Vocabulary, out: Path, update: bool = False
) -> "Checkpoint":
    """Write released weights as a checkpoint folder; see ``released_file``, ``read_released``."""
    from pipeline.parsers.checkpoint import write_checkpoint

    checkpoint = read_released(key, released_file(key, source, update), vocabulary)
    write_checkpoint(out, checkpoint)
    return checkpoint


def _origin(path: Path) -> dict[str, str]:
    """Return where a file comes from, and its SHA-256."""
    sha256, record = sha256_of(path), read_record(path)
    if record is None:
        return {"source": path.name, "sha256": sha256}
    if record.sha256 != sha256:
        raise PipelineError(
            f"'{path}' has SHA-256 {sha256}, but {record.sha256} was downloaded; delete the file to"
            " download it again."
        )
    at = f"@{record.commit}" if record.commit else ""
    source = f"{HUB_PREFIX}{record.repository}/{record.file}{at}"
    return {"source": source, "sha256": sha256}


def _mapped(
    state: Mapping[str, "Tensor"],
    model: ReleasedModel,
    dimensions: "Dimensions",
    recipe: "Recipe",
    path: Path,
) -> dict[str, "Tensor"]:
    """Return weights under our names; every name and shape must be the network's."""
    import torch

    with torch.device("meta"):
        network = build_network(model.method, dimensions, recipe)
    shapes = {name: list(weight.shape) for name, weight in network.state_dict().items()}
    names = _released_names(shapes, cast("HanEncoderRecipe", recipe).layers)
    used = {name: weight for name, weight in state.items() if not name.startswith(UNUSED_LAYERS)}
    expected = {names[ours]: shape for ours, shape in shapes.items()}
    if problem := next(_problems(used, expected), ""):
        others = (other.display_name for other in RELEASED.values() if other != model)
        raise PipelineError(
            f"'{path}' {problem}; it must have exactly the parameters of {model.display_name}, so"
            f" check that the file is complete and not of {' or '.join(others)}."
        )
    return {ours: used[name].float() for ours, name in names.items()}


def _released_names(names: Iterable[str], layers: int) -> dict[str, str]:
    """Return our parameter names with the released ones."""
    renamed = {
        ours.format(i=index): released.format(i=index)
        for released, ours in LAYER_NAMES.items()
        for index in range(layers)
    }
    found = {}
    for name in names:
        layer = next(ours for ours in renamed if name.startswith(f"{ours}."))
        found[name] = renamed[layer] + name.removeprefix(layer)
    return found


def _problems(
    weights: Mapping[str, "Tensor"], expected: Mapping[str, Sequence[int]]
) -> Iterator[str]:
    """Yield what is wrong with the names, shapes and values of weights."""
    for name in expected:
        if name not in weights:
            yield f"lacks the parameter '{name}'"
    for name in weights:
        if name not in expected:
            yield f"has the unexpected parameter '{name}'"
    for name, weight in weights.items():
        if list(weight.shape) != list(expected[name]):
            yield f"has '{name}' of shape {list(weight.shape)}, not {list(expected[name])}"
        elif not weight.isfinite().all():
            yield f"has values in '{name}' that are not finite"
