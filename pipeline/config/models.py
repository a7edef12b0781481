"""The configuration: what may stand in config.yaml, its defaults, and what cannot go together.

These models are the single truth; workflow/schemas/config.schema.json is written from them
(``python -m pipeline config --write-schema``) and a test fails when it has drifted.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.core.errors import PipelineError
from pipeline.core.files import REPOSITORY, existing_file
from pipeline.data.download import YOUTUBE
from pipeline.data.download.history import Retry
from pipeline.data.download.pace import Politeness
from pipeline.features.encoders.spec import RANDOM_WEIGHTS
from pipeline.media.options import Policy
from pipeline.parsers.components import link_variants
from pipeline.parsers.registry import method_named, recipe_for

SCHEMA_PATH = REPOSITORY / "workflow" / "schemas" / "config.schema.json"

Count = Annotated[int, Field(ge=1)]
# Above none and at most a day, as on the command line: alarms and sockets know no endless time.
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
VariantName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(_Section):
    """Where one annotation table is downloaded from."""

    url: str
    sha256: Sha256


class Demo(_Section):
    """Size and seed of the synthetic corpus."""

    seed: int = 0
    train: Count = 240
    val: Count = 60
    test: Count = 100


class Dataset(_Section):
    """Which videos, which annotations, and how they are cut into segments and shards."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "demo"
    source: Literal["demo", "local"] = "demo"
    annotations: str | None = None
    tables: dict[str, Table] = {}
    videos: str | None = None
    untrimmed: bool = False
    vocabulary: str = "package:vocabulary.yaml"
    segments: Count = 10
    shards: Count = 2
    demo: Demo = Demo()

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source == "demo" and (self.annotations or self.videos):
            raise ValueError(
                "source is 'demo', which renders its own videos; "
                "set source: local to use annotations and videos of your own"
            )
        if self.source == "local" and not self.videos:
            raise ValueError("source is 'local', so videos must name the folder that holds them")
        if self.source == "local" and not (self.annotations or self.tables):
            raise ValueError(
                "source is 'local', so either annotations must name a folder with the tables "
                "or tables must say where each is downloaded from"
            )
        if self.source == "demo" and self.segments != 10:
            raise ValueError(f"the demo's clips have 10 segments; segments is {self.segments}")
        return self


class Download(_Section):
    """How the target `videos` gets the videos that the folder lacks."""

    url: Annotated[str, Field(pattern=r"^https?://.*\{id\}")] = YOUTUBE
    height: Count = 360
    cookies: str | None = None
    sleep_seconds: Annotated[float, Field(ge=0)] = Politeness.sleep_seconds
    attempts: Count = Politeness.attempts
    backoff_seconds: Annotated[float, Field(ge=0)] = Politeness.backoff_seconds
    stop_after: Count = Politeness.stop_after
    timeout_seconds: Seconds = 30.0
    retry: Retry = "transient"


class Decode(_Section):
    """How frames and audio are taken from a video."""

    sampling: Literal["center", "valor"] = "center"
    frames_per_segment: Count = 1
    frame_size: Annotated[int, Field(ge=16, le=1024)] = 224
    frame_transform: Literal["clip", "valor"] = "clip"
    audio_slicing: Literal["exact", "valor"] = "exact"
    missing_audio: Policy = "pad"
    missing_video: Policy = "drop"
    short: Policy = "pad"
    decoder: Literal["pyav", "decord"] = "pyav"
    timeout_seconds: Seconds = 60.0

    @model_validator(mode="after")
    def _check_sampling(self) -> Self:
        if self.sampling == "valor" and self.frames_per_segment != 1:
            raise ValueError(
                "sampling 'valor' takes one frame a segment; "
                f"frames_per_segment is {self.frames_per_segment}"
            )
        return self


