"""What predicts windows: a trained parser network, or CLIP and CLAP similarity to captions."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError, Status
from pipeline.core.files import sha256_of
from pipeline.core.vocabulary import MODALITIES, EventClass, Vocabulary
from pipeline.features.encoders.base import CaptionEncoder, load_encoder, prove_captions
from pipeline.inference.events import DecisionThresholds
from pipeline.inference.settings import InferenceSettings
from pipeline.labels.similarity import similarity_logits
from pipeline.parsers.checkpoint import FILE, Checkpoint, read_checkpoint
from pipeline.parsers.decision import Probabilities
from pipeline.parsers.interface import ParserInputs
from pipeline.parsers.prediction import parse_videos

logger = logging.getLogger(__name__)

# The form of LLP's captions (VALOR, NeurIPS 2023), and the same without any class.
CAPTION_TEMPLATES = {"visual": "A photo of {}.", "audio": "This is a sound of {}"}
BACKGROUND = {"visual": "A photo.", "audio": "This is a sound"}
ZERO_SHOT_THRESHOLD = 0.3
# Words that two classes may share without being similar.
COMMON_WORDS = {"a", "an", "the", "of", "and", "in", "on", "with"}
ENCODER_OF = {"audio": "clap", "visual": "clip"}

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class WindowFeatures:
    """Features of one window.

    Attributes
    ----------
    features
        Encoder to its arrays ``[1, T, D]``.
    present : ``[2, T]``
        Which seconds contain sound and pictures, audio first; the others are padding.
    status, detail
        What was wrong with the window, padding aside; ``ok`` if only packets are damaged.
    """

    features: Mapping[str, Mapping[str, FloatArray]]
    present: NDArray[np.bool_]
    status: Status = Status.OK
    detail: str = ""


@dataclass(frozen=True)
class WindowBatch:
    """Features of W windows.

    Attributes
    ----------
    features
        Encoder to its arrays ``[W, T, D]``.
    present : ``[W, 2, T]``
        Which seconds contain sound and pictures, audio first.
    """

    features: Mapping[str, Mapping[str, FloatArray]]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, windows: Sequence[WindowFeatures]) -> "WindowBatch":
        """Stack one or more windows."""
        features = {
            name: {
                key: np.concatenate([window.features[name][key] for window in windows])
                for key in arrays
            }
            for name, arrays in windows[0].features.items()
        }
        return cls(features, np.stack([window.present for window in windows]))

    def __len__(self) -> int:
        return len(self.present)


class Predictor(Protocol):
    """Predicts the probability of each class in each second of some windows.

    Attributes
    ----------
    class_names
        The C classes.
    thresholds
        What decides which seconds are events.
    provenance
        What the predictor is, as names and values.
    uses_context
        Whether the seconds of a window influence each other, so that windows should overlap.
    """

    class_names: tuple[str, ...]
    thresholds: DecisionThresholds
    provenance: dict[str, str]
    uses_context: bool

    def predict(self, windows: WindowBatch) -> Probabilities:
        """Return probabilities ``[W, T, C]`` and gates ``[W, 2, C]``."""


class TrainedPredictor:
    """A trained parser network; see ``Predictor``.

    Parameters
    ----------
    folder
        Folder of the checkpoint.
    checkpoint
        What it holds, see `checkpoint_of`.
    settings
        How its features are made, with its classes.
    encoders
        CLIP and CLAP by name.
    device
        Where the network runs.
    threshold
        The events' threshold; None for the method's own.
    """

    uses_context = True

    def __init__(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        settings: InferenceSettings,
        encoders: Mapping[str, CaptionEncoder],
        device: torch.device,
        threshold: float | None,
    ) -> None:
        self.class_names = checkpoint.classes
        self.thresholds = DecisionThresholds.of(checkpoint.recipe, threshold)
        self.provenance = {
            "method": checkpoint.method,
            "seed": str(checkpoint.seed),
            "checkpoint": f"sha256 {sha256_of(folder / FILE)}",
        }
        self._recipe = checkpoint.recipe
        self._device = device
        self._network = checkpoint.build().to(device)
        self._vocabulary = settings.vocabulary
        self._encoders = encoders
        self._texts = {
            modality: encoders[ENCODER_OF[modality]].embed_captions(
                self._vocabulary.captions(modality)
            )
            for modality in (
                MODALITIES if self._recipe.uses_texts or self._recipe.uses_prior else ()
            )
        }

    def predict(self, windows: WindowBatch) -> Probabilities:
        """Predict windows as the stage ``predict`` does; the prior is of the windows' features.

        A modality that is missing from a whole window gives no pseudo-labels.
        """
        semantics: dict[str, torch.Tensor] = {}
        for modality in MODALITIES if self._recipe.uses_texts else ():
            semantics[f"text_{modality}"] = torch.from_numpy(self._texts[modality])
        for modality in MODALITIES if self._recipe.uses_prior else ():
            semantics[f"prior_{modality}"] = torch.from_numpy(self._prior(windows, modality))
        inputs = ParserInputs(
            audio=torch.from_numpy(windows.features["clap"][self._recipe.audio_input]),
            visual=torch.from_numpy(windows.features["clip"]["embedding"]),
            **semantics,
        )
        return parse_videos(self._network, inputs.to(self._device), self._recipe)

    def _prior(self, windows: WindowBatch, modality: str) -> FloatArray:
        """Return unmasked pseudo-labels ``[W, T, C]`` of 0 and 1, with the run's thresholds."""
        encoder = self._encoders[ENCODER_OF[modality]]
        embedding = windows.features[ENCODER_OF[modality]]["embedding"]
        logits = similarity_logits(embedding, self._texts[modality], encoder.logit_scale)
        above = logits > np.array(self._vocabulary.thresholds(modality))
        has_any = windows.present[:, MODALITIES.index(modality)].any(axis=1)
        prior: FloatArray = (above & has_any[:, None, None]).astype(np.float32)
        return prior


