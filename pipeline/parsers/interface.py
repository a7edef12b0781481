"""What goes into a parser, what comes out, and what only its losses see.

Inputs and targets are different types on purpose: a parser's ``forward`` is given
``ParserInputs``, where no weak label has a place; ``ParserTargets`` exist for training videos
only and go to ``loss_terms``.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Dimensions:
    """Sizes that come from the data and not from a recipe.

    Attributes
    ----------
    audio, visual, motion
        Features of a segment; ``motion`` is 0 where 3-D features are not used.
    text_audio, text_visual
        Features of a class text in the space of either encoder; 0 where no text is used.
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
    """Tensors whose first axis is videos, except those named in ``shared``."""

    shared: ClassVar[tuple[str, ...]] = ()

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def take(self, rows: Tensor) -> Self:
        """Return some videos, in the order of ``rows`` (int64)."""
        tensors = self._tensors().items()
        taken = {key: value[rows] for key, value in tensors if key not in self.shared}
        return replace(self, **taken)

    def to(self, device: torch.device) -> Self:
        """Return the same on ``device``."""
        return replace(self, **{key: value.to(device) for key, value in self._tensors().items()})

    def digest(self) -> str:
        """Return a hash of all the numbers."""
        content = hashlib.sha256()
        for name, value in self._tensors().items():
            content.update(f"{name}{tuple(value.shape)}".encode())
            content.update(value.cpu().numpy().tobytes())
        return content.hexdigest()


@dataclass(frozen=True)
class ParserInputs(_Batch):
    """All that a parser may look at.

    Attributes
    ----------
    audio, visual
        Features [B, T, D] of each modality.
    motion
        3-D features [B, T, D], or None.
    prior_audio, prior_visual
        Pseudo-labels [B, T, C] in {0, 1}, not masked with weak labels; None where the method does
        not read them. (A recipe may ask for masked ones, for training videos only.)
    text_audio, text_visual
        Class texts [C, D], L2-normalised, the same for all videos; None with the prior.
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
    """What training videos are labelled with; never given to ``forward``.

    Attributes
    ----------
    weak
        Video labels y [B, C] in {0, 1}.
    pseudo_audio, pseudo_visual
        Pseudo-labels ŷ^{m,gt} [B, T, C] in {0, 1}, or in [0, 1] where the recipe asks for soft
        ones, masked with y; None where not used.
    balance_audio, balance_visual
        Weight of each class's positive segments [C], the same for all videos; None is 1.
    """

    shared: ClassVar[tuple[str, ...]] = ("balance_audio", "balance_visual")

    weak: Tensor
    pseudo_audio: Tensor | None = None
    pseudo_visual: Tensor | None = None
    balance_audio: Tensor | None = None
    balance_visual: Tensor | None = None

    def __len__(self) -> int:
        return len(self.weak)

    @property
    def pseudo(self) -> tuple[Tensor, Tensor]:
        """The pseudo-labels of audio and visual, for a method that needs them."""
        if self.pseudo_audio is None or self.pseudo_visual is None:
            raise ValueError("this method needs segment pseudo-labels")
        return self.pseudo_audio, self.pseudo_visual


@dataclass(frozen=True)
class ParserOutput:
    """What a parser says of B videos.

    Attributes
    ----------
    logits
        Z [B, T, 2, C], audio first; ``P = σ(Z)``.
    video
        g [B, C], in [0, 2] by MMIL's form; a gate, clamped before any loss.
    audio_video, visual_video
        p^a, p^v [B, C] in [0, 1].
    audio_features, visual_features
        Encoder outputs h [B, T, d].
    audio_interaction, visual_interaction
        Features [B, T, d] after the modalities' interaction and before texts modulate them (LINK's
        CMIM), where the method has such a step.
    audio_attention, visual_attention
        Weight [B, T] in (0, 1) of each segment where the method weighs segments.
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

    def float(self) -> Self:
        """Return the same in float32, as losses need it after a forward pass in bfloat16."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        floats = {name: value.float() for name, value in values.items() if value is not None}
        return replace(self, **floats)

    @property
    def audio_logits(self) -> Tensor:
        """Z^a [B, T, C]."""
        return self.logits[:, :, 0]

    @property
    def visual_logits(self) -> Tensor:
        """Z^v [B, T, C]."""
        return self.logits[:, :, 1]


class ParserNetwork(nn.Module, ABC):
    """A network from segment features to event probabilities, and its loss."""

    @abstractmethod
    def forward(self, inputs: ParserInputs) -> ParserOutput:
        """Parse B videos."""

    @abstractmethod
    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the named terms whose sum is the loss, each a scalar."""

    def parameter_count(self) -> int:
        """Return how many numbers are trained."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)


def different_sizes(one: Dimensions, other: Dimensions) -> tuple[str, str]:
    """Return those sizes of either that the other has not, in words; empty where all are equal."""
    both = asdict(one), asdict(other)
    keys = [key for key in both[0] if both[0][key] != both[1][key]]
    first, second = (", ".join(f"{key} {sizes[key]}" for key in keys) for sizes in both)
    return first, second