class _Encoder(_Section):
    model: str
    weights: str
    sha256: Sha256 | None = None
    url: str | None = None
    tokenizer: str | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    storage: Literal["float32", "float16"] = "float32"
    batch_size: Count | Literal["auto"] = 64
    channels_last: bool = False
    compiled: bool = False

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        is_random = RANDOM_WEIGHTS.match(self.weights) is not None
        if is_random and self.sha256:
            raise ValueError("weights are 'random', so there is nothing for sha256 to check")
        if not is_random and self.sha256 is None:
            raise ValueError(
                "weights need a sha256, which names the feature cache; "
                f"`sha256sum {self.weights}` prints it"
            )
        if self.url and not self.weights.startswith("resources/weights/"):
            raise ValueError(
                f"weights with a url are kept under resources/weights/; weights is '{self.weights}'"
            )
        return self


class ClipEncoder(_Encoder):
    """The image and caption encoder."""

    backend: Literal["open_clip", "transformers"] = "open_clip"


class ClapEncoder(_Encoder):
    """The sound and caption encoder."""

    backend: Literal["laion_clap", "transformers"] = "laion_clap"


class MotionEncoder(_Encoder):
    """The encoder of movement, for methods whose option ``motion`` is on."""

    backend: Literal["torchvision"] = "torchvision"
    model: Literal["r2plus1d_18"] = "r2plus1d_18"


class Encoders(_Section):
    """The frozen encoders."""

    clip: ClipEncoder
    clap: ClapEncoder
    motion: MotionEncoder | None = None


class PseudoLabels(_Section):
    """How similarities become segment labels."""

    thresholds: Literal["fixed", "calibrated"] = "calibrated"


class Training(_Section):
    """Which seeds every method is trained with, and how many seeds a job trains.

    Without ``seeds_at_once`` every seed has a job of its own; else one job trains all seeds of a
    run, so many at a time, each on a GPU or a CPU thread of its own.
    """

    seeds: Annotated[list[int], Field(min_length=1)] = [0]
    seeds_at_once: Count | None = None

    @field_validator("seeds")
    @classmethod
    def _check_distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds {seeds} name a seed twice; each may stand once")
        return seeds


class Comparison(_Section):
    """The method that the target `compare` measures every other against."""

    reference: str = "link"

    @field_validator("reference")
    @classmethod
    def _check_reference(cls, reference: str) -> str:
        with _as_value_error():
            method_named(reference)
        return reference


class Ablation(_Section):
    """Variants of one method, each with what it changes of that method's configured options."""

    method: str = "link"
    variants: Annotated[dict[VariantName, dict[str, Any]], Field(min_length=1)] = link_variants()


class Parse(_Section):
    """What the target `parse` parses, and with which trained parser."""

    videos: str | None = None
    method: str = "link"
    seed: int | None = None
    overlap: Annotated[int, Field(ge=0)] | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None


@dataclass(frozen=True)
class Run:
    """What is trained with every seed in one folder: a method, and options of its recipe."""

    method: str
    options: Mapping[str, Any]

    @property
    def uses_motion(self) -> bool:
        """Whether the recipe reads the motion encoder's features."""
        return recipe_for(self.method, self.options).motion