class ZeroShotPredictor:
    """CLIP and CLAP similarity to captions, without training; see ``Predictor``.

    The probability of a class in a second is its share of a softmax, at the encoder's own
    temperature, over the captions of the named classes, the references and the background.
    References are other classes that may occur: without them, one of the named classes would always
    be the most similar. There is no video-level gate. All classes share one threshold
    (docs/explanation/measurements.md explains why 0.3).

    Parameters
    ----------
    classes
        The C classes.
    references
        A vocabulary; its classes that share a word with a named class are left out.
    encoders
        CLIP and CLAP by name.
    threshold
        The events' threshold; None for 0.3.
    """

    uses_context = False

    def __init__(
        self,
        classes: Sequence[EventClass],
        references: Vocabulary,
        encoders: Mapping[str, CaptionEncoder],
        threshold: float | None,
    ) -> None:
        others = Vocabulary(tuple(without_shared_words(references.classes, classes)))
        named = Vocabulary(tuple(classes))
        chosen = ZERO_SHOT_THRESHOLD if threshold is None else threshold
        self.class_names = named.names
        self.thresholds = DecisionThresholds(ZERO_SHOT_THRESHOLD, ZERO_SHOT_THRESHOLD, chosen)
        self.provenance = {
            "method": "zero-shot",
            "references": ", ".join(others.names) or "none",
        }
        self._texts: dict[str, FloatArray] = {}
        self._scales: dict[str, float] = {}
        for modality in MODALITIES:
            encoder = encoders[ENCODER_OF[modality]]
            captions = [*named.captions(modality), *others.captions(modality), BACKGROUND[modality]]
            names = [*self.class_names, *others.names, "background"]
            self._texts[modality] = prove_captions(encoder, captions, names)
            self._scales[modality] = encoder.logit_scale

    def predict(self, windows: WindowBatch) -> Probabilities:
        """Return each class's share of the softmax; the gates are 1."""
        count = len(self.class_names)
        probabilities = {}
        for modality in MODALITIES:
            embedding = windows.features[ENCODER_OF[modality]]["embedding"]
            logits = similarity_logits(embedding, self._texts[modality], self._scales[modality])
            shares = torch.from_numpy(logits).softmax(dim=-1)
            probabilities[modality] = shares[..., :count].numpy()
        gate = np.ones((len(windows), 2, count), np.float32)
        return Probabilities(probabilities["audio"], probabilities["visual"], gate)


def without_shared_words(
    known: Sequence[EventClass], named: Sequence[EventClass]
) -> list[EventClass]:
    """Return the known classes whose names share no word with the name of a named class."""
    words = {word for one in named for word in _words(one.name)} - COMMON_WORDS
    return [one for one in known if not words & _words(one.name)]


def _words(name: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"[^\W_]+", name)}


def checkpoint_of(folder: Path, settings: InferenceSettings) -> Checkpoint:
    """Return the checkpoint of a folder, which settings of the same run belong to.

    Raises
    ------
    PipelineError
        Classes or features differ, or the checkpoint needs motion features or word vectors.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.recipe.motion:
        raise PipelineError(
            f"'{folder}' needs motion features, which parse does not extract; train with motion:"
            " false."
        )
    if checkpoint.recipe.uses_word_vectors:
        raise PipelineError(
            f"'{folder}' needs word vectors, which parse does not read; train with label_texts:"
            " clip or clap."
        )
    if checkpoint.classes != settings.vocabulary.names:
        raise PipelineError(
            f"'{folder}' was trained on other classes ({len(checkpoint.classes)}) than the settings"
            f" have ({len(settings.classes)}); use the settings of the same run."
        )
    checkpoint.check_features(settings.fingerprints())
    if settings.imported:
        logger.warning(
            "'%s' was trained on released features; those of your videos are made with the encoders"
            " of its settings and may differ a little",
            folder,
        )
    return checkpoint


def load_encoders(settings: InferenceSettings, device: str) -> dict[str, CaptionEncoder]:
    """Load CLIP and CLAP; each encodes a window in one batch."""
    loaded = {
        name: load_encoder(spec.model_copy(update={"batch_size": settings.segments}), device)
        for name, spec in settings.specs.items()
    }
    return {name: cast(CaptionEncoder, encoder) for name, encoder in loaded.items()}


def classes_from_phrases(phrases: Sequence[str]) -> tuple[EventClass, ...]:
    """Return a class for each phrase, such as "a church bell", with captions in LLP's form.

    Raises
    ------
    PipelineError
        There is no phrase, or one is empty, repeated, or has commas or control characters.
    """
    words = [" ".join(phrase.split()) for phrase in phrases]
    names = [phrase.replace(" ", "_") for phrase in words]
    if (
        not names
        or len(set(names)) != len(names)
        or not all(name and name.isprintable() and "," not in name for name in names)
    ):
        raise PipelineError(
            f"the classes are {', '.join(phrases)!r}; name at least one, each once, such as"
            " 'a bell, a dog'."
        )
    return tuple(
        EventClass(
            name=name,
            visual_caption=CAPTION_TEMPLATES["visual"].format(phrase),
            audio_caption=CAPTION_TEMPLATES["audio"].format(phrase),
            visual_threshold=0,
            audio_threshold=0,
        )
        for name, phrase in zip(names, words, strict=True)
    )


def split_phrases(text: str) -> list[str]:
    """Return the phrases of a text that separates them by commas."""
    return [part for part in text.split(",") if part.strip()]
