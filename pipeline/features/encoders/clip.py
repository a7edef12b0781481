"""CLIP: joint embeddings of frames and captions, from open_clip or transformers."""

import difflib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transformer import VisionTransformer

from pipeline.core.errors import PipelineError
from pipeline.core.reading import read_json
from pipeline.features.encoders.base import normalised
from pipeline.features.encoders.half import cast_weights
from pipeline.features.encoders.options import EncoderOptions
from pipeline.features.encoders.pixels import PixelNorm
from pipeline.features.encoders.runner import AUTOCAST, Runner
from pipeline.features.encoders.weights import build, checked_config

logger = logging.getLogger(__name__)

# CLIP's preprocessing: mean and std of pixels in [0, 1], and the resizing of decode's `clip`.
PIXELS: dict[str, Any] = {
    "mean": open_clip.OPENAI_DATASET_MEAN,
    "std": open_clip.OPENAI_DATASET_STD,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
# Token ids of a text in CLIP's byte-level BPE (49,408 entries, lower case), included in open_clip.
GOLDEN_TEXT, GOLDEN_IDS = "a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]


@dataclass(frozen=True)
class ClipModel:
    """A CLIP model, independent of the library.

    Attributes
    ----------
    module
        The model, in evaluation mode.
    tower
        The image tower.
    encode_images
        Normalised pixels ``[B, 3, H, W]`` to projected embeddings ``[B, D]``.
    encode_tokens
        Token ids ``[B, L]`` to projected embeddings ``[B, D]``.
    image_size
        H = W, pixels.
    mean, std
        Pixel statistics (RGB, 0 to 1) of the training data.
    dimension
        D.
    vocabulary_size
        Number of entries of the token table.
    context_length
        L.
    logit_scale
        Factor on cosines, exponentiated.
    """

    module: torch.nn.Module
    tower: torch.nn.Module
    encode_images: Callable[[torch.Tensor], torch.Tensor]
    encode_tokens: Callable[[torch.Tensor], torch.Tensor]
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    dimension: int
    vocabulary_size: int
    context_length: int
    logit_scale: float


class ClipEncoder:
    """CLIP embeddings of each segment, averaged over its frames."""

    source = "frames"

    def __init__(self, spec: EncoderOptions, runner: Runner, model: ClipModel) -> None:
        self.spec = spec
        self.notes: dict[str, str] = {}
        self.dimensions = {"embedding": model.dimension}
        self.runner = runner
        self._model = model
        if runner.precision in AUTOCAST and isinstance(model.tower, VisionTransformer):
            cast_weights(model.tower, AUTOCAST[runner.precision], runner.device.type)
        runner.place(model.module, model.tower)
        self.logit_scale = model.logit_scale
        self._normalise = PixelNorm(model.mean, model.std, runner.device)
        self.context_length = model.context_length
        self._tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
        _check_vocabulary(self._tokenizer, model.vocabulary_size)

    def transform(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 frames ``[B, K, H, W, 3]`` to pixels ``[B * K, 3, H, W]``."""
        return self._normalise(frames.flatten(0, 1)).permute(0, 3, 1, 2)

    def embed(self, segments: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Encode frames.

        Parameters
        ----------
        segments
            ``[n, T, K, H, W, 3]``, RGB, of the model's image size.

        Returns
        -------
        ``embedding [n, T, D]``: the normalised mean of the normalised frame embeddings.

        Raises
        ------
        PipelineError
            The frames do not have the model's image size.
        """
        videos, count, per_segment, height, width, _ = segments.shape
        if (height, width) != (self._model.image_size, self._model.image_size):
            raise PipelineError(
                f"the segments' frames are {width} x {height}, but this CLIP model needs"
                f" {self._model.image_size} x {self._model.image_size}; set decode.frame_size."
            )

        def encode(pixels: torch.Tensor) -> torch.Tensor:
            frames = normalised(self._model.encode_images(pixels))
            return normalised(frames.unflatten(0, (-1, per_segment)).mean(dim=1))

        rows = torch.from_numpy(segments).flatten(0, 1)
        embedding = self.runner.run(rows, self.transform, encode)
        return {"embedding": embedding.view(videos, count, -1).numpy()}

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
        """Return token ids, ``[C, L]``."""
        ids: torch.Tensor = self._tokenizer(list(captions))
        return ids

    def token_counts(self, captions: Sequence[str]) -> list[int]:
        """Return how many tokens each caption has, with those of its start and end."""
        return [len(self._tokenizer.encode(caption)) + 2 for caption in captions]

    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Return L2-normalised text embeddings ``[C, D]``."""

        def encode(ids: torch.Tensor) -> torch.Tensor:
            return normalised(self._model.encode_tokens(ids))

        embeddings = self.runner.run(self.tokenize(captions), lambda ids: ids, encode)
        return embeddings.numpy()


def load(spec: EncoderOptions, runner: Runner) -> ClipEncoder:
    """Load CLIP for `pipeline.features.encoders.base.load_encoder`."""
    with checked_config(spec):
        model = CLIP_MODELS[spec.backend](spec)
    return ClipEncoder(spec, runner, model)


def _open_clip_model(spec: EncoderOptions) -> ClipModel:
    name = _open_clip_name(spec)
    model = build(spec, lambda: open_clip.create_model(name, pretrained=None))
    size = model.visual.image_size
    return ClipModel(
        module=model,
        tower=model.visual,
        encode_images=model.encode_image,
        encode_tokens=model.encode_text,
        image_size=size if isinstance(size, int) else size[0],
        mean=PIXELS["mean"],
        std=PIXELS["std"],
        dimension=open_clip.get_model_config(name)["embed_dim"],
        vocabulary_size=model.vocab_size,
        context_length=model.context_length,
        logit_scale=float(model.logit_scale.exp()),
    )


def _open_clip_name(spec: EncoderOptions) -> str:
    """Return open_clip's name of the architecture, after registering its config file if any."""
    if path := spec.config_path:
        open_clip.add_model_config(path)
        if path.stem not in open_clip.list_models():
            raise PipelineError(
                f"'{path}' is not an open_clip model configuration; it must be JSON with embed_dim,"
                " vision_cfg and text_cfg."
            )
        return path.stem
    known = open_clip.list_models()
    if spec.model not in known:
        near = ", ".join(difflib.get_close_matches(spec.model, known)) or "open_clip.list_models()"
        raise PipelineError(
            f"open_clip has no model '{spec.model}'; similar names: {near}; or give a .json file."
        )
    if f"{spec.model}-quickgelu" in known and spec.random_seed is None:
        logger.warning(
            "%s uses GELU; OpenAI's weights would load without an error but need %s-quickgelu",
            spec.model,
            spec.model,
        )
    if spec.random_seed is None:
        _check_pixels(spec.model)
    return spec.model


def _check_pixels(model: str) -> None:
    """Check that an architecture's weights were trained with the preprocessing used here.

    A weights file does not record its preprocessing; open_clip knows it for its listed weights.
    """
    settings = {
        tag: PIXELS | {key: value for key, value in known.items() if key in PIXELS}
        for tag in open_clip.list_pretrained_tags_by_model(model)
        if (known := open_clip.get_pretrained_cfg(model, tag))
    }
    others = {tag: pixels for tag, pixels in settings.items() if pixels != PIXELS}
    if not others:
        return
    tag, pixels = next(iter(others.items()))
    differing = ", ".join(f"{key} {pixels[key]}" for key in PIXELS if pixels[key] != PIXELS[key])
    if len(others) == len(settings):
        raise PipelineError(
            f"{model}'s weights were trained with other preprocessing ({tag}: {differing}) than"
            " CLIP's, which is applied here; use another model, or a transformers CLIP, whose mean"
            " and standard deviation are read from preprocessor_config.json."
        )
    logger.warning(
        "%s's weights %s were trained with other preprocessing (%s) than applied here; others fit",
        model,
        ", ".join(others),
        differing,
    )


def _transformers_model(spec: EncoderOptions) -> ClipModel:
    from transformers import CLIPConfig, CLIPModel

    folder = Path(spec.model_path)
    config = CLIPConfig.from_pretrained(str(folder), local_files_only=True)
    model = build(spec, lambda: CLIPModel(config))
    return ClipModel(
        module=model,
        tower=model.vision_model,
        encode_images=lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output,
        encode_tokens=lambda ids: model.get_text_features(input_ids=ids).pooler_output,
        image_size=config.vision_config.image_size,
        dimension=config.projection_dim,
        vocabulary_size=config.text_config.vocab_size,
        context_length=config.text_config.max_position_embeddings,
        logit_scale=float(model.logit_scale.exp()),
        **_pixel_statistics(spec.pixels_path),
    )


def _pixel_statistics(path: Path | None) -> dict[str, Any]:
    saved = read_json(path, "the pixel statistics", "download it again") if path else {}
    return {
        "mean": saved.get("image_mean", PIXELS["mean"]),
        "std": saved.get("image_std", PIXELS["std"]),
    }


def _check_vocabulary(tokenizer: Any, size: int) -> None:
    if tokenizer.vocab_size != size:
        raise PipelineError(
            f"this CLIP model has {size} tokens, but CLIP's tokenizer has {tokenizer.vocab_size};"
            " check the model configuration."
        )
    ids = tokenizer([GOLDEN_TEXT])[0, : len(GOLDEN_IDS)].tolist()
    if ids != GOLDEN_IDS:
        raise PipelineError(
            f"open_clip tokenizes '{GOLDEN_TEXT}' as {ids}, not {GOLDEN_IDS}; reinstall open_clip."
        )


CLIP_MODELS: dict[str, Callable[[EncoderOptions], ClipModel]] = {
    "open_clip": _open_clip_model,
    "transformers": _transformers_model,
}
