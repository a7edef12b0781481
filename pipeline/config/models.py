"""The configuration of a run: every stage's options, and which combinations are impossible.

``workflow/schemas/config.schema.json`` is written from these models (``make schema``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.options import RUNTIME, Count, Options, PathText, Seed, Sha256
from pipeline.core.references import file_of_repository, is_hub_reference
from pipeline.core.validation import as_value_error, pattern
from pipeline.data.archives import array_path
from pipeline.data.download.options import DownloadOptions
from pipeline.demo.options import DemoOptions
from pipeline.features.encoders.options import EncodersOptions
from pipeline.features.import_options import IMPORTED_SEGMENTS, ReleasedFeatures
from pipeline.inference.options import ParseOptions
from pipeline.labels.teacher_options import TeacherOptions
from pipeline.labels.thresholds import LabelOptions
from pipeline.media.options import DecodeOptions, Decoding, FolderOptions, WindowOptions
from pipeline.parsers.link_ablation import link_variants
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import DECISIONS, recipe_for
from pipeline.training.options import TrainingOptions

# Archives of UnAV-100's embeddings that UWAV's authors released.
UNAV_ARCHIVES = {"clip": "UnAV_CLIP", "clap": "UnAV_CLAP"}

VARIANT_NAME = pattern(r"^[a-z0-9_]+$", "consist of lower-case letters, digits and underscores")
VariantName = Annotated[str, Field(pattern=VARIANT_NAME)]
DATASET_NAME = pattern(r"^[a-z0-9-]+$", "consist of lower-case letters, digits and hyphens")


class TableOptions(Options):
    """Where an annotation table is downloaded from."""

    url: str = Field(description="https, http or file address")
    sha256: Sha256 = Field(description="checksum that the table must have")


class DatasetOptions(WindowOptions, FolderOptions):
    """Which videos and annotations, and how they are divided into segments and shards."""

    name: Annotated[str, Field(pattern=DATASET_NAME)] = Field(
        "demo", description="name in the report; llp puts the published LLP results beside the run"
    )
    source: Literal["demo", "local", "features"] = Field(
        "demo",
        description="demo: render a synthetic corpus; local: your own videos; features: features"
        " that others released, without videos",
    )
    annotations: PathText | None = Field(
        None, description="folder with annotation tables in LLP's format; replaces `tables`"
    )
    tables: dict[str, TableOptions] = Field(
        {}, description="annotation tables to download, by file name"
    )
    corrections: PathText | None = Field(
        None,
        description="folder with your corrections of the event tables, which replace the events of"
        " the videos they list; parsers are then also scored with these",
    )
    videos: PathText | None = Field(
        None,
        description="folder with {name}.mp4 or {youtube_id}.mp4, or other media files of these"
        " names",
    )
    vocabulary: PathText = Field(
        "package:vocabulary.yaml", description="classes with captions and thresholds"
    )
    shards: Count = Field(
        2, description="jobs per stage; one for every 100 to 500 videos is a good size"
    )
    encode_while_decoding: bool = Field(
        False,
        description="decode and encode a shard in one job, with a GPU and several cores, and keep"
        " no segments on disk; the motion encoder's stay two jobs",
    )
    demo: DemoOptions = Field(DemoOptions(), description="the synthetic corpus")
    features: ReleasedFeatures | None = Field(
        None, description="released features that are imported, with source: features"
    )

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source == "demo" and (self.annotations or self.videos):
            raise ValueError(
                "source is 'demo', which renders its own videos; set source: local to use your own"
                " videos and annotations"
            )
        if self.source == "local" and not self.videos:
            raise ValueError("source is 'local', so videos must name the folder of the videos")
        if self.source == "features" and self.features is None:
            raise ValueError("source is 'features', so features must say where they are")
        if self.source != "features" and self.features is not None:
            raise ValueError(
                f"features are set, but source is '{self.source}'; it must be 'features' to import"
                " them"
            )
        if self.source != "demo" and not (self.annotations or self.tables):
            raise ValueError(
                f"source is '{self.source}', so annotations must name the folder of the tables, or"
                " tables must say where to download them"
            )
        if self.source != "local" and self.segments != IMPORTED_SEGMENTS:
            what = "the demo" if self.source == "demo" else "released features"
            raise ValueError(f"segments must be 10 for {what}; it is {self.segments}")
        return self


class TeacherStageOptions(Options):
    """The teacher, which learns from videos with dense labels and the features of your encoders."""

    demo: DemoOptions | None = Field(
        None, description="densely labelled videos: a second synthetic corpus, of another seed"
    )
    features: PathText | None = Field(
        None,
        description="densely labelled videos: UnAV-100's features that UWAV's authors released,"
        " UnAV_CLIP.zip and UnAV_CLAP.zip or folders of that name; a folder, or"
        " hf:datasets/OWNER/NAME",
    )
    annotations: PathText | None = Field(
        None, description="UnAV-100's annotations, a JSON file; needed with features"
    )
    seed: Seed = Field(1000, description="seed of the training; 1000 is the released code's")
    network: TeacherOptions = Field(TeacherOptions(), description="the network and its training")

    @property
    def hub_files(self) -> list[str]:
        """References of the archives that are fetched from the Hub."""
        if self.features is None or not is_hub_reference(self.features):
            return []
        names = UNAV_ARCHIVES.values()
        return [file_of_repository(self.features, f"{name}.zip") for name in names]

    def archive(self, encoder: str) -> Path:
        """Return the archive or folder of an encoder's features.

        Raises
        ------
        PipelineError
            No features are set, or their folder has neither.
        """
        if self.features is None:
            raise PipelineError("teacher.features is not set; it must be a folder.")
        return array_path(self.features, UNAV_ARCHIVES[encoder])

    @model_validator(mode="after")
    def _check_videos(self) -> Self:
        if (self.demo is None) == (self.features is None):
            which = "neither is" if self.demo is None else "both are"
            raise ValueError(f"set one of demo and features; {which} set")
        if self.features is not None and self.annotations is None:
            raise ValueError(
                "features are set, so annotations must name the JSON file of UnAV-100's annotations"
            )
        if self.demo is not None and self.annotations is not None:
            raise ValueError("annotations must not be set with demo, which has its own")
        return self


class ComparisonOptions(Options):
    """The target `compare`."""

    reference: str | None = Field(
        None,
        description="trained method that every other is compared with; default: link if it is"
        " trained, else the first of `methods`",
    )


class AblationOptions(Options):
    """The target `ablation`: variants of one method."""

    method: str = Field("link", description="method whose variants are trained")
    variants: Annotated[dict[VariantName, dict[str, Any]], Field(min_length=1)] = Field(
        link_variants(),
        description="variant to what it changes of the method's options; default: the ablation of"
        " LINK's paper",
    )


class ParseTargetOptions(ParseOptions):
    """The target `parse`: your own videos, with a parser of this run."""

    videos: PathText | None = Field(None, description="folder of videos of any length and format")
    method: str = Field("link", description="one of `methods`")
    seed: int | None = Field(None, description="one of `training.seeds`; default: the first")


@dataclass(frozen=True)
class TrainingRun:
    """What is trained with every seed in one folder: a method and options of its recipe."""

    method: str
    options: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """All options of the method."""
        return recipe_for(self.method, self.options)

    @property
    def training(self) -> dict[str, Any]:
        """What differs from the method's own recipe and decides its training."""
        return {key: value for key, value in self._changed.items() if key not in DECISIONS}

    @property
    def decisions(self) -> dict[str, Any]:
        """What differs from the method's own recipe and decides its predictions alone."""
        return {key: value for key, value in self._changed.items() if key in DECISIONS}

    @property
    def _changed(self) -> dict[str, Any]:
        own = recipe_for(self.method, {}).model_dump()
        return {key: value for key, value in self.recipe.model_dump().items() if value != own[key]}

    @property
    def uses_motion(self) -> bool:
        """Whether the recipe reads the motion encoder's features."""
        return self.recipe.motion

    @property
    def uses_teacher_labels(self) -> bool:
        """Whether the recipe demands a teacher's pseudo-labels."""
        return self.recipe.uses_teacher_labels


