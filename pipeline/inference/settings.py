"""How a run made its features and pseudo-labels, so that those of a new video are made alike.

The workflow writes ``parsing.json`` once per run; ``parse`` looks for it beside the checkpoint and in
the folders above. Paths in it are those of the configuration: relative to the run's folder, or
``package:NAME`` for a file of the package. The checkpoint's fingerprints prove what they name.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config.models import Config, Decode, Encoders
from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file, located, write_text
from pipeline.core.vocabulary import MODALITIES, EventClass, Vocabulary
from pipeline.features.encoders.spec import EncoderSpec
from pipeline.labels.pseudo_labels import labels_fingerprint
from pipeline.labels.thresholds import fixed_thresholds
from pipeline.media.options import Decoding

SETTINGS_FILE = "parsing.json"
# A checkpoint lies at results/models/{method}/seed{S}, the setup at results.
LEVELS_ABOVE = 3


class InferenceSettings(BaseModel):
    """Decoding, encoders and classes of a run.

    Attributes
    ----------
    segments, untrimmed, decode
        How videos are decoded, see ``Decoding``.
    encoders
        CLIP and CLAP.
    classes
        Names and captions; their thresholds are those of the run's unmasked pseudo-labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: int
    untrimmed: bool
    decode: Decode
    encoders: Encoders
    classes: tuple[EventClass, ...]

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return Vocabulary(self.classes)

    @property
    def decoding(self) -> Decoding:
        """How the run's videos were decoded."""
        values = self.decode.model_dump(exclude={"timeout_seconds"})
        return Decoding(segments=self.segments, untrimmed=self.untrimmed, **values)

    @property
    def specs(self) -> dict[str, EncoderSpec]:
        """Which encoders, by name."""
        return {name: _spec(name, encoder) for name, encoder in _encoders(self.encoders).items()}

    def feature_fingerprints(self) -> dict[str, str]:
        """Return what names the features that this setup makes, by encoder."""
        decoding = self.decoding.fingerprint()
        return {name: spec.fingerprint(decoding) for name, spec in self.specs.items()}

    def fingerprints(self) -> dict[str, str]:
        """Return what names the features, by encoder, and the prior made of them, ``labels``."""
        features = self.feature_fingerprints()
        vocabulary = self.vocabulary
        # The classes' thresholds are those of the run's unmasked labels.
        thresholds = fixed_thresholds(vocabulary).unmasked
        return features | {"labels": labels_fingerprint(vocabulary, thresholds, features)}


def settings_from_config(config: Config, classes: Sequence[EventClass]) -> InferenceSettings:
    """Return the setup of a configuration, for some classes."""
    return InferenceSettings(
        segments=config.dataset.segments,
        untrimmed=config.dataset.untrimmed,
        decode=config.decode,
        encoders=config.encoders,
        classes=tuple(classes),
    )


def write_settings(
    path: Path, setup: InferenceSettings, vocabulary: Vocabulary, thresholds: Path
) -> None:
    """Write a run's setup; the ``parse-setup`` stage.

    Parameters
    ----------
    path
        File to write.
    setup
        How the run's features are made; its classes are not looked at.
    vocabulary
        The run's classes.
    thresholds
        ``thresholds.tsv`` of its pseudo-labels, whose columns ``audio`` and ``visual`` are kept.

    Raises
    ------
    PipelineError
        The thresholds are of other classes.
    """
    with existing_file(thresholds, "the thresholds").open(encoding="utf-8", newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file, delimiter="\t")}
    if set(rows) != set(vocabulary.names):
        raise PipelineError(
            f"'{thresholds}' is of {len(rows)} classes that are not the vocabulary's"
            f" {len(vocabulary)}; run the pseudo-labels with this vocabulary."
        )
    classes = tuple(_with_thresholds(known, rows[known.name]) for known in vocabulary.classes)
    whole = setup.model_copy(update={"classes": classes})
    write_text(path, whole.model_dump_json(indent=1) + "\n")


def read_settings(path: Path) -> InferenceSettings:
    """Read a setup.

    Raises
    ------
    PipelineError
        It is missing or not one of ours.
    """
    return settings_from_json(
        existing_file(path, "a parsing setup").read_bytes(),
        f"'{path}' is not a parsing setup",
        "run `snakemake --cores 1 parse_setup` in the folder of the run",
    )


def settings_from_json(text: str | bytes, complaint: str, remedy: str) -> InferenceSettings:
    """Return the setup that a JSON value is.

    Raises
    ------
    PipelineError
        It is none: the complaint, the first thing that is wrong, and the remedy.
    """
    try:
        return InferenceSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "its form"
        raise PipelineError(f"{complaint} ({place}: {first['msg']}); {remedy}.") from None


def find_settings(checkpoint: Path) -> Path:
    """Return the setup beside a checkpoint's folder or in one of those above it.

    Raises
    ------
    PipelineError
        There is none.
    """
    folder = checkpoint.absolute()
    for place in [folder, *folder.parents[:LEVELS_ABOVE]]:
        if (place / SETTINGS_FILE).is_file():
            return place / SETTINGS_FILE
    raise PipelineError(
        f"no {SETTINGS_FILE} lies in '{checkpoint}' or the {LEVELS_ABOVE} folders above it, and a"
        " checkpoint cannot be used without; run `snakemake --cores 1 parse_setup` in the folder of"
        " its run, or name the file with --setup."
    )


def _with_thresholds(known: EventClass, row: Mapping[str, str]) -> EventClass:
    values = {f"{modality}_threshold": float(row[modality]) for modality in MODALITIES}
    return known.model_copy(update=values)


def _encoders(encoders: Encoders) -> dict[str, Any]:
    return {"clip": encoders.clip, "clap": encoders.clap}


def _spec(name: str, encoder: Any) -> EncoderSpec:
    values = encoder.model_dump(include={field.name for field in fields(EncoderSpec)})
    paths = {key: located(values[key]) for key in ("model", "weights", "tokenizer") if values[key]}
    return EncoderSpec(encoder=name, **values | paths)
