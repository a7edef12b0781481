"""NREP (IEEE TNNLS 2024, repository CFM-MSG/Code_NREP): a network for each modality.

Both networks see both modalities and have the same form and the same start. The audio network is
trained first, then the visual one; each keeps its own best epoch. Parsing takes the audio from one
and the visual from the other. A segment and class has a pair of logits: foreground l⁺ from the
modality itself, background l⁻ from the other modality without cross-modal attention.

=================================  ===========================================================
Released module (of one network)   Here (``audio_model`` and ``visual_model`` alike)
=================================  ===========================================================
``fc_a, fc_v, fc_st, fc_fusion``   ``projection.{audio,visual,motion,fusion}``, ELU after each
``inter_encoder``                  ``encoder``, run without and with cross-modal attention
``fc_sl_fore``, ``fc_sl_back``     ``foreground``, ``background``
``fc_frame_att``                   ``attention``; row 2c is the foreground of class c, 2c + 1
                                   its background
``fc_a_sl``, ``fc_v_sl``           ``joint_audio``, ``joint_visual``, LeakyReLU after each
``fc_joint_sl``                    ``joint_pairs``, rows as in ``attention``
``fc_temporal_att``                ``joint_attention``, rows as in ``attention``
=================================  ===========================================================

Axes: B batch, T segments, C classes, d width; modalities 0 audio, 1 visual; pairs 0 foreground,
1 background.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.parsers.interface import (
    Dimensions,
    NetworkOutput,
    ParserInputs,
    ParserNetwork,
    ParserTargets,
    Prediction,
)
from pipeline.parsers.layers import HanEncoder, Projection
from pipeline.parsers.losses import segment_bce, segment_nce
from pipeline.parsers.plan import Batch, Phase, TrainingPlan, Update
from pipeline.parsers.recipes import NrepRecipe

# Released code: logits are clamped to ±10 before they are evidence; slope of the LeakyReLUs.
LARGEST_PAIR_LOGIT = 10.0
LEAKY_SLOPE = 0.2


@dataclass(frozen=True)
class NrepModelOutput(NetworkOutput):
    """What one of the two networks computes.

    Attributes
    ----------
    segment_pairs, video_pairs
        Logits (l⁺, l⁻) of each modality [B, T, 2, C, 2], and pooled by attention [B, 2, C, 2].
    joint_segment_pairs, joint_video_pairs
        Logits of events in both modalities [B, T, C, 2], and pooled [B, C, 2].
    attention, joint_attention
        The weights of both poolings [B, T, 2, C, 2] and [B, T, C, 2]; they sum to 1 over T.
    audio_features, visual_features
        Encoder outputs [B, T, d], mixed of both passes.
    """

    segment_pairs: Tensor
    video_pairs: Tensor
    joint_segment_pairs: Tensor
    joint_video_pairs: Tensor
    attention: Tensor
    joint_attention: Tensor
    audio_features: Tensor
    visual_features: Tensor

    def prediction(self) -> Prediction:
        """Return the probabilities by evidence."""
        segments, video, by_modality = (
            evidence_probability(pairs)
            for pairs in (self.segment_pairs, self.joint_video_pairs, self.video_pairs)
        )
        return Prediction(segments, video, by_modality)


@dataclass(frozen=True)
class NrepOutput(NetworkOutput):
    """What both networks compute."""

    audio_model: NrepModelOutput
    visual_model: NrepModelOutput

    def prediction(self) -> Prediction:
        """Return audio from the audio network and visual from the visual one.

        The global gate, which NREP does not use, is the mean of both joint branches.
        """
        one, other = self.audio_model.prediction(), self.visual_model.prediction()
        segments = torch.stack((one.segments[:, :, 0], other.segments[:, :, 1]), dim=2)
        by_modality = torch.stack((one.by_modality[:, 0], other.by_modality[:, 1]), dim=1)
        return Prediction(segments, (one.video + other.video) / 2, by_modality)

    def float(self) -> Self:
        """Return a copy in float32; float64 stays as it is."""
        audio_model, visual_model = self.audio_model.float(), self.visual_model.float()
        return replace(self, audio_model=audio_model, visual_model=visual_model)


class NrepModel(ParserNetwork[NrepModelOutput]):
    """One of NREP's two networks; 4.83 M parameters, 4.04 M without 3-D features.

    differs: two final norms that the released encoder builds but never applies (2048 parameters)
    are left out. CLAP's feature map [64, 768] is pooled to [T, 768] before the projection ("pooled
    map"); the released code also accepts that form, but was run on the whole map, where the ELU
    comes before the pooling.
    """

    def __init__(
        self, dimensions: Dimensions, recipe: NrepRecipe, video_factors: tuple[float, float]
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.video_factors = video_factors
        width, classes = recipe.width, dimensions.classes
        self.projection = Projection(dimensions, width, nn.ELU())
        self.encoder = HanEncoder(recipe)
        self.dropout = nn.Dropout(recipe.visual_dropout)
        self.foreground = nn.Linear(width, classes)
        self.background = nn.Linear(width, classes)
        self.attention = nn.Linear(width, 2 * classes)
        self.joint_audio = nn.Linear(width, width)
        self.joint_visual = nn.Linear(width, width)
        self.joint_pairs = nn.Linear(width, 2 * classes)
        self.joint_attention = nn.Linear(width, 2 * classes)

    def forward(self, inputs: ParserInputs) -> NrepModelOutput:
        """Run both passes of the encoder on a batch of B videos and classify segments."""
        projected = self.projection(inputs)
        intra = self.encoder(*projected, crosses=False)
        inter = self.encoder(*projected, crosses=True)
        share = self.recipe.intra_share
        audio, visual = (
            share * within + (1 - share) * across
            for within, across in zip(intra, inter, strict=True)
        )
        own = torch.stack([inter[0], self.dropout(inter[1])], dim=2)
        others = torch.stack([intra[1], intra[0]], dim=2)
        pairs = torch.stack([self.foreground(own), self.background(others)], dim=-1)
        attention = _paired(self.attention(own)).softmax(dim=1)
        joint = functional.leaky_relu(self.joint_audio(audio), LEAKY_SLOPE)
        joint = joint + functional.leaky_relu(self.joint_visual(visual), LEAKY_SLOPE)
        joint_pairs = _paired(self.joint_pairs(joint))
        joint_attention = _paired(self.joint_attention(joint)).softmax(dim=1)
        return NrepModelOutput(
            segment_pairs=pairs,
            video_pairs=(attention * pairs).sum(dim=1),
            joint_segment_pairs=joint_pairs,
            joint_video_pairs=(joint_attention * joint_pairs).sum(dim=1),
            attention=attention,
            joint_attention=joint_attention,
            audio_features=audio,
            visual_features=visual,
        )

    def loss_terms(self, output: NrepModelOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the losses of segments, videos, joint branch, equal times and attention."""
        recipe, (audio, visual) = self.recipe, targets.pseudo
        audio_pairs, visual_pairs = output.segment_pairs.unbind(dim=2)
        audio_segment = segment_bce(_margin(audio_pairs), audio)
        visual_segment = segment_bce(_margin(visual_pairs), visual)
        video_losses = [
            factor * pair_bce(pairs, labels.sum(dim=1).clamp(max=1))
            for factor, pairs, labels in zip(
                self.video_factors, output.video_pairs.unbind(dim=1), (audio, visual), strict=True
            )
        ]
        joint = pair_bce(output.joint_video_pairs, targets.weak)
        both = audio * visual * targets.weak[:, None]
        joint = joint + pair_bce(output.joint_segment_pairs, both)
        nce = segment_nce(
            output.audio_features,
            output.visual_features,
            recipe.nce_temperature,
            recipe.nce_smoothing,
        )
        agreement = attention_agreement(output.joint_attention, output.attention)
        return {
            "audio_segment": recipe.audio_weight * audio_segment,
            "visual_segment": visual_segment,
            "audio_video": recipe.video_weight * video_losses[0],
            "visual_video": recipe.video_weight * video_losses[1],
            "joint": recipe.joint_weight * joint,
            "nce": recipe.nce_weight * nce,
            "attention": recipe.attention_weight * agreement,
        }