class Config(Options):
    """The whole configuration, in the order of the stages."""

    preset: str = Field(
        "demo",
        description="complete configuration that the other keys change: demo, demo_methods, llp,"
        " llp_features or llp_features_methods",
        json_schema_extra=RUNTIME,
    )
    dataset: DatasetOptions = Field(
        DatasetOptions(), description="videos, annotations, segments and shards"
    )
    download: DownloadOptions = Field(
        DownloadOptions(), description="the target `videos`: download missing videos"
    )
    decode: DecodeOptions = Field(DecodeOptions(), description="frames and audio of each segment")
    encoders: EncodersOptions = Field(description="the frozen encoders")
    pseudo_labels: LabelOptions = Field(LabelOptions(), description="segment pseudo-labels")
    teacher: TeacherStageOptions | None = Field(
        None,
        description="train UWAV's teacher, whose labels methods with `labels: teacher` learn from",
    )
    training: TrainingOptions = Field(TrainingOptions(), description="seeds")
    methods: Annotated[dict[str, dict[str, Any]], Field(min_length=1)] = Field(
        description="methods to train, each with what differs from its own recipe"
    )
    comparison: ComparisonOptions = Field(ComparisonOptions(), description="the target `compare`")
    ablation: AblationOptions = Field(AblationOptions(), description="the target `ablation`")
    parse: ParseTargetOptions = Field(ParseTargetOptions(), description="the target `parse`")

    @property
    def runs(self) -> dict[str, TrainingRun]:
        """What can be trained, by folder: ``models/{method}`` and ``ablation/{variant}``."""
        methods = {
            f"models/{name}": TrainingRun(name, options) for name, options in self.methods.items()
        }
        variants = _variant_options(self.ablation, self.methods)
        return methods | {
            f"ablation/{name}": TrainingRun(self.ablation.method, options)
            for name, options in variants.items()
        }

    @property
    def parse_model(self) -> str:
        """The folder under ``results/`` of the checkpoint that the target `parse` uses."""
        seed = self.training.seeds[0] if self.parse.seed is None else self.parse.seed
        return f"models/{self.parse.method}/seed{seed}"

    @property
    def reference(self) -> str:
        """The method that the target `compare` compares the others with."""
        default = "link" if "link" in self.methods else next(iter(self.methods))
        return self.comparison.reference or default

    @property
    def has_teacher(self) -> bool:
        """Whether there are labels of a teacher, which is trained here or was before."""
        return self.teacher is not None or self.pseudo_labels.teacher is not None

    def decoding_of(self, encoder: str) -> Decoding:
        """Return how an encoder's segments are decoded."""
        values = self.decode.model_dump() | {
            "segments": self.dataset.segments,
            "untrimmed": self.dataset.untrimmed,
        }
        return Decoding(**values | dict(self.encoders.by_name[encoder].decoding))

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in methods.items():
            with as_value_error():
                recipe_for(name, options)
        return methods

    @field_validator("parse")
    @classmethod
    def _check_parse(cls, parse: ParseTargetOptions, info: ValidationInfo) -> ParseTargetOptions:
        methods = info.data.get("methods", {})
        if parse.videos and parse.method not in methods:
            raise ValueError(
                f"method is '{parse.method}', which is not trained; it"
                f" {one_of(parse.method, methods)}"
            )
        if parse.videos and TrainingRun(parse.method, methods[parse.method]).uses_motion:
            raise ValueError(
                f"method is '{parse.method}', which needs 3-D features; it must be one with"
                " motion: false"
            )
        dataset = info.data.get("dataset")
        if dataset and (parse.overlap or 0) >= dataset.segments:
            raise ValueError(f"overlap is {parse.overlap}; it must be 0 to {dataset.segments - 1}")
        training = info.data.get("training")
        if training and parse.seed is not None and parse.seed not in training.seeds:
            raise ValueError(
                f"seed is {parse.seed}; it must be one of training.seeds {training.seeds}"
            )
        return parse

    @field_validator("comparison")
    @classmethod
    def _check_reference(
        cls, comparison: ComparisonOptions, info: ValidationInfo
    ) -> ComparisonOptions:
        methods = info.data.get("methods", {})
        if comparison.reference is not None and methods and comparison.reference not in methods:
            raise ValueError(
                f"reference is '{comparison.reference}', which is not trained; it"
                f" {one_of(comparison.reference, methods)}"
            )
        return comparison

    @field_validator("ablation")
    @classmethod
    def _check_variants(cls, ablation: AblationOptions, info: ValidationInfo) -> AblationOptions:
        methods = info.data.get("methods", {})
        for name, options in _variant_options(ablation, methods).items():
            with as_value_error(f"variant '{name}': "):
                recipe_for(ablation.method, options)
        return ablation

    @model_validator(mode="after")
    def _check_motion(self) -> Self:
        using = [name for name, run in self.runs.items() if run.uses_motion]
        if using and self.encoders.motion is None and self.dataset.features is None:
            raise ValueError(
                f"{using[0]} has motion: true, which reads 3-D features; configure encoders.motion"
                " or set motion: false"
            )
        return self

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        using = [name for name, run in self.runs.items() if run.uses_teacher_labels]
        if using and not self.has_teacher:
            raise ValueError(
                f"{using[0]} has labels: teacher; configure teacher to train one, set"
                " pseudo_labels.teacher to the folder of a trained one, or set labels: soft"
            )
        if self.teacher is None:
            return self
        if self.pseudo_labels.teacher is not None:
            raise ValueError(
                "teacher trains one, but pseudo_labels.teacher is"
                f" '{self.pseudo_labels.teacher}', which is a trained one; remove one of them"
            )
        if self.teacher.demo is None:
            return self
        if self.dataset.source != "demo":
            raise ValueError(
                f"teacher.demo renders videos, but dataset.source is '{self.dataset.source}'; set"
                " teacher.features"
            )
        if self.teacher.demo.seed == self.dataset.demo.seed:
            raise ValueError(
                f"teacher.demo.seed and dataset.demo.seed are both {self.teacher.demo.seed}; they"
                " must differ, or the teacher learns the dataset's own videos"
            )
        return self

    @model_validator(mode="after")
    def _check_teacher_features(self) -> Self:
        imported = self.dataset.features
        if imported is not None and self.has_teacher and not imported.has_texts:
            raise ValueError(
                "a teacher needs class texts and embeddings; set dataset.features.uwav"
            )
        if self.teacher is not None and self.teacher.features and self.dataset.source == "demo":
            raise ValueError(
                "teacher.features are of other encoders than the demo's; set teacher.demo"
            )
        return self

    @model_validator(mode="after")
    def _check_imported(self) -> Self:
        features = self.dataset.features
        if features is None:
            return self
        if self.pseudo_labels.thresholds == "calibrated" and not features.has_texts:
            raise ValueError(
                "pseudo_labels.thresholds is 'calibrated', which needs logits; set"
                " dataset.features.uwav, or thresholds: fixed"
            )
        for name, run in self.runs.items():
            kind, _, run_name = name.partition("/")
            # The default ablation is checked when it is asked for.
            if kind == "models" or "ablation" in self.model_fields_set:
                with as_value_error():
                    check_imported(features, run_name, recipe_for(run.method, run.options))
        return self


