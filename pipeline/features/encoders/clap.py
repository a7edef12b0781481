"""CLAP: joint embeddings of audio and captions, from laion_clap or transformers."""

import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError, one_of
from pipeline.features.encoders.base import normalised
from pipeline.features.encoders.mel import BANDS, INNER, SECOND_FRAMES, WINDOW_SAMPLES, LogMel
from pipeline.features.encoders.options import EncoderOptions
from pipeline.features.encoders.pooling import pool_seconds
from pipeline.features.encoders.runner import Runner
from pipeline.features.encoders.tokenizer import (
    CaptionTokenizer,
    read_tokenizer,
    stand_in_tokenizer,
)
from pipeline.features.encoders.weights import build, checked_config
from pipeline.media import SAMPLE_RATE

logger = logging.getLogger(__name__)

# RoBERTa reserves positions 0 and 1 for padding.
RESERVED_POSITIONS = 2


@dataclass(frozen=True)
class ClapModel:
    """CLAP with fusion (the 630k-fusion checkpoints), independent of the library.

    Attributes
    ----------
    module
        The model, in evaluation mode.
    tower
        The audio tower.
    map_audio
        Log-mel ``[B, 1001, 64]`` to HTSAT's last feature map ``[B, D', 2, 32]``.
    project_audio
        The map's mean ``[B, D']`` to embeddings ``[B, D]``.
    encode_tokens
        Token ids and mask ``[B, L]`` to embeddings ``[B, D]``.
    text_config
        RoBERTa's configuration.
    dimension, map_dimension
        D and D'.
    logit_scale
        Factor on cosines, exponentiated (``logit_scale_a``).
    """

    module: torch.nn.Module
    tower: torch.nn.Module
    map_audio: Callable[[torch.Tensor], torch.Tensor]
    project_audio: Callable[[torch.Tensor], torch.Tensor]
    encode_tokens: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    text_config: Any
    dimension: int
    map_dimension: int
    logit_scale: float