class Nrep(ParserNetwork[NrepOutput]):
    """NREP's two networks; the visual one starts as a copy of the audio one."""

    def __init__(self, dimensions: Dimensions, recipe: NrepRecipe) -> None:
        super().__init__()
        self.audio_model = NrepModel(dimensions, recipe, (recipe.audio_weight, 1.0))
        self.visual_model = copy.deepcopy(self.audio_model)
        self.visual_model.video_factors = (1.0, recipe.visual_weight)

    def forward(self, inputs: ParserInputs) -> NrepOutput:
        """Run both networks on a batch of B videos."""
        return NrepOutput(self.audio_model(inputs), self.visual_model(inputs))

    def loss_terms(self, output: NrepOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the losses of both networks; training uses those of one at a time."""
        audio = self.audio_model.loss_terms(output.audio_model, targets)
        visual = self.visual_model.loss_terms(output.visual_model, targets)
        terms = {f"audio_model_{name}": value for name, value in audio.items()}
        return terms | {f"visual_model_{name}": value for name, value in visual.items()}


class NrepPlan(TrainingPlan[NrepRecipe]):
    """Train the audio network, then the visual one, each with its own selection.

    Validation parses with both. differs: the released code also compares the visual network's
    epochs with the scores of its untrained start during the audio phase, and scores them together
    with the audio network's last epoch; here it is the selected one.
    """

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of the audio and the visual network."""
        selections = {"audio": self.recipe.selection, "visual": self.recipe.visual_selection}
        return tuple(
            Phase(
                name=modality,
                epochs=self.recipe.epochs,
                selection=selection,
                part=f"parser.{modality}_model",
                optimised={modality: f"parser.{modality}_model"},
            )
            for modality, selection in selections.items()
        )

    def steps(self, phase: Phase, batch: Batch) -> Iterator[Update]:
        """Yield one update of the phase's network."""
        model = cast(NrepModel, self.get_submodule(phase.part))
        output = self.run(model, batch.inputs)
        yield Update(model.loss_terms(output, batch.targets), optimiser=phase.name)


def evidence_probability(pairs: Tensor) -> Tensor:
    """Return ``e⁺ / (e⁺ + e⁻ + 2)`` [...] of logit pairs [..., 2], with ``e = exp(l)``.

    Used for parsing only; the losses use the softmax of a pair, as in the released code. Logits of
    0 give 1/4, hence the low thresholds.
    """
    evidence = pairs.clamp(-LARGEST_PAIR_LOGIT, LARGEST_PAIR_LOGIT).exp()
    return evidence[..., 0] / (evidence.sum(dim=-1) + 2)


def pair_bce(pairs: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of both entries of softmax(l⁺, l⁻) with (y, 1 - y).

    The entries add up, so this is twice that of ``σ(l⁺ - l⁻)`` alone. Pairs are [..., 2], labels
    [...] in [0, 1].
    """
    return 2 * segment_bce(_margin(pairs), labels)


def attention_agreement(joint: Tensor, by_modality: Tensor) -> Tensor:
    """Return the loss that compares the joint attention X with that of the modalities.

    With Y the larger of the two modalities, ``mean(softplus(Y) + softplus(-X) - 2 ln 2)``, summed
    over foreground and background: the Jensen-Shannon estimator of mutual information, negated,
    with X as the positive and Y as the negative sample (released code).
    ``joint`` is [B, T, C, 2], ``by_modality`` [B, T, 2, C, 2].
    """
    larger = by_modality.max(dim=2).values
    distance = functional.softplus(larger) + functional.softplus(-joint) - 2 * math.log(2)
    return distance.mean(dim=(0, 1, 2)).sum()


def _margin(pairs: Tensor) -> Tensor:
    """Return ``l⁺ - l⁻`` [...], whose sigmoid is the softmax of pairs [..., 2]."""
    return pairs[..., 0] - pairs[..., 1]


def _paired(logits: Tensor) -> Tensor:
    """Return logits [..., 2C] as pairs [..., C, 2]."""
    return logits.reshape(*logits.shape[:-1], -1, 2)
