"""How a run decodes, embeds and labels videos, so that other videos are processed the same way.

The workflow writes ``parsing.json`` once per run; ``parse`` looks for it beside the checkpoint and
in the folders above. Its paths are those of the configuration: relative to the run's folder,
``package:NAME`` or ``hf:OWNER/NAME/FILE``. The checkpoint's fingerprints verify them.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file, write_text
from pipeline.core.options import Options
from pipeline.core.validation import sentence
from pipeline.core.vocabulary import MODALITIES, EventClass, Vocabulary
from pipeline.features.encoders.options import EncoderOptions, EncodersOptions
from pipeline.labels.pseudo_labels import labels_fingerprint
from pipeline.labels.thresholds import fixed_thresholds
from pipeline.media.options import DecodeOptions, Decoding

SETTINGS_FILE = "parsing.json"
# A checkpoint is at results/models/{method}/seed{S}, the settings are in results.
LEVELS_ABOVE = 3


class InferenceSettings(Options):
    """How videos are decoded and embedded, and the classes to detect.

    Attributes
    ----------
    segments, untrimmed, decode
        How videos are decoded; see ``Decoding``.
    encoders
        CLIP and CLAP.
    classes
        Names, captions, and the thresholds of the run's unmasked pseudo-labels.
    imported
        Fingerprints of the released features that the run was trained on, by encoder; those of a
        new video are made as alike as these settings can.
    """

    segments: int
    untrimmed: bool
    decode: DecodeOptions
    encoders: EncodersOptions
    classes: tuple[EventClass, ...]
    imported: dict[str, str] = Field(default_factory=dict)

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return Vocabulary(self.classes)

    @property
    def decoding(self) -> Decoding:
        """How videos are decoded."""
        values = self.decode.model_dump()
        return Decoding(segments=self.segments, untrimmed=self.untrimmed, **values)

    @property
    def specs(self) -> dict[str, EncoderOptions]:
        """The encoders by name."""
        return {"clip": self.encoders.clip, "clap": self.encoders.clap}

    @property
    def identities(self) -> dict[str, dict[str, str]]:
        """The identity of each encoder by name."""
        return {name: spec.identity for name, spec in self.specs.items()}

    def feature_fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of the features by encoder."""
        decoding = self.decoding.fingerprint()
        return {name: spec.fingerprint(decoding) for name, spec in self.specs.items()}

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprints of the features by encoder, the prior and the class texts."""
        features = self.feature_fingerprints() | self.imported
        vocabulary = self.vocabulary
        # The classes' thresholds are those of the run's unmasked labels.
        thresholds = fixed_thresholds(vocabulary).unmasked
        return features | {
            "labels": labels_fingerprint(vocabulary, thresholds, features),
            "texts": vocabulary.captions_fingerprint(),
        }


def write_settings(
    path: Path, settings: InferenceSettings, vocabulary: Vocabulary, thresholds: Path
) -> None:
    """Write a run's settings.

    Parameters
    ----------
    path
        File to write.
    settings
        How the run's features are made; its classes are replaced.
    vocabulary
        The run's classes.
    thresholds
        ``thresholds.tsv`` of its pseudo-labels, whose columns ``audio`` and ``visual`` are used.

    Raises
    ------
    PipelineError
        The thresholds belong to other classes.
    """
    rows = _read_thresholds(existing_file(thresholds, "the thresholds"))
    if set(rows) != set(vocabulary.names):
        raise PipelineError(
            f"'{thresholds}' has other classes ({len(rows)}) than the vocabulary"
            f" ({len(vocabulary)}); run pseudo-labels with this vocabulary."
        )
    classes = tuple(_with_thresholds(known, rows[known.name]) for known in vocabulary.classes)
    whole = settings.model_copy(update={"classes": classes})
    write_text(path, whole.model_dump_json(indent=1) + "\n")


def _read_thresholds(path: Path) -> dict[str, dict[str, float]]:
    """Return each class's thresholds, by modality."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {
                row["class"]: {modality: float(row[modality]) for modality in MODALITIES}
                for row in csv.DictReader(file, delimiter="\t")
            }
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise PipelineError(
            f"'{path}' is not a table of thresholds ({type(error).__name__}: {error}); run"
            " pseudo-labels again."
        ) from None


def read_settings(path: Path) -> InferenceSettings:
    """Read the settings of a run.

    Raises
    ------
    PipelineError
        The file is missing or not valid.
    """
    return settings_from_json(
        existing_file(path, SETTINGS_FILE).read_bytes(),
        f"'{path}' has no valid inference settings",
        "run `snakemake --cores 1 inference_settings` in the run's folder",
    )


def settings_from_json(text: str | bytes, complaint: str, remedy: str) -> InferenceSettings:
    """Return settings from JSON.

    Raises
    ------
    PipelineError
        The JSON is not valid: the complaint, the first problem and the remedy.
    """
    try:
        return InferenceSettings.model_validate_json(text)
    except ValidationError as error:
        problem = sentence(error, InferenceSettings, "key").rstrip(".")
        raise PipelineError(f"{complaint} ({problem}); {remedy}.") from None


def find_settings(checkpoint: Path) -> Path:
    """Return the settings' file in a checkpoint's folder or in one of the folders above it.

    Raises
    ------
    PipelineError
        There is no such file.
    """
    folder = checkpoint.absolute()
    for place in [folder, *folder.parents[:LEVELS_ABOVE]]:
        if (place / SETTINGS_FILE).is_file():
            return place / SETTINGS_FILE
    raise PipelineError(
        f"no {SETTINGS_FILE}, which says how features are made, in '{checkpoint}' or the"
        f" {LEVELS_ABOVE} folders above it; give the run's, results/{SETTINGS_FILE}, with"
        " --settings; `snakemake --cores 1 inference_settings` writes it."
    )


def _with_thresholds(known: EventClass, row: Mapping[str, float]) -> EventClass:
    values = {f"{modality}_threshold": row[modality] for modality in MODALITIES}
    return known.model_copy(update=values)
