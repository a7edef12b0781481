"""The event classes: names, captions and thresholds, in index order."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.files import RESOURCES, fingerprint
from pipeline.core.options import Options
from pipeline.core.reading import read_yaml
from pipeline.core.validation import pattern, validated

DEFAULT_PATH = RESOURCES / "vocabulary.yaml"

# Axis order of every stacked modality array: index 0 is audio, 1 is visual.
MODALITIES = ("audio", "visual")


def _printable(text: str) -> str:
    if any(
        unicodedata.category(character) == "Cc" for character in text if character not in "\n\t"
    ):
        raise ValueError(f"{text!r} has a control character; remove it")
    return text


# Without white space and commas, which separate names in the annotation tables.
CLASS_NAME = pattern(r"^[^\s,]+$", "be one word without commas, such as baby_cry")
ClassName = Annotated[str, Field(pattern=CLASS_NAME), AfterValidator(_printable)]


class EventClass(Options):
    """One event class.

    Thresholds apply to similarity logits: ``exp(logit_scale) * cosine``.
    """

    name: ClassName
    visual_caption: Annotated[str, AfterValidator(_printable)]
    audio_caption: Annotated[str, AfterValidator(_printable)]
    visual_threshold: float
    audio_threshold: float


class _VocabularyFile(Options):
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
        return cls(tuple(validated(EventClass, {"name": name, **empty}, "class") for name in names))

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
                f"'{name}' is not a class of this vocabulary; it {one_of(name, self.names)}."
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
    what = "the vocabulary"
    values = read_yaml(path, what)
    vocabulary = Vocabulary(
        tuple(validated(_VocabularyFile, values, "key", f"{what} '{path}': ").classes)
    )
    repeated = [name for name, times in Counter(vocabulary.names).items() if times > 1]
    if repeated:
        raise PipelineError(
            f"{what} '{path}' has the class '{repeated[0]}' twice; every name must be unique."
        )
    return vocabulary
