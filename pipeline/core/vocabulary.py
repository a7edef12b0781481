"""The event classes: names, captions and thresholds, in index order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import PipelineError
from pipeline.core.files import RESOURCES, existing_file, fingerprint

DEFAULT_PATH = RESOURCES / "vocabulary.yaml"

# Axis order of every stacked modality array: index 0 is audio, 1 is visual.
MODALITIES = ("audio", "visual")


# Without white space and commas, which separate names in the annotation tables.
ClassName = Annotated[str, Field(pattern=r"^[^\s,]+$")]


class EventClass(BaseModel):
    """One event class.

    Thresholds apply to similarity logits: ``exp(logit_scale) * cosine``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassName
    visual_caption: str
    audio_caption: str
    visual_threshold: float
    audio_threshold: float


class _VocabularyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    classes: Annotated[list[EventClass], Field(min_length=1)]


@dataclass(frozen=True)
class Vocabulary:
    """The C classes of a dataset; class ``c`` of every array is ``classes[c]``."""

    classes: tuple[EventClass, ...]

    @classmethod
    def of_names(cls, names: Sequence[str]) -> "Vocabulary":
        """Return classes that have a name only, for reading and writing tables."""
        empty: dict[str, object] = {"visual_caption": "", "audio_caption": ""}
        empty |= {"visual_threshold": 0, "audio_threshold": 0}
        return cls(tuple(EventClass.model_validate({"name": name, **empty}) for name in names))

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, as spelled in the annotation tables."""
        return tuple(event_class.name for event_class in self.classes)

    def captions(self, modality: str) -> tuple[str, ...]:
        """Return the C captions of ``modality`` (``audio`` or ``visual``)."""
        return tuple(getattr(event_class, f"{modality}_caption") for event_class in self.classes)

    def captions_fingerprint(self) -> str:
        """Return a hash of all captions in class order."""
        return fingerprint({modality: self.captions(modality) for modality in MODALITIES})

    def thresholds(self, modality: str) -> tuple[float, ...]:
        """Return the C logit thresholds of ``modality`` (``audio`` or ``visual``)."""
        return tuple(getattr(event_class, f"{modality}_threshold") for event_class in self.classes)

    def index(self, name: str) -> int:
        """Return the index of a class name.

        Raises
        ------
        PipelineError
            The vocabulary has no such class.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise PipelineError(
                f"'{name}' is not a class of this vocabulary; it must be one of"
                f" {', '.join(self.names)}."
            ) from None


def display_name(class_name: str) -> str:
    """Return a class name for display."""
    return class_name.replace("_", " ")


def read_vocabulary(path: Path = DEFAULT_PATH) -> Vocabulary:
    """Read a vocabulary file (YAML, see pipeline/resources/vocabulary.yaml).

    Raises
    ------
    PipelineError
        The file is missing or malformed, or a class name is repeated.
    """
    content = existing_file(path, "the vocabulary").read_bytes()
    try:
        classes = tuple(_VocabularyFile.model_validate(yaml.safe_load(content)).classes)
    except (ValidationError, yaml.YAMLError) as error:
        raise PipelineError(f"the vocabulary '{path}' is malformed: {error}") from None
    vocabulary = Vocabulary(classes)
    if len(set(vocabulary.names)) != len(vocabulary):
        raise PipelineError(f"the vocabulary '{path}' repeats a class; every name must be unique.")
    return vocabulary
