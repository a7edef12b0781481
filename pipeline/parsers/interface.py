"""The interface of a parser: its inputs, its outputs and its training targets.

Inputs and targets are separate types so that weak labels cannot leak into a prediction:
``forward`` takes ``ParserInputs``, which hold no weak labels. ``ParserTargets`` exist only for
training videos and are passed to ``loss_terms``.
Axes: B batch, T segments, C classes, D features, d network width.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields, replace
from typing import ClassVar, Generic, Self

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar


@dataclass(frozen=True)
class Dimensions:
    """Sizes given by the data rather than by a recipe.

    Attributes
    ----------
    audio, visual, motion
        Feature dimension of a segment; ``motion`` is 0 without 3-D features.
    text_audio, text_visual
        Feature dimension of a class text from the audio or visual encoder; 0 without class texts.
    segments, classes
        T and C.
    """

    audio: int
    visual: int
    motion: int
    text_audio: int
    text_visual: int
    segments: int
    classes: int


@dataclass(frozen=True)
class _Batch:
    """Tensors with videos on the first axis, except those named in ``shared``."""

    shared: ClassVar[tuple[str, ...]] = ()

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are present, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def take(self, rows: Tensor) -> Self:
        """Return the videos at ``rows`` (int64), in that order."""
        tensors = self.tensors().items()
        taken = {key: value[rows] for key, value in tensors if key not in self.shared}
        return replace(self, **taken)

    def to(self, device: torch.device) -> Self:
        """Return a copy on ``device``."""
        return replace(self, **{key: value.to(device) for key, value in self.tensors().items()})

    def digest(self) -> str:
        """Return a SHA-256 of all tensors."""
        content = hashlib.sha256()
        for name, value in self.tensors().items():
            content.update(f"{name}{tuple(value.shape)}".encode())
            # The array's own memory: bytes of it would be a copy of all features.
            content.update(value.cpu().contiguous().numpy().data)
        return content.hexdigest()


@dataclass(frozen=True)
class ParserInputs(_Batch):
    """Everything a parser may use to predict.

    Attributes
    ----------
    audio, visual
        Features [B, T, D] of each modality. ``visual`` is [B, T, F, D], F frames per segment, if
        the recipe keeps frames.
    motion
        3-D features [B, T, D], or None.
    prior_audio, prior_visual
        Pseudo-labels [B, T, C] in {0, 1}, not masked with weak labels; None if the method does
        not use them. A recipe may ask for masked ones, but for training videos only.
    text_audio, text_visual
        L2-normalised class texts [C, D], shared by all videos; None if the method does not use
        them. A recipe may ask for word vectors instead, the same for both.
    """

    shared: ClassVar[tuple[str, ...]] = ("text_audio", "text_visual")

    audio: Tensor
    visual: Tensor
    motion: Tensor | None = None
    prior_audio: Tensor | None = None
    prior_visual: Tensor | None = None
    text_audio: Tensor | None = None
    text_visual: Tensor | None = None

    def __len__(self) -> int:
        return len(self.audio)


@dataclass(frozen=True)
class ParserTargets(_Batch):
    """Labels of training videos; never passed to ``forward``.

    Attributes
    ----------
    weak
        Weak labels y [B, C] in {0, 1}.
    pseudo_audio, pseudo_visual
        Pseudo-labels ŷ^{m,gt} [B, T, C] masked with y: in {0, 1}, or in [0, 1] if the recipe uses
        soft labels; None if not used.
    frequency_audio, frequency_visual
        Share of all training segments that have each class's pseudo-label, float64 [C], see
        ``losses.class_frequencies``; shared by all videos; None if there are no pseudo-labels.
    """

    shared: ClassVar[tuple[str, ...]] = ("frequency_audio", "frequency_visual")

    weak: Tensor
    pseudo_audio: Tensor | None = None
    pseudo_visual: Tensor | None = None
    frequency_audio: Tensor | None = None
    frequency_visual: Tensor | None = None

    def __len__(self) -> int:
        return len(self.weak)

    @property
    def pseudo(self) -> tuple[Tensor, Tensor]:
        """Audio and visual pseudo-labels; raise ValueError if there are none."""
        if self.pseudo_audio is None or self.pseudo_visual is None:
            raise ValueError("this method needs segment pseudo-labels")
        return self.pseudo_audio, self.pseudo_visual

    @property
    def frequencies(self) -> tuple[Tensor, Tensor]:
        """Class frequencies of audio and visual; raise ValueError if there are none."""
        if self.frequency_audio is None or self.frequency_visual is None:
            raise ValueError("class weights need the class frequencies of the training videos")
        return self.frequency_audio, self.frequency_visual


@dataclass(frozen=True)
class Prediction:
    """What a parser predicts of B videos, whatever its network computes on the way.

    Attributes
    ----------
    segments
        Segment probabilities P [B, T, 2, C] in [0, 1], audio first.
    video
        Video-level gate g [B, C] over both modalities.
    by_modality
        Video-level probabilities p^a, p^v [B, 2, C] of one modality.
    attention
        Segment weights [B, 2, T] in (0, 1); None if the method does not weight segments.
    """

    segments: Tensor
    video: Tensor
    by_modality: Tensor
    attention: Tensor | None = None


@dataclass(frozen=True)
class NetworkOutput(ABC):
    """What a network computes for B videos; each method adds the tensors that its losses read."""

    @abstractmethod
    def prediction(self) -> Prediction:
        """Return the probabilities."""

    def float(self) -> Self:
        """Return a copy in float32, which the losses need after a bfloat16 forward pass.

        Float64 stays as it is.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        halves = {
            name: value.float()
            for name, value in values.items()
            if isinstance(value, Tensor) and value.dtype is torch.bfloat16
        }
        return replace(self, **halves)


