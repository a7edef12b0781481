"""What reads windows: a trained parser, or the encoders' likeness to captions alone."""

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
from pipeline.features.encoders.base import CaptionEncoder, load_encoder
from pipeline.inference.events import DecisionThresholds
from pipeline.inference.settings import InferenceSettings
from pipeline.labels.similarity import similarity_logits
from pipeline.parsers.checkpoint import FILE, read_checkpoint
from pipeline.parsers.interface import ParserInputs
from pipeline.parsers.prediction import Probabilities, parse_videos

# The forms of LLP's captions (VALOR, NeurIPS 2023), and what they say when nothing is named.
CAPTION_TEMPLATES = {"visual": "A photo of {}.", "audio": "This is a sound of {}"}
BACKGROUND = {"visual": "A photo.", "audio": "This is a sound"}
ZERO_SHOT_THRESHOLD = 0.3
ARTICLES = {"a", "an", "the", "of", "and", "in", "on", "with"}
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
        Which seconds it has of a modality, audio first; the others are padding.
    status, detail
        What was wrong with it besides padding; ``ok`` where only packets are damaged.
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
        Which seconds each has of a modality, audio first.
    """

    features: Mapping[str, Mapping[str, FloatArray]]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, windows: Sequence[WindowFeatures]) -> "WindowBatch":
        """Return one or more windows together."""
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
    """Says how probable each class is in each second of some windows.

    Attributes
    ----------
    class_names
        The C classes.
    thresholds
        What makes events of its probabilities.
    provenance
        What it is: a name and a value each.
    """

    class_names: tuple[str, ...]
    thresholds: DecisionThresholds
    provenance: dict[str, str]

    def read(self, windows: WindowBatch) -> Probabilities:
        """Return probabilities ``[W, T, C]`` and gates ``[W, 2, C]``."""


class TrainedPredictor:
    """A checkpoint; see ``Predictor``."""

    def __init__(
        self,
        folder: Path,
        setup: InferenceSettings,
        encoders: Mapping[str, CaptionEncoder],
        device: torch.device,
        threshold: float | None,
    ) -> None:
        checkpoint = read_checkpoint(folder)
        check_settings(folder, setup)
        self.class_names = checkpoint.classes
        self.thresholds = DecisionThresholds.of(checkpoint.recipe, threshold)
        self.provenance = {
            "method": checkpoint.method,
            "seed": str(checkpoint.seed),
            "checkpoint": f"sha256 {sha256_of(folder / FILE)}",
        }
        self._recipe = checkpoint.recipe
        self._device = device
        self._parser = checkpoint.build().to(device)
        self._vocabulary = setup.vocabulary
        self._encoders = encoders
        self._texts = {
            modality: encoders[ENCODER_OF[modality]].embed_captions(
                self._vocabulary.captions(modality)
            )
            for modality in MODALITIES
        }

    def read(self, windows: WindowBatch) -> Probabilities:
        """Parse windows as ``predict`` parses videos; the prior is of the windows' own features.

        A modality that a window does not have at all gives no pseudo-labels.
        """
        semantics: dict[str, torch.Tensor] = {}
        if self._recipe.uses_prior:
            for modality in MODALITIES:
                semantics[f"prior_{modality}"] = torch.from_numpy(self._prior(windows, modality))
                semantics[f"text_{modality}"] = torch.from_numpy(self._texts[modality])
        inputs = ParserInputs(
            audio=torch.from_numpy(windows.features["clap"][self._recipe.audio_input]),
            visual=torch.from_numpy(windows.features["clip"]["embedding"]),
            **semantics,
        )
        return parse_videos(self._parser, inputs.to(self._device), self._recipe)

    def _prior(self, windows: WindowBatch, modality: str) -> FloatArray:
        """Return unmasked pseudo-labels ``[W, T, C]`` of 0 and 1, by the run's thresholds."""
        encoder = self._encoders[ENCODER_OF[modality]]
        embedding = windows.features[ENCODER_OF[modality]]["embedding"]
        logits = similarity_logits(embedding, self._texts[modality], encoder.logit_scale)
        above = logits > np.array(self._vocabulary.thresholds(modality))
        has_any = windows.present[:, MODALITIES.index(modality)].any(axis=1)
        prior: FloatArray = (above & has_any[:, None, None]).astype(np.float32)
        return prior