def check_imported(features: ReleasedFeatures, name: str, recipe: Recipe) -> None:
    """Check that released features have what a recipe reads.

    Raises
    ------
    PipelineError
        Something is missing.
    """
    is_clip = features.inputs == "clip"
    needs = {
        "motion: true, which reads R(2+1)D features; set dataset.features.han or motion: false": (
            recipe.motion and not features.han
        ),
        "plsim: true, which needs class texts and logits; set dataset.features.uwav or plsim:"
        " false": recipe.uses_prior and not features.has_texts,
        "label_texts: clip or clap, which are class texts; set dataset.features.uwav or"
        " label_texts: words": (
            recipe.uses_texts
            and not (recipe.uses_prior or recipe.uses_word_vectors or features.has_texts)
        ),
        "labels: soft or teacher, which need logits; set dataset.features.uwav or labels: hard": (
            recipe.uses_soft_labels and not features.has_texts
        ),
        "audio_input: map, which VALOR released; set dataset.features.valor or audio_input:"
        " embedding": is_clip and recipe.audio_input == "map" and not features.valor,
        "audio_input: embedding, which UWAV released; set dataset.features.uwav or audio_input:"
        " map": is_clip and recipe.audio_input == "embedding" and not features.uwav,
    }
    for need, is_missing in needs.items():
        if is_missing:
            raise PipelineError(f"{name} has {need}.")


def _variant_options(
    ablation: AblationOptions, methods: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    configured = methods.get(ablation.method, {})
    return {name: {**configured, **changes} for name, changes in ablation.variants.items()}