@dataclass(frozen=True)
class ParserOutput(NetworkOutput):
    """The output of networks with one logit per segment and class.

    Attributes
    ----------
    logits
        Segment logits Z [B, T, 2, C], audio first; ``P = σ(Z)``.
    video
        Video-level gate g [B, C], in [0, 2] as MMIL computes it; clamped before any loss.
    audio_video, visual_video
        Video-level probabilities p^a, p^v [B, C] of one modality, in [0, 1].
    audio_features, visual_features
        Encoder outputs h [B, T, d].
    audio_interaction, visual_interaction
        Features [B, T, d] after cross-modal interaction and before text modulation (LINK's CMIM);
        None if the method has no such step.
    audio_attention, visual_attention
        Segment weights [B, T] in (0, 1); None if the method does not weight segments.
    """

    logits: Tensor
    video: Tensor
    audio_video: Tensor
    visual_video: Tensor
    audio_features: Tensor
    visual_features: Tensor
    audio_interaction: Tensor | None = None
    visual_interaction: Tensor | None = None
    audio_attention: Tensor | None = None
    visual_attention: Tensor | None = None

    def prediction(self) -> Prediction:
        """Return the probabilities ``P = σ(Z)``."""
        attention = None
        if self.audio_attention is not None and self.visual_attention is not None:
            attention = torch.stack((self.audio_attention, self.visual_attention), dim=1)
        by_modality = torch.stack((self.audio_video, self.visual_video), dim=1)
        return Prediction(self.logits.sigmoid(), self.video, by_modality, attention)

    @property
    def audio_logits(self) -> Tensor:
        """Z^a [B, T, C]."""
        return self.logits[:, :, 0]

    @property
    def visual_logits(self) -> Tensor:
        """Z^v [B, T, C]."""
        return self.logits[:, :, 1]


Output = TypeVar("Output", bound=NetworkOutput, default=ParserOutput)


class ParserNetwork(nn.Module, ABC, Generic[Output]):
    """Base class of the parsers: predict event probabilities from features and compute the loss.

    Attributes
    ----------
    can_be_batched
        Whether ``torch.func.vmap`` can run it for several seeds as one network.
    """

    can_be_batched: ClassVar[bool] = True

    @abstractmethod
    def forward(self, inputs: ParserInputs) -> Output:
        """Run the network on a batch of B videos."""

    @abstractmethod
    def loss_terms(self, output: Output, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the loss as named scalar terms; the loss is their sum."""

    def predict(self, inputs: ParserInputs) -> Prediction:
        """Parse a batch of B videos, in evaluation mode; methods that average passes override."""
        output: Output = self(inputs)
        return output.prediction()

    def parameter_count(self) -> int:
        """Return the number of trainable parameters."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)


def different_sizes(one: Dimensions, other: Dimensions) -> tuple[str, str]:
    """Return the sizes in which two ``Dimensions`` differ, as text; empty if all are equal."""
    both = asdict(one), asdict(other)
    keys = [key for key in both[0] if both[0][key] != both[1][key]]
    first, second = (", ".join(f"{key} {sizes[key]}" for key in keys) for sizes in both)
    return first, second
