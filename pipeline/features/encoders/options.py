"""Which encoders, and the fingerprint of all that decides their numbers; loads no heavy library."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.files import existing_file, fingerprint, sha256_of
from pipeline.core.options import RUNTIME, Count, Options, PathText, Sha256, written_out
from pipeline.core.references import (
    PACKAGE_PREFIX,
    file_of_repository,
    is_hub_reference,
    located,
    parse_hub_reference,
)
from pipeline.core.validation import validated
from pipeline.data.hub import pinned_record, read_record

# Raise it whenever the features of the same weights and segments may change.
FEATURES_VERSION = 1

_RANDOM = re.compile(r"^random(?::(?P<seed>\d{1,9}))?$")


def _weights_text(text: str) -> str:
    """Spell a path one way, but never a file ``./random`` like random weights."""
    path = written_out(text)
    return f"./{path}" if path != text and _RANDOM.match(path) else path


class EncoderOptions(Options):
    """A frozen encoder: what decides its numbers, and how it runs."""

    # Its name, the captions that it reads, and the array of a segments shard that it reads.
    encoder: ClassVar[str] = ""
    captions: ClassVar[str | None] = None
    source: ClassVar[str] = "frames"
    # Decoding that it needs whatever `decode` says.
    decoding: ClassVar[Mapping[str, Any]] = {}

    backend: str = Field(description="library that runs the model")
    model: PathText = Field(
        description="architecture: a name that the backend knows, an open_clip config (.json), or a"
        " transformers folder",
    )
    weights: Annotated[str, AfterValidator(_weights_text)] = Field(
        description="a .safetensors or .pt file, hf:OWNER/NAME/FILE, or random[:SEED] for weights"
        " drawn from a seed (same cost, meaningless numbers)",
    )
    sha256: Sha256 | None = Field(
        None,
        description="checksum of the weights, checked before they are read; names the cached"
        " features",
    )
    url: str | None = Field(
        None,
        description="where weights under resources/weights/ are downloaded from",
        json_schema_extra=RUNTIME,
    )
    tokenizer: PathText | None = Field(
        None,
        description="folder (or hf:OWNER/NAME) of CLAP's tokenizer.json, or vocab.json and"
        " merges.txt; default: the model's folder",
    )
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = Field(
        "fp32",
        description="fp32; tf32, which only a GPU's matrix products use; or bf16 or fp16, by"
        " casting the weights of open_clip's vision transformers and by autocast elsewhere",
    )
    storage: Literal["float32", "float16"] = Field(
        "float32", description="number type of the cached features; readers get float32"
    )
    batch_size: Count | Literal["auto"] = Field(
        64,
        description="segments per batch; auto tries sizes on a GPU; halved when memory runs out",
        json_schema_extra=RUNTIME,
    )
    channels_last: bool = Field(
        False, description="store images channels last in memory", json_schema_extra=RUNTIME
    )
    compiled: bool = Field(
        False, description="run the segment tower through torch.compile", json_schema_extra=RUNTIME
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights.startswith("random:") and self.random_seed is None:
            raise ValueError(
                f"weights is '{self.weights}'; random:SEED needs a seed of 0 to 999999999"
            )
        if self.random_seed is not None and self.sha256:
            raise ValueError("random weights have no checksum; remove sha256")
        if self.url and not self.weights.startswith("resources/weights/"):
            raise ValueError(
                f"weights with a url must be under resources/weights/; weights is '{self.weights}'"
            )
        return self

    @property
    def modality(self) -> str:
        """Which captions of the vocabulary the encoder reads: ``audio`` or ``visual``."""
        if self.captions is None:
            raise PipelineError(f"{self.encoder} has no text tower; it must be clip or clap.")
        return self.captions

    @property
    def random_seed(self) -> int | None:
        """The seed of random weights; None when the weights are a file."""
        match = _RANDOM.match(self.weights)
        return int(match["seed"] or 0) if match else None

    @property
    def needs_sha256(self) -> bool:
        """Whether only a checksum can name the weights without reading all of them."""
        is_named = self.weights.startswith(PACKAGE_PREFIX) or is_hub_reference(self.weights)
        return self.random_seed is None and not is_named and self.sha256 is None

    @property
    def weights_path(self) -> Path:
        """The weights' file."""
        return Path(located(self.weights))

    @property
    def model_path(self) -> str:
        """The architecture: a name that the backend knows, or a path."""
        return located(self.model)

    @property
    def config_path(self) -> Path | None:
        """The file that holds the architecture; None when ``model`` is a backend's own name."""
        path = Path(self.model_path)
        if path.suffix == ".json":
            return existing_file(path, f"the model configuration of {self.encoder}")
        if self.backend == "transformers":
            return existing_file(path / "config.json", f"the model configuration of {self.encoder}")
        return None

    @property
    def pixels_path(self) -> Path | None:
        """How a transformers CLIP normalises pixels; None without such a file."""
        if (self.encoder, self.backend) != ("clip", "transformers"):
            return None
        path = Path(self.model_path) / "preprocessor_config.json"
        return path if path.is_file() else None

    @property
    def tokenizer_folder(self) -> Path:
        """The folder of CLAP's tokenizer.

        Raises
        ------
        PipelineError
            None is named, and the model is not a folder.
        """
        if self.tokenizer:
            return Path(located(self.tokenizer))
        if Path(self.model_path).is_dir():
            return Path(self.model_path)
        raise PipelineError(
            "CLAP's captions need roberta-base's vocab.json and merges.txt; set `tokenizer` to"
            " their folder."
        )

    @property
    def tokenizer_files(self) -> list[Path]:
        """The files that captions are read with; CLIP's come with its library."""
        if self.encoder != "clap" or self.random_seed is not None:
            return []
        if self.tokenizer and is_hub_reference(self.tokenizer):
            return [self.tokenizer_folder / name for name in TOKENIZER_FILES]
        return tokenizer_files(self.tokenizer_folder)

    @property
    def hub_files(self) -> list[str]:
        """References of the files that are fetched from the Hub."""
        files = [self.weights] if is_hub_reference(self.weights) else []
        if self.tokenizer and is_hub_reference(self.tokenizer):
            files += [file_of_repository(self.tokenizer, name) for name in TOKENIZER_FILES]
        return files

    def expected_sha256(self) -> str | None:
        """Return the checksum that the weights must have, configured or recorded when fetched.

        Raises
        ------
        PipelineError
            The weights must be fetched from the Hub first.
        """
        if self.sha256 is None and is_hub_reference(self.weights):
            return pinned_record(parse_hub_reference(self.weights)).sha256
        return self.sha256

    @property
    def weights_identity(self) -> str:
        """What names the weights: SHA-256, ``random:SEED``, or the Hub reference.

        The commit and checksum that a Hub reference stood for when it was fetched are recorded
        beside the file, and later runs are held to them.
        """
        if self.random_seed is not None:
            return f"random:{self.random_seed}"
        if self.sha256 is None and is_hub_reference(self.weights):
            return self.weights
        path = self.weights_path
        return self.sha256 or _sha256_once(
            existing_file(path, f"the weights of {self.encoder}"), path.stat().st_mtime_ns
        )

    @property
    def weights_checksum(self) -> dict[str, str]:
        """The recorded SHA-256 of weights that a Hub reference names; empty for others."""
        if self.sha256 is not None or not is_hub_reference(self.weights):
            return {}
        record = read_record(self.weights_path)
        return {"weights_sha256": record.sha256} if record else {}

    @property
    def weights_digest(self) -> str:
        """The weights' SHA-256 if it is known; otherwise what names them."""
        return self.weights_checksum.get("weights_sha256") or self.weights_identity

    @property
    def identity(self) -> dict[str, str]:
        """What names the encoder in results; see ``pipeline.features.encoders.identity``."""
        return {
            "backend": self.backend,
            "model": Path(self.model).name,
            "weights": self.weights_identity,
            **self.weights_checksum,
        }

    @property
    def rounding(self) -> dict[str, str]:
        """How the cached features are rounded; empty for float32, as in older caches."""
        return {} if self.storage == "float32" else {"storage": self.storage}

    @property
    def _cast(self) -> dict[str, str]:
        """Where half precision casts weights once; empty otherwise, as in older caches."""
        is_half = self.precision in ("bf16", "fp16")
        is_open_clip = (self.encoder, self.backend) == ("clip", "open_clip")
        is_cast = is_half and is_open_clip and _is_vision_transformer(self.model, self.config_path)
        return {"cast": "weights"} if is_cast else {}

    @property
    def _pixels(self) -> dict[str, str]:
        """The checksum of ``pixels_path``; empty without one, as in older caches."""
        path = self.pixels_path
        return {"pixels": sha256_of(path)} if path else {}

    def fingerprint(self, decoding: str) -> str:
        """Return the 10 hex digits that name the feature folder.

        It covers what is meant to decide the numbers. The device, the batch size, the memory
        layout and compilation only change the order of the same sums, which moves an embedding
        less than another machine does.

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
                **self._cast,
                **self._pixels,
            }
        )


class ClipOptions(EncoderOptions):
    """The image and caption encoder."""

    encoder: ClassVar[str] = "clip"
    captions: ClassVar[str | None] = "visual"

    backend: Literal["open_clip", "transformers"] = Field(
        "open_clip", description="library that runs the model"
    )


class ClapOptions(EncoderOptions):
    """The audio and caption encoder."""

    encoder: ClassVar[str] = "clap"
    captions: ClassVar[str | None] = "audio"
    source: ClassVar[str] = "audio"

    backend: Literal["laion_clap", "transformers"] = Field(
        "laion_clap", description="library that runs the model"
    )


class MotionOptions(EncoderOptions):
    """The 3-D encoder, for methods whose option ``motion`` is on; it has no text tower."""

    encoder: ClassVar[str] = "motion"
    # HAN's clips of 8 frames, resized to 112 x 112 (Tian et al., ECCV 2020, released code).
    # differs: the frames are those shown in the middle of each eighth of a second, not 80 of the
    # 80 to 82 that `ffmpeg -r 8` writes.
    decoding: ClassVar[Mapping[str, Any]] = {
        "sampling": "center",
        "frames_per_segment": 8,
        "frame_size": 112,
        "frame_transform": "valor",
    }

    backend: Literal["torchvision"] = Field(
        "torchvision", description="library that runs the model"
    )
    model: Literal["r2plus1d_18"] = Field("r2plus1d_18", description="architecture")


class EncodersOptions(Options):
    """The frozen encoders."""

    clip: ClipOptions = Field(description="image and caption encoder")
    clap: ClapOptions = Field(description="audio and caption encoder")
    motion: MotionOptions | None = Field(
        None, description="3-D encoder of methods with `motion: true`; none by default"
    )

    @property
    def by_name(self) -> dict[str, EncoderOptions]:
        """The encoders that are configured, by name."""
        every = {"clip": self.clip, "clap": self.clap, "motion": self.motion}
        return {name: options for name, options in every.items() if options is not None}

    @model_validator(mode="after")
    def _check_checksums(self) -> Self:
        for name, options in self.by_name.items():
            if options.needs_sha256:
                raise ValueError(
                    f"{name} needs a sha256, which names the cached features;"
                    f" `sha256sum {options.weights}` prints it"
                )
        return self


ENCODER_OPTIONS: dict[str, type[EncoderOptions]] = {
    model.encoder: model for model in (ClipOptions, ClapOptions, MotionOptions)
}
# What CLAP's captions need of a Hub repository such as roberta-base.
TOKENIZER_FILES = ("vocab.json", "merges.txt")


def encoder_options(encoder: str, **values: Any) -> EncoderOptions:
    """Return the checked options of an encoder, by its name.

    Raises
    ------
    PipelineError
        There is no such encoder, or a value is not allowed.
    """
    if encoder not in ENCODER_OPTIONS:
        raise PipelineError(f"encoder is '{encoder}'; it {one_of(encoder, ENCODER_OPTIONS)}.")
    return validated(ENCODER_OPTIONS[encoder], values, f"option of {encoder}")


@cache
def _sha256_once(path: Path, _modified: int) -> str:
    return sha256_of(path)


def _is_vision_transformer(model: str, config: Path | None) -> bool:
    """Return whether open_clip builds an architecture's image tower from its own transformer.

    Otherwise it is a ResNet, which has a list of layers or a name like RN50, or timm's.
    """
    if config is None:
        return not model.startswith("RN")
    try:
        tower = json.loads(config.read_bytes())["vision_cfg"]
        return not (isinstance(tower.get("layers"), list) or tower.get("timm_model_name"))
    except (AttributeError, LookupError, TypeError, ValueError):
        return True  # what loads the encoder says what is wrong with the file


def tokenizer_files(folder: Path) -> list[Path]:
    """Return a folder's ``tokenizer.json``, or its ``vocab.json`` and ``merges.txt``.

    Raises
    ------
    PipelineError
        They are not there.
    """
    whole = folder / "tokenizer.json"
    if whole.is_file():
        return [whole]
    return [existing_file(folder / name, "CLAP's tokenizer") for name in TOKENIZER_FILES]