class ZeroShotPredictor:
    """CLIP's and CLAP's likeness to captions, with no training; see ``Predictor``.

    The probability of a class in a second is its share of a softmax, at the encoder's own
    temperature, over the captions of all classes that are named, of the references, and of the
    background. References are what else there might be: without them something is always most
    alike. There is no video-level gate. The threshold is one for all
    (docs/explanation/measurements.md says why 0.3).

    Parameters
    ----------
    classes
        The C classes.
    references
        A vocabulary; those of its classes that share a word with a named one are left out.
    encoders
        CLIP and CLAP.
    threshold
        Another threshold than 0.3.
    """

    def __init__(
        self,
        classes: Sequence[EventClass],
        references: Vocabulary,
        encoders: Mapping[str, CaptionEncoder],
        threshold: float | None,
    ) -> None:
        others = Vocabulary(tuple(unlike(references.classes, classes)))
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
            self._texts[modality] = encoder.embed_captions(captions)
            self._scales[modality] = encoder.logit_scale

    def read(self, windows: WindowBatch) -> Probabilities:
        """Return the classes' shares of the softmax; the gates are 1."""
        count = len(self.class_names)
        probabilities = {}
        for modality in MODALITIES:
            embedding = windows.features[ENCODER_OF[modality]]["embedding"]
            logits = similarity_logits(embedding, self._texts[modality], self._scales[modality])
            shares = torch.from_numpy(logits).softmax(dim=-1)
            probabilities[modality] = shares[..., :count].numpy()
        gate = np.ones((len(windows), 2, count), np.float32)
        return Probabilities(probabilities["audio"], probabilities["visual"], gate)


def unlike(known: Sequence[EventClass], named: Sequence[EventClass]) -> list[EventClass]:
    """Return those classes whose name shares no word with a named one's."""
    words = {word for one in named for word in _words(one.name)} - ARTICLES
    return [one for one in known if not words & _words(one.name)]


def _words(name: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"[^\W_]+", name)}


def check_settings(folder: Path, setup: InferenceSettings) -> None:
    """See that a setup is of a checkpoint's run; no encoder is loaded for it.

    Raises
    ------
    PipelineError
        They are of other classes or features, or the checkpoint needs features of motion.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.recipe.motion:
        raise PipelineError(
            f"'{folder}' needs 3-D features, which parse does not make; train with motion: false."
        )
    if checkpoint.classes != setup.vocabulary.names:
        raise PipelineError(
            f"'{folder}' was trained on {len(checkpoint.classes)} classes that are not the setup's"
            f" {len(setup.classes)}; give the setup of the same run."
        )
    checkpoint.check_features(setup.fingerprints())


def load_encoders(setup: InferenceSettings, device: str) -> dict[str, CaptionEncoder]:
    """Load a setup's encoders; a window goes through each in one batch."""
    loaded = {
        name: load_encoder(spec.model_copy(update={"batch_size": setup.segments}), device)
        for name, spec in setup.specs.items()
    }
    return {name: cast(CaptionEncoder, encoder) for name, encoder in loaded.items()}


def classes_of(text: str) -> list[EventClass]:
    """Return the classes that a person names, separated by commas, with captions in LLP's form.

    Raises
    ------
    PipelineError
        There is none, one stands twice, or one has control characters.
    """
    phrases = [" ".join(part.split()) for part in text.split(",") if part.strip()]
    names = [re.sub(r"\s", "_", phrase) for phrase in phrases]
    if not names or len(set(names)) != len(names) or not "".join(names).isprintable():
        raise PipelineError(
            f"--classes is {text!r}; name at least one class, each once, separated by commas."
        )
    return [
        EventClass(
            name=name,
            visual_caption=CAPTION_TEMPLATES["visual"].format(phrase),
            audio_caption=CAPTION_TEMPLATES["audio"].format(phrase),
            visual_threshold=0,
            audio_threshold=0,
        )
        for name, phrase in zip(names, phrases, strict=True)
    ]