class Config(_Section):
    """The whole configuration, keys in the order of the stages."""

    dataset: Dataset = Dataset()
    download: Download = Download()
    decode: Decode = Decode()
    encoders: Encoders
    pseudo_labels: PseudoLabels = PseudoLabels()
    training: Training = Training()
    methods: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    comparison: Comparison = Comparison()
    ablation: Ablation = Ablation()
    parse: Parse = Parse()

    @property
    def runs(self) -> dict[str, Run]:
        """What can be trained, by folder: ``models/{method}`` and ``ablation/{variant}``."""
        methods = {f"models/{name}": Run(name, options) for name, options in self.methods.items()}
        variants = _variant_options(self.ablation, self.methods)
        return methods | {
            f"ablation/{name}": Run(self.ablation.method, options)
            for name, options in variants.items()
        }

    @property
    def parse_model(self) -> str:
        """The folder of the checkpoint that the target `parse` takes, under ``results/``."""
        seed = self.training.seeds[0] if self.parse.seed is None else self.parse.seed
        return f"models/{self.parse.method}/seed{seed}"

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in methods.items():
            with _as_value_error():
                recipe_for(name, options)
        return methods

    @field_validator("parse")
    @classmethod
    def _check_parse(cls, parse: Parse, info: ValidationInfo) -> Parse:
        methods = info.data.get("methods", {})
        if parse.videos and parse.method not in methods:
            raise ValueError(
                f"method is '{parse.method}', which is not trained; configured are"
                f" {', '.join(methods)}"
            )
        if parse.videos and Run(parse.method, methods[parse.method]).uses_motion:
            raise ValueError(f"method '{parse.method}' has motion on; name one with motion: false")
        dataset = info.data.get("dataset")
        if dataset and (parse.overlap or 0) >= dataset.segments:
            raise ValueError(f"overlap is {parse.overlap}; allowed is 0 to {dataset.segments - 1}")
        training = info.data.get("training")
        if training and parse.seed is not None and parse.seed not in training.seeds:
            raise ValueError(f"seed is {parse.seed}; training.seeds are {training.seeds}")
        return parse

    @field_validator("ablation")
    @classmethod
    def _check_variants(cls, ablation: Ablation, info: ValidationInfo) -> Ablation:
        methods = info.data.get("methods", {})
        for name, options in _variant_options(ablation, methods).items():
            with _as_value_error(f"variant '{name}': "):
                recipe_for(ablation.method, options)
        return ablation

    @model_validator(mode="after")
    def _check_motion(self) -> Self:
        using = [name for name, run in self.runs.items() if run.uses_motion]
        if using and self.encoders.motion is None:
            raise ValueError(
                f"{using[0]} has motion on, which reads the motion encoder's features; configure"
                " encoders.motion or take motion off"
            )
        return self


def _variant_options(
    ablation: Ablation, methods: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    configured = methods.get(ablation.method, {})
    return {name: {**configured, **changes} for name, changes in ablation.variants.items()}


@contextmanager
def _as_value_error(prefix: str = "") -> Iterator[None]:
    """Pass a mistake on in the form in which pydantic adds the key's place to it."""
    try:
        yield
    except PipelineError as error:
        raise ValueError(f"{prefix}{str(error).rstrip('.')}") from None


def parse_config(values: Mapping[str, Any]) -> Config:
    """Return the checked configuration with every default filled in.

    Raises
    ------
    PipelineError
        A key is unknown, a value has the wrong type, or two cannot go together: one sentence
        with the key, the value seen and what is allowed.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise PipelineError(_one_sentence(error)) from None


def read_config(path: Path) -> Config:
    """Read and check a configuration file (YAML)."""
    content = existing_file(path, "the configuration").read_bytes()
    try:
        values = yaml.safe_load(content)  # bytes, so that it says itself what is not UTF-8
    except yaml.YAMLError as error:
        raise PipelineError(f"'{path}' is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, Mapping):
        raise PipelineError(f"'{path}' must hold keys and values; see config.yaml for the keys.")
    return parse_config(values)


def _one_sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "the configuration"
    if first["type"] == "extra_forbidden":
        parent = first["loc"][:-1]
        allowed = ", ".join(_keys_at(Config, parent))
        return f"config key '{key}' is not known; allowed there are {allowed}."
    message = re.sub(r"^(Value error|Assertion failed), ", "", first["msg"])
    if first["type"] == "missing":
        return f"config key '{key}' is missing; see config.yaml for what it means."
    if first["type"] == "value_error":
        return f"config key '{key}': {message}."
    return f"config key '{key}' is {first['input']!r}: {message[0].lower()}{message[1:]}."


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return list(Table.model_fields) if model is Dataset else []
        model = annotation
    return list(model.model_fields)
