"""The network of CMPAE (Gao, Chen, Xu, CVPR 2023), which is also CoLeaF's anchor.

Each modality collects evidence for the presence and for the absence of every class; a global branch
predicts the video's classes from the projected features alone.
Axes: B batch, T segments, C classes, d width; modalities: 0 audio, 1 visual.

Names in the released code -> here:
    fc_a, fc_v, fc_st, fc_fusion   projection.audio, .visual, .motion, .fusion
    hat_encoder                    encoder
    classifier1, classifier2       global_hidden, global_head
    fc_prob, fc_prob_beta          presence, absence
    fc_frame_att                   over_time (output 2c: presence of class c, 2c + 1: absence)
    v2a, a2v                       audio_exchange, visual_exchange
differs: the unused ``fc_global`` (275 481 parameters with 25 classes) and two unused norms (2 048)
are left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.parsers.denoising import DenoisedNetwork
from pipeline.parsers.interface import Dimensions, NetworkOutput, ParserInputs, Prediction
from pipeline.parsers.layers import HanEncoder, Projection
from pipeline.parsers.losses import clamped_probabilities, segment_nce, video_bce
from pipeline.parsers.recipes import EvidenceRecipe

# Constants of the released code: evidence is exp(clamp(l, -10, 10) / 0.8).
LARGEST_LOGIT = 10.0
EVIDENCE_TEMPERATURE = 0.8
LEAK = 0.2
EXCHANGE_DROPOUT = 0.2
# Smallest uncertainty of the global branch in the mutual loss.
LEAST_UNCERTAINTY = 0.9


def evidence(logits: Tensor) -> Tensor:
    """Return the evidence ``e(l) = exp(clamp(l, -10, 10) / 0.8)``."""
    return (logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT) / EVIDENCE_TEMPERATURE).exp()


def belief(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return probability and uncertainty [...] of logits of presence and absence [..., 2].

    With ``α = e(l) + 1``: ``p = α⁺/(α⁺ + α⁻)`` and ``u = 2/(α⁺ + α⁻)``.
    """
    alpha = evidence(logits) + 1
    total = alpha.sum(dim=-1)
    return alpha[..., 0] / total, 2 / total


@dataclass(frozen=True)
class EvidenceOutput(NetworkOutput):
    """The output of the evidence network.

    Attributes
    ----------
    segment_logits
        Logits of presence and absence [B, T, 2, C, 2], modality before class.
    logits
        The same, pooled over time [B, 2, C, 2].
    global_logits
        Logits z of the global branch [B, T, C].
    audio_features, visual_features
        Encoder outputs [B, T, d], before dropout of the visual ones.
    """

    segment_logits: Tensor
    logits: Tensor
    global_logits: Tensor
    audio_features: Tensor
    visual_features: Tensor

    @property
    def by_modality(self) -> Tensor:
        """Video-level probabilities p^a, p^v [B, 2, C]."""
        return belief(self.logits)[0]

    @property
    def uncertainty(self) -> Tensor:
        """Uncertainty u of those [B, 2, C]."""
        return belief(self.logits)[1]

    @property
    def video(self) -> Tensor:
        """Probabilities of the global branch ``g = mean_t σ(z)`` [B, C]."""
        return self.global_logits.sigmoid().mean(dim=1)

    @property
    def video_uncertainty(self) -> Tensor:
        """Uncertainty of the global branch ``u_g = C / Σ_c (e(mean_t z_c) + 1)`` [B]."""
        pooled = evidence(self.global_logits.mean(dim=1)) + 1
        return pooled.shape[-1] / pooled.sum(dim=-1)

    def prediction(self) -> Prediction:
        """Return the probabilities of presence."""
        return Prediction(belief(self.segment_logits)[0], self.video, self.by_modality)


