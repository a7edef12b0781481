"""LINK (arXiv 2412.20872): adaptive modality interaction on CLAP and CLIP features.

The network is a projection, TSAM (eqs. 1-3), CMIM (eqs. 4-6), PLSIM (eqs. 13-17), then VALOR++'s
encoder and head. The loss adds S-LOSS (eqs. 10-12) to L_VALOR. Where the paper is ambiguous,
``LinkRecipe`` has an option for each reading.
Axes: B batch, T segments, C classes, d width, D text features.
"""

from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from pipeline.parsers.interface import (
    Dimensions,
    ParserInputs,
    ParserNetwork,
    ParserOutput,
    ParserTargets,
)
from pipeline.parsers.layers import HanEncoder, MmilHead, Projection, normaliser
from pipeline.parsers.losses import (
    any_segment,
    either,
    hardened,
    similarity_loss,
    similarity_pairs,
    smoothed,
    video_bce,
)
from pipeline.parsers.recipes import LinkRecipe
from pipeline.parsers.valor import valor_terms

# Kernel size of CBAM's spatial attention (Woo et al., ECCV 2018), which eq. 2 follows.
KERNEL = 7
# Reduction ratio of the MLP in CBAM's channel attention (reading B of eq. 1).
REDUCTION = 16
# HAN's label smoothing of visual weak labels (label_loss ``weak``).
VISUAL_CERTAINTY = 0.9


