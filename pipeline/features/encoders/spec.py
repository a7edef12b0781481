"""Which encoder, and the fingerprint of all that decides its numbers. Imports no heavy library."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file, fingerprint, sha256_of

# Raised whenever the features of the same weights and segments may change.
FEATURES_VERSION = 1

BACKENDS = {
    "clip": ("open_clip", "transformers"),
    "clap": ("laion_clap", "transformers"),
    "motion": ("torchvision",),
}
# Which captions of the vocabulary an encoder reads; motion has no text tower.
CAPTION_MODALITY = {"clip": "visual", "clap": "audio"}
PRECISIONS = ("fp32", "bf16", "fp16")
STORAGES = ("float32", "float16")
# What the motion encoder asks of the decode stage, whatever `decode` says of CLIP's frames: HAN's
# clips of 8 frames, resized to 112 x 112 (methods.md, 1). differs: the frames are those on the
# screen in the middle of each eighth of a second, not 80 of the 80 to 82 that `ffmpeg -r 8` writes.
MOTION_DECODING: dict[str, Any] = {
    "sampling": "center",
    "frames_per_segment": 8,
    "frame_size": 112,
    "frame_transform": "valor",
}
RANDOM_WEIGHTS = re.compile(r"^random(?::(?P<seed>\d{1,9}))?$")


@dataclass(frozen=True)
class EncoderSpec:
    """What decides an encoder's numbers.

    Attributes
    ----------
    encoder
        ``clip`` (frames), ``clap`` (sound) or ``motion`` (8 frames a second).
    backend
        The library that runs it, one of ``BACKENDS[encoder]``.
    model
        The architecture: a name the backend knows, an open_clip config file (``.json``), or a
        transformers folder with ``config.json``.
    weights
        A ``.safetensors`` or ``.pt`` file, or ``random`` / ``random:SEED`` (seed 0 if not said)
        for weights drawn from a seed: same shapes and cost, meaningless numbers.
    sha256
        Checksum of the weights' file; checked before anything is read from it.
    tokenizer
        Folder with CLAP's ``tokenizer.json`` or ``vocab.json`` and ``merges.txt``; by default
        the model folder. Random weights get a stand-in.
    precision
        ``fp32``, or ``bf16`` / ``fp16`` autocast.
    storage
        The number type of the cache, ``float32`` or ``float16``; readers get float32.

    Raises
    ------
    PipelineError
        A value is none of the allowed ones.
    """

    encoder: str
    backend: str
    model: str
    weights: str
    sha256: str | None = None
    tokenizer: str | None = None
    precision: str = "fp32"
    storage: str = "float32"

    def __post_init__(self) -> None:
        _allow("encoder", self.encoder, tuple(BACKENDS))
        _allow(f"backend of {self.encoder}", self.backend, BACKENDS[self.encoder])
        _allow("precision", self.precision, PRECISIONS)
        _allow("storage", self.storage, STORAGES)
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise PipelineError(
                f"sha256 is '{self.sha256}'; it must be the 64 hex digits that"
                f" `sha256sum {self.weights}` prints."
            )
        if self.sha256 is not None and self.random_seed is not None:
            raise PipelineError("weights are random, so there is nothing for sha256 to check.")

    @property
    def modality(self) -> str:
        """Which captions of the vocabulary the encoder reads: ``audio`` or ``visual``."""
        return CAPTION_MODALITY[self.encoder]

    @property
    def random_seed(self) -> int | None:
        """The seed of random weights; None when the weights are a file."""
        match = RANDOM_WEIGHTS.match(self.weights)
        return int(match["seed"] or 0) if match else None

    @property
    def config_path(self) -> Path | None:
        """The file that holds the architecture; None when ``model`` is a backend's own name."""
        path = Path(self.model)
        if path.suffix == ".json":
            return existing_file(path, f"the model configuration of {self.encoder}")
        if self.backend == "transformers":
            return existing_file(path / "config.json", f"the model configuration of {self.encoder}")
        return None

    @property
    def pixels_path(self) -> Path | None:
        """The file of how a transformers CLIP normalises pixels; None where there is none."""
        if (self.encoder, self.backend) != ("clip", "transformers"):
            return None
        path = Path(self.model) / "preprocessor_config.json"
        return path if path.is_file() else None

    @property
    def tokenizer_folder(self) -> Path:
        """The folder of CLAP's tokenizer.

        Raises
        ------
        PipelineError
            None is named, and the model is no folder.
        """
        folder = self.tokenizer or (self.model if Path(self.model).is_dir() else None)
        if folder is None:
            raise PipelineError(
                "CLAP's captions need roberta-base's vocab.json and merges.txt; set `tokenizer` to"
                " their folder."
            )
        return Path(folder)

    @property
    def tokenizer_files(self) -> list[Path]:
        """The files that captions are read with; CLIP's are its library's, random weights' none."""
        if self.encoder != "clap" or self.random_seed is not None:
            return []
        return tokenizer_files(self.tokenizer_folder)

    @cached_property
    def weights_identity(self) -> str:
        """The weights' SHA-256 (computed where none was given), or ``random:SEED``."""
        if self.random_seed is not None:
            return f"random:{self.random_seed}"
        path = Path(self.weights)
        return self.sha256 or sha256_of(existing_file(path, f"the weights of {self.encoder}"))

    @property
    def rounding(self) -> dict[str, str]:
        """How the cache rounds; nothing for float32, so that caches older than this keep theirs."""
        return {} if self.storage == STORAGES[0] else {"storage": self.storage}

    @property
    def _pixels(self) -> dict[str, str]:
        """What names `pixels_path`'s content; nothing without, so that such caches keep theirs."""
        path = self.pixels_path
        return {"pixels": sha256_of(path)} if path else {}

    def fingerprint(self, decoding: str) -> str:
        """Return the 10 hex digits that name the feature folder.

        It holds what is meant to decide the numbers. The device, the batch size, the order of a
        tensor's axes in memory and compilation only decide how the same sums are done; they move
        an embedding less than another machine does, and are left out.

        Parameters
        ----------
        decoding
            The fingerprint of the segments that are encoded.
        """
        config = self.config_path
        return fingerprint(
            {
                "encoder": self.encoder,
                "backend": self.backend,
                "model": sha256_of(config) if config else self.model,
                "weights": self.weights_identity,
                "precision": self.precision,
                "version": FEATURES_VERSION,
                "segments": decoding,
                **self.rounding,
                **self._pixels,
            }
        )


def tokenizer_files(folder: Path) -> list[Path]:
    """Return a folder's ``tokenizer.json``, or else its ``vocab.json`` and ``merges.txt``.

    Raises
    ------
    PipelineError
        They are not there.
    """
    whole = folder / "tokenizer.json"
    if whole.is_file():
        return [whole]
    names = ("vocab.json", "merges.txt")
    return [existing_file(folder / name, "CLAP's tokenizer") for name in names]


def _allow(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PipelineError(f"{what} is '{value}'; allowed are {', '.join(allowed)}.")