class EvidenceNetwork(DenoisedNetwork[EvidenceOutput]):
    """The network of CMPAE and CoLeaF's anchor, and the loss they share."""

    def __init__(self, dimensions: Dimensions, recipe: EvidenceRecipe) -> None:
        super().__init__(recipe)
        self.recipe = recipe
        width, classes = recipe.width, dimensions.classes
        self.projection = Projection(dimensions, width, nn.ELU())
        self.encoder = HanEncoder(recipe)
        self.global_hidden = nn.Linear(width, width)
        self.global_head = nn.Linear(width, classes)
        self.presence = nn.Linear(width, classes)
        self.absence = nn.Linear(width, classes)
        self.over_time = nn.Linear(width, 2 * classes)
        self.audio_exchange = _exchange(width)
        self.visual_exchange = _exchange(width)
        self.visual_dropout = nn.Dropout(recipe.visual_dropout)

    def forward(self, inputs: ParserInputs, crosses: bool = True) -> EvidenceOutput:
        """Run the network; without ``crosses`` no modality attends to the other.

        With it, features are ``0.8·(with cross attention) + 0.2·(without)``.
        """
        projected = self.projection(inputs)
        audio, visual = self.encoder(*projected, crosses=False)
        if crosses:
            crossed = self.encoder(*projected)
            mix = self.recipe.feature_mix
            audio = mix * crossed[0] + (1 - mix) * audio
            visual = mix * crossed[1] + (1 - mix) * visual
        return self._classified(projected, audio, visual)

    def predict(self, inputs: ParserInputs) -> Prediction:
        """Return 0.7 of a pass with and 0.3 of one without cross attention."""
        one, other = (self(inputs, crosses=crosses).prediction() for crosses in (True, False))
        mix = self.recipe.pass_mix
        return Prediction(
            mix * one.segments + (1 - mix) * other.segments,
            one.video,
            mix * one.by_modality + (1 - mix) * other.by_modality,
        )

    def label_terms(
        self, output: EvidenceOutput, weak: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss without the mutual term; labels of audio and visual [B, 2, C]."""
        recipe = self.recipe
        audio, visual = output.by_modality.unbind(dim=1)
        nce = segment_nce(
            output.audio_features,
            output.visual_features,
            recipe.nce_temperature,
            recipe.nce_smoothing,
        )
        return {
            "video": recipe.video_weight * video_bce(output.video, weak),
            "audio_video": recipe.audio_weight * video_bce(audio, labels[:, 0]),
            "visual_video": recipe.visual_weight * video_bce(visual, labels[:, 1]),
            "nce": recipe.nce_weight * nce,
        }

    def _classified(
        self, projected: tuple[Tensor, Tensor], audio: Tensor, visual: Tensor
    ) -> EvidenceOutput:
        hidden = [functional.leaky_relu(self.global_hidden(each), LEAK) for each in projected]
        dropped = self.visual_dropout(visual)
        streams = torch.stack((audio, dropped), dim=2)
        both = audio + dropped
        exchanged = audio + self.audio_exchange(both), dropped + self.visual_exchange(both)
        pair = self.presence(streams), self.absence(torch.stack(exchanged, dim=2))
        segment_logits = torch.stack(pair, dim=-1)
        weights = self.over_time(streams).unflatten(-1, (-1, 2)).softmax(dim=1)
        return EvidenceOutput(
            segment_logits=segment_logits,
            logits=(weights * segment_logits).sum(dim=1),
            global_logits=self.global_head(hidden[0] + hidden[1]),
            audio_features=audio,
            visual_features=visual,
        )


def _exchange(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.Dropout(EXCHANGE_DROPOUT), nn.LeakyReLU(LEAK))


def mutual_loss(output: EvidenceOutput, weak: Tensor, teaches_video: bool) -> Tensor:
    """Return CMPAE's mutual loss between the global branch and the modalities.

    ``mean[w·(1 - u⁺)·(g - q⁺)²·y + w·(1 - u⁻)·(g - q⁻)²·(1 - y)]`` where q⁺ is the larger of p^a
    and p^v with its uncertainty u⁺, and q⁻, u⁻ are their means. Probabilities are clamped as in
    ``video_bce``. Uncertainties are not detached.

    Parameters
    ----------
    output, weak
        Output, and weak labels [B, C].
    teaches_video
        Whether the modalities teach g (``w = u_g``, at least 0.9, q detached), as in odd batches,
        or g teaches them (``w = 1 - u_g``, g detached), as in even ones.
    """
    video = clamped_probabilities(output.video)
    audio, visual = clamped_probabilities(output.by_modality).unbind(dim=1)
    audio_doubt, visual_doubt = output.uncertainty.unbind(dim=1)
    video_uncertainty = output.video_uncertainty.clamp(min=LEAST_UNCERTAINTY)[:, None]
    is_audio = audio >= visual
    taught = torch.where(is_audio, audio, visual), (audio + visual) / 2
    doubts = torch.where(is_audio, audio_doubt, visual_doubt), (audio_doubt + visual_doubt) / 2
    if teaches_video:
        weight = video_uncertainty
        errors = [(video - each.detach()).square() for each in taught]
    else:
        weight = 1 - video_uncertainty
        errors = [(video.detach() - each).square() for each in taught]
    present, absent = (weight * (1 - u) * error for u, error in zip(doubts, errors, strict=True))
    return (present * weak + absent * (1 - weak)).mean()