class TemporalSpatialAttention(nn.Module):
    """TSAM of one modality: attention over segments, then features (reading A), or reversed (B).

    Every weight is a sigmoid, so features shrink. differs: eq. 2 prints no convolution, but its
    shapes only match with one; eq. 3 prints ``f^a`` for both modalities, read as ``f^m``.
    """

    def __init__(self, segments: int, recipe: LinkRecipe) -> None:
        super().__init__()
        first_axis = recipe.width if recipe.tsam_reading == "B" else segments
        hidden = max(1, recipe.width // REDUCTION) if recipe.tsam_reading == "B" else segments
        self.pooled_axis = 1 if recipe.tsam_reading == "B" else 2
        self.first = nn.Sequential(
            nn.Linear(first_axis, hidden), nn.ReLU(), nn.Linear(hidden, first_axis)
        )
        self.second = (
            nn.Conv1d(2, 1, KERNEL, padding=KERNEL // 2) if recipe.tsam_spatial == "conv" else None
        )
        self.residual = recipe.tsam_residual

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return reweighted features [B, T, d] and the segment weights [B, T]."""
        # Eq. 1: W = σ(MLP(mean) + MLP(max)), pooled over features (A) or over segments (B).
        mean, peak = _mean_and_max(features, self.pooled_axis)
        weight = (self.first(mean) + self.first(peak)).sigmoid().unsqueeze(self.pooled_axis)
        weighted = weight * features
        # Eq. 2: S = σ(conv[mean ; max]), pooled over the other axis.
        other_axis = 3 - self.pooled_axis
        rows = torch.stack(_mean_and_max(weighted, other_axis), dim=1)
        score = self.second(rows).squeeze(1) if self.second else rows.mean(dim=1)
        # Eq. 3: f̂ = S(W ⊗ f) · (W · f).
        scale = score.sigmoid().unsqueeze(other_axis)
        attended = scale * weighted
        segment_weights = (weight if self.pooled_axis == 2 else scale).squeeze(2)
        return features + attended if self.residual else attended, segment_weights


class CrossModalInteraction(nn.Module):
    """CMIM in one direction: gated cross-modal attention without projections.

    differs: eqs. 4-5 print no transpose. With scalar gates only the product α·β matters. Starting
    both at 0 would be a saddle point, so α starts at 0 and β at 1.
    """

    def __init__(self, recipe: LinkRecipe) -> None:
        super().__init__()
        shape = (recipe.width,) if recipe.cmim_gates == "channel" else ()
        trainable = recipe.cmim_trainable
        self.alpha = nn.Parameter(torch.full(shape, recipe.cmim_alpha), requires_grad=trainable)
        self.beta = nn.Parameter(torch.full(shape, recipe.cmim_beta), requires_grad=trainable)
        self.scale = recipe.width**-0.5 if recipe.cmim_scaled else 1.0
        self.adds_twice = recipe.cmim_residual == "double"

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Return ``own`` [B, T, d] plus what it attends to in ``other`` [B, T, d]."""
        # Eqs. 4-5: f^c = f̂ + α · softmax(f̂ f̂'ᵀ) (β · f̂').
        attention = (self.scale * own @ other.mT).softmax(dim=-1)
        crossed = own + self.alpha * (attention @ (self.beta * other))
        # Eq. 6: f^out = f̂ + f^c, so f̂ is added twice.
        return own + crossed if self.adds_twice else crossed


class PseudoLabelSemantics(nn.Module):
    """PLSIM of one modality: modulate segment features by the texts of their pseudo-labels.

    The last layer is initialised to zero, so features pass unchanged at the start of training and
    in segments without events. Eqs. 14-15 say only "different MLPs".
    """

    def __init__(self, text_dimension: int, recipe: LinkRecipe) -> None:
        super().__init__()
        self.scale = _text_mlp(text_dimension, recipe.width)
        self.shift = _text_mlp(text_dimension, recipe.width)
        self.null = (
            nn.Parameter(torch.randn(text_dimension) * text_dimension**-0.5)
            if recipe.null_text == "learned"
            else None
        )
        self.pooling = recipe.text_pooling
        self.dropout = recipe.text_dropout

    def forward(self, features: Tensor, prior: Tensor, texts: Tensor) -> Tensor:
        """Return features [B, T, d] modulated by a prior [B, T, C] over class texts [C, D]."""
        # Eq. 13: pool the texts of the segment's pseudo-labelled events.
        text = segment_text(prior, texts, self.pooling)
        present = (prior.sum(dim=-1, keepdim=True) > 0).to(features.dtype)
        if self.training and self.dropout:
            drawn = torch.rand_like(prior[:, :1, :1])
            present = present * (drawn >= self.dropout)
        if self.null is not None:
            text = present * text + (1 - present) * self.null
            present = torch.ones_like(present)
        # Eqs. 14-15: γ₁ = Δ¹(t), γ₂ = Δ²(t).  Eqs. 16-17: F = f ⊙ γ₁ + γ₂ + f.
        gamma, rho = present * self.scale(text), present * self.shift(text)
        return cast(Tensor, features * gamma + rho + features)


class Link(ParserNetwork):
    """LINK, configured by ``LinkRecipe``."""

    def __init__(self, dimensions: Dimensions, recipe: LinkRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        width = recipe.width
        self.projection = Projection(dimensions, width)
        self.audio_norm = normaliser(recipe.norm, width)
        self.visual_norm = normaliser(recipe.norm, width)
        if recipe.tsam:
            self.audio_tsam = TemporalSpatialAttention(dimensions.segments, recipe)
            self.visual_tsam = TemporalSpatialAttention(dimensions.segments, recipe)
        if recipe.cmim:
            self.audio_cmim = CrossModalInteraction(recipe)
            self.visual_cmim = CrossModalInteraction(recipe)
        if recipe.plsim:
            self.audio_plsim = PseudoLabelSemantics(dimensions.text_audio, recipe)
            self.visual_plsim = PseudoLabelSemantics(dimensions.text_visual, recipe)
        if recipe.encoder != "none":
            self.encoder = HanEncoder(recipe)
        self.head = MmilHead(width, dimensions.classes)
        used = recipe.avss_weight > 0 and recipe.reweighting != "none"
        trainable = recipe.mu_trainable and used
        self.mu = nn.Parameter(torch.tensor(recipe.mu_initial), requires_grad=trainable)

    def forward(self, inputs: ParserInputs) -> ParserOutput:
        """Parse a batch of B videos."""
        audio, visual = self.projection(inputs)
        audio, visual = self.audio_norm(audio), self.visual_norm(visual)
        if self.recipe.encoder == "before":
            audio, visual = encoded = self.encoder(audio, visual)
        attention: tuple[Tensor | None, Tensor | None] = None, None
        if self.recipe.tsam:
            audio, audio_attention = self.audio_tsam(audio)
            visual, visual_attention = self.visual_tsam(visual)
            attention = audio_attention, visual_attention
        if self.recipe.cmim:
            audio, visual = self.audio_cmim(audio, visual), self.visual_cmim(visual, audio)
        interaction = audio, visual
        if self.recipe.plsim:
            audio, visual = self._modulated(audio, visual, inputs)
        if self.recipe.encoder == "after":
            audio, visual = self.encoder(audio, visual)
        if self.recipe.encoder != "before":
            encoded = audio, visual
        return replace(
            cast(ParserOutput, self.head(audio, visual)),
            audio_features=encoded[0],
            visual_features=encoded[1],
            audio_interaction=interaction[0],
            visual_interaction=interaction[1],
            audio_attention=attention[0],
            visual_attention=attention[1],
        )

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the terms of L = L_VALOR + L_label + L_avss (eq. 12)."""
        terms = valor_terms(output, targets, self.recipe)
        if self.recipe.label_loss != "none":
            terms["label"] = self.recipe.label_weight * self._label_loss(output, targets)
        if self.recipe.avss_weight:
            terms["avss"] = self.recipe.avss_weight * self._similarity_loss(output, targets)
        return terms

    def _modulated(
        self, audio: Tensor, visual: Tensor, inputs: ParserInputs
    ) -> tuple[Tensor, Tensor]:
        if (
            inputs.prior_audio is None
            or inputs.prior_visual is None
            or inputs.text_audio is None
            or inputs.text_visual is None
        ):
            raise ValueError("PLSIM needs unmasked pseudo-labels and class texts")
        return (
            self.audio_plsim(audio, inputs.prior_audio, inputs.text_audio),
            self.visual_plsim(visual, inputs.prior_visual, inputs.text_visual),
        )

    def _label_loss(self, output: ParserOutput, targets: ParserTargets) -> Tensor:
        """Return L_label (eq. 10). differs: as printed, it compares two constants."""
        by_modality = output.audio_video, output.visual_video
        if self.recipe.label_loss == "either":
            return video_bce(either(*by_modality), targets.weak)
        if self.recipe.label_loss == "peak":
            return video_bce(output.logits.sigmoid().amax(dim=(1, 2)), targets.weak)
        if self.recipe.label_loss == "weak":
            labels = targets.weak, smoothed(targets.weak, VISUAL_CERTAINTY)
        else:
            audio, visual = targets.pseudo
            labels = any_segment(audio), any_segment(visual)
        return video_bce(by_modality[0], labels[0]) + video_bce(by_modality[1], labels[1])

    def _similarity_loss(self, output: ParserOutput, targets: ParserTargets) -> Tensor:
        """Return L_avss (eq. 10), re-weighted by eq. 11.

        differs: LEAP's code, which ``leap`` follows, also drops negative cosines (ReLU), which are
        the ones eq. 11 emphasises.
        """
        if self.recipe.avss_features == "encoder":
            features = output.audio_features, output.visual_features
        else:
            features = (
                cast(Tensor, output.audio_interaction),
                cast(Tensor, output.visual_interaction),
            )
        audio, visual = (hardened(labels) for labels in targets.pseudo)
        cosine, target = similarity_pairs(features, (audio, visual), self.recipe.avss_target)
        return similarity_loss(cosine, target, self.mu, self.recipe.reweighting)


def segment_text(prior: Tensor, texts: Tensor, pooling: Literal["mean", "max"]) -> Tensor:
    """Return one L2-normalised text per segment [B, T, D]; zero where no class is present.

    Parameters
    ----------
    prior
        Classes present in each segment [B, T, C], in {0, 1}.
    texts
        Class texts [C, D].
    pooling
        ``mean`` or ``max`` of the present classes' texts. ``mean`` is computed as the sum, which
        has the same direction.
    """
    if pooling == "mean":
        pooled = prior @ texts
    else:
        absent = prior.unsqueeze(-1) == 0
        pooled = texts.masked_fill(absent, -torch.inf).amax(dim=2)
        pooled = pooled.masked_fill(absent.all(dim=2), 0)
    return nn.functional.normalize(pooled, dim=-1)


def _mean_and_max(features: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    return features.mean(dim=axis), features.amax(dim=axis)


def _text_mlp(text_dimension: int, width: int) -> nn.Sequential:
    last = nn.Linear(width, width, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Linear(text_dimension, width), nn.ReLU(), last)