class ClapEncoder:
    """CLAP embeddings of each second, and its feature map over 10-second windows."""

    source = "audio"

    def __init__(self, spec: EncoderOptions, runner: Runner, model: ClapModel) -> None:
        self.spec = spec
        self.dimensions = {"embedding": model.dimension, "map": model.map_dimension}
        self.runner = runner
        self._model = model
        runner.place(model.module, model.tower)
        self.logit_scale = model.logit_scale
        self._mel = LogMel().to(runner.device)
        self._tokenizer, self.notes = _tokenizer(spec, model.text_config)
        self.context_length = self._tokenizer.context_length

    def embed(self, segments: NDArray[np.int16]) -> dict[str, NDArray[np.float32]]:
        """Encode audio.

        Parameters
        ----------
        segments
            ``[n, T * 48000]``, int16 (32767 is full scale), 48 kHz mono.

        Returns
        -------
        ``embedding [n, T, D]``, L2-normalised: each second on its own, repeated to 10 s (as for
        VALOR's pseudo-labels). ``map [n, T, D']``: HTSAT's feature map over 10-second windows,
        pooled to seconds as in VALOR++ (see `pooling`).

        Raises
        ------
        PipelineError
            The audio is not a whole number of seconds.
        """
        videos, samples = segments.shape
        count, rest = divmod(samples, SAMPLE_RATE)
        if rest or not count:
            raise PipelineError(
                f"the segments' audio has {samples} samples per video, which must be a multiple of"
                f" {SAMPLE_RATE} (one second)."
            )
        audio = torch.from_numpy(segments)
        seconds = audio.view(videos * count, SAMPLE_RATE)
        windows = [
            self.runner.prepare(window, self._mel.windows)
            for window in audio.split(WINDOW_SAMPLES, dim=1)
        ]
        edges = self.runner.prepare(seconds, self._mel.edges)
        frames = torch.cat([_inner_frames(windows, count), edges], dim=1)
        embedding = self.runner.run(frames, self._mel.repeated, self._embedding)
        maps = [self.runner.run(window, _unchanged, self._window_map) for window in windows]
        return {
            "embedding": embedding.view(videos, count, -1).numpy(),
            "map": torch.cat(maps, dim=1)[:, :count].numpy(),
        }

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
        """Return token ids, ``[C, L]``."""
        return self._tokenizer(captions)[0]

    def token_counts(self, captions: Sequence[str]) -> list[int]:
        """Return how many tokens each caption has, with those of its start and end."""
        return self._tokenizer.counts(captions)

    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Return L2-normalised text embeddings ``[C, D]``."""

        def encode(tokens: torch.Tensor) -> torch.Tensor:
            ids, mask = tokens.unbind(dim=1)
            return normalised(self._model.encode_tokens(ids, mask))

        tokens = torch.stack(self._tokenizer(captions), dim=1)
        return self.runner.run(tokens, _unchanged, encode).numpy()

    def _embedding(self, mel: torch.Tensor) -> torch.Tensor:
        pooled = self._model.map_audio(mel).mean(dim=(2, 3))
        return normalised(self._model.project_audio(pooled))

    def _window_map(self, mel: torch.Tensor) -> torch.Tensor:
        """Return the pooled map ``[B, 10, D']`` of windows of 10 s."""
        return pool_seconds(self._model.map_audio(mel).float())


def load(spec: EncoderOptions, runner: Runner) -> ClapEncoder:
    """Load CLAP for `pipeline.features.encoders.base.load_encoder`."""
    with checked_config(spec):
        model = CLAP_MODELS[spec.backend](spec)
    return ClapEncoder(spec, runner, model)


def _tokenizer(spec: EncoderOptions, config: Any) -> tuple[CaptionTokenizer, dict[str, str]]:
    size, positions = config.vocab_size, config.max_position_embeddings - RESERVED_POSITIONS
    if spec.random_seed is not None:
        logger.warning("random weights: using a byte-level tokenizer with %d entries", size)
        return stand_in_tokenizer(size, positions), {"tokenizer": "stand-in of single bytes"}
    return read_tokenizer(spec.tokenizer_folder, size, positions), {}


def _inner_frames(windows: Sequence[torch.Tensor], seconds: int) -> torch.Tensor:
    """Return the frames ``[n * seconds, 97, 64]`` of each second that `LogMel.repeated` takes."""
    frames = torch.cat([window[:, :-1] for window in windows], dim=1)
    return frames[:, : seconds * SECOND_FRAMES].reshape(-1, SECOND_FRAMES, BANDS)[:, INNER]


def _unchanged(rows: torch.Tensor) -> torch.Tensor:
    return rows


def _transformers_model(spec: EncoderOptions) -> ClapModel:
    import transformers

    config = transformers.ClapConfig.from_pretrained(spec.model_path, local_files_only=True)
    if not config.audio_config.enable_fusion:
        raise PipelineError(
            f"the CLAP model in '{spec.model}' has no fusion and needs other spectrograms; use a"
            " fusion model (audio_config.enable_fusion: true)."
        )
    model = build(spec, lambda: transformers.ClapModel(config))

    def map_audio(mel: torch.Tensor) -> torch.Tensor:
        longer = torch.zeros(len(mel), 1, dtype=torch.bool, device=mel.device)
        output = model.audio_model(input_features=mel[:, None], is_longer=longer)
        feature_map: torch.Tensor = output.last_hidden_state
        return feature_map

    def encode_tokens(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        output = model.get_text_features(input_ids=ids, attention_mask=mask)
        embeddings: torch.Tensor = output.pooler_output
        return embeddings

    return ClapModel(
        module=model,
        tower=model.audio_model,
        map_audio=map_audio,
        project_audio=model.audio_projection,
        encode_tokens=encode_tokens,
        text_config=config.text_config,
        dimension=config.projection_dim,
        map_dimension=model.audio_model.audio_encoder.num_features,
        logit_scale=float(model.logit_scale_a.exp()),
    )


def _laion_model(spec: EncoderOptions) -> ClapModel:
    library = _import_laion_clap()
    if spec.model not in library.list_models():
        raise PipelineError(
            f"laion_clap has no model '{spec.model}'; it"
            f" {one_of(spec.model, library.list_models())}."
        )
    roberta = _roberta_config()

    def make() -> torch.nn.Module:
        module: torch.nn.Module = library.create_model(
            spec.model, "roberta", enable_fusion=True, fusion_type="aff_2d"
        )[0]
        return module

    model: Any = build(spec, make)
    captured: list[torch.Tensor] = []
    model.audio_branch.tscam_conv.register_forward_pre_hook(
        lambda _module, inputs: captured.append(inputs[0])
    )

    def map_audio(mel: torch.Tensor) -> torch.Tensor:
        # One of the four fusion spectrograms is enough: the others are for clips above 10 s.
        longer = torch.zeros(len(mel), 1, dtype=torch.bool)
        model.encode_audio({"mel_fusion": mel[:, None], "longer": longer}, device=mel.device)
        return captured.pop()

    def encode_tokens(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        tokens = {"input_ids": ids, "attention_mask": mask}
        embeddings: torch.Tensor = model.encode_text(tokens, device=ids.device)
        return embeddings

    return ClapModel(
        module=model,
        tower=model.audio_branch,
        map_audio=map_audio,
        project_audio=model.audio_projection,
        encode_tokens=encode_tokens,
        text_config=roberta,
        dimension=model.joint_embed_shape,
        map_dimension=model.audio_branch.num_features,
        logit_scale=float(model.logit_scale_a.exp()),
    )


def _roberta_config() -> Any:
    """Return the configuration of roberta-base, the text tower of all laion_clap checkpoints."""
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )


def _import_laion_clap() -> Any:
    """Return laion_clap's model factory, patched to build its text tower without a download.

    laion_clap downloads the weights of roberta-base although the checkpoint overwrites them. Here
    they come from the checkpoint (loaded strictly) or from the random seed.
    """
    from transformers import RobertaModel

    path = list(sys.path)
    with _no_tokenizers():
        factory: ModuleType = importlib.import_module("laion_clap.clap_module.factory")
    # Importing laion_clap adds its folder to sys.path, with generic module names like `training`.
    sys.path[:] = path
    model = importlib.import_module("laion_clap.clap_module.model")
    model.RobertaModel = SimpleNamespace(  # type: ignore[attr-defined]
        from_pretrained=lambda _name: RobertaModel(_roberta_config())
    )
    return factory


@contextmanager
def _no_tokenizers() -> Iterator[None]:
    """Let tokenizers load as None: laion_clap's import downloads three, which nothing here uses."""
    from transformers import PreTrainedTokenizerBase

    original = PreTrainedTokenizerBase.__dict__["from_pretrained"]
    PreTrainedTokenizerBase.from_pretrained = classmethod(lambda *_words, **_keywords: None)
    try:
        yield
    finally:
        PreTrainedTokenizerBase.from_pretrained = original


CLAP_MODELS: dict[str, Callable[[EncoderOptions], ClapModel]] = {
    "laion_clap": _laion_model,
    "transformers": _transformers_model,
}
