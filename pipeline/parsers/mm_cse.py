"""MM-CSE (Zhao et al., AAAI 2025, arXiv 2412.11248): class-wise features instead of mixed ones.

Class-aware feature decoupling (CAFD) turns each segment into one feature per event class and one
for the background. Fine-grained semantic enhancement (FGSE) lets the classes of a segment attend
to each other (SECM) and adds what each class looks like in the whole video (LGSF). Every class has
its own head, and MMIL pools as in HAN.

=============================  ================================================================
Paper or released module       Here (k: 26 parts, the classes 0 … C-1, then the background)
=============================  ================================================================
projections of the inputs      ``projection.{audio,visual,motion,fusion}``
CAFD, audio, part k            ``audio_decoupling.first``, rows ``k·d … (k+1)·d - 1``
CAFD, visual, part k, layer 1  ``visual_decoupling.first``, the same rows
CAFD, visual, part k, layer 2  ``visual_decoupling.second.weight[k]``, ``.bias[k]``
gate α of a modality           ``{audio,visual}_decoupling.gate``
merging [α·e ; (1-α)·bg]       ``{audio,visual}_decoupling.merge``
FGSE layer i                   ``layers[i]``, see ``FgseLayer``
probability, class c           ``probability.weight[c]``, ``probability.bias[c]``
attention over time, class c   ``over_time``, the same
attention over modalities      ``over_modality``, the same
reconstruction MLPs            ``{audio,visual}_reconstruction`` (training only)
=============================  ================================================================

Axes: B batch, T segments, C classes, D projected width, d width of a class feature.
"""

import copy
import math
from dataclasses import dataclass

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
from pipeline.parsers.layers import Projection, feed_forward, mmil
from pipeline.parsers.losses import segment_bce, video_bce
from pipeline.parsers.recipes import MmCseRecipe


@dataclass(frozen=True)
class MmCseOutput(NetworkOutput):
    """What MM-CSE computes.

    Attributes
    ----------
    logits
        Segment logits Z [B, T, 2, C], audio first; ``P = σ(Z)``.
    video, by_modality
        Video-level g [B, C] and p^a, p^v [B, 2, C] as MMIL pools them.
    audio_segments, visual_segments
        Projected segments [B, T, D].
    audio_parts, visual_parts
        Class features and the background feature, which is the last [B, T, C + 1, d].
    class_attention
        Attention of the last layer [B, T, 2, 2, C, C], averaged over heads: of a modality's
        classes (third and fifth axis) to a modality's classes (fourth and sixth axis). In training
        it is what dropout leaves, as in the released code.
    """

    logits: Tensor
    video: Tensor
    by_modality: Tensor
    audio_segments: Tensor
    visual_segments: Tensor
    audio_parts: Tensor
    visual_parts: Tensor
    class_attention: Tensor

    def prediction(self) -> Prediction:
        """Return the probabilities ``P = σ(Z)``."""
        return Prediction(self.logits.sigmoid(), self.video, self.by_modality)


class GroupedLinear(nn.Module):
    """One linear layer per group; group k starts as ``nn.Linear(inputs, outputs)`` would.

    Parameters: ``weight`` [groups, outputs, inputs] and ``bias`` [groups, outputs].
    """

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(groups, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups, outputs).uniform_(-bound, bound))

    def forward(self, groups: Tensor) -> Tensor:
        """Map groups [..., groups, inputs] to [..., groups, outputs]."""
        return torch.einsum("...ki,koi->...ko", groups, self.weight) + self.bias


class Decoupling(nn.Module):
    """CAFD of one modality: decouple segments into class features, and weigh in the background.

    ``e_k = ReLU(W_k·ReLU(x))`` for every class and the background; ``deep`` adds dropout and a
    second layer with ReLU (the visual stream). ``α = σ(MLP(x))`` says how far a segment holds
    events at all: ``z_c = ReLU(W·[α·e_c ; (1 - α)·bg])``.
    The first layers of all parts are one ``nn.Linear``: its default start depends on its inputs
    alone, so that each part starts as a layer of its own would.
    """

    def __init__(self, classes: int, recipe: MmCseRecipe, deep: bool) -> None:
        super().__init__()
        width, own = recipe.width, recipe.class_width
        self.parts = classes + 1
        self.first = nn.Linear(width, self.parts * own)
        self.second = GroupedLinear(self.parts, own, own) if deep else None
        self.dropout = nn.Dropout(recipe.dropout)
        self.gate = nn.Sequential(
            nn.ReLU(),
            nn.Linear(width, own),
            nn.ReLU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(own, 1),
        )
        self.merge = nn.Linear(2 * own, own)

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts [B, T, C + 1, d] and class features z [B, T, C, d] of [B, T, D]."""
        parts = self.first(segments.relu()).unflatten(-1, (self.parts, -1)).relu()
        if self.second is not None:
            parts = self.second(self.dropout(parts)).relu()
        events, background = parts[:, :, :-1], parts[:, :, -1:]
        alpha = self.gate(segments).sigmoid().unsqueeze(-1)
        pair = torch.cat([alpha * events, ((1 - alpha) * background).expand_as(events)], dim=-1)
        return parts, self.merge(pair).relu()


class FgseLayer(nn.Module):
    """One layer of FGSE on class features [B, T, C, d]; both modalities share the weights.

    With q the modality's stream and o the other one, attention over the classes of a segment:
    ``s = q + MHA(q, q, q)``, ``G = mean_T ReLU(L₂·s)``, ``i = q + σ(cos(ReLU(L₁·s), G))·G``,
    ``s' = q + MHA'(q, o, o)``, ``G' = mean_T ReLU(L₃·o)``, ``i' = q + σ(cos(ReLU(L₃·s'), G'))·G'``,
    ``q' = MLP(LN(L₄·i + L₅·i'))``. There is no residual around the MLP.
    L₁ … L₅ are ``local``, ``video``, ``cross``, ``own_output`` and ``cross_output``.
    """

    def __init__(self, recipe: MmCseRecipe) -> None:
        super().__init__()
        width, heads, dropout = recipe.class_width, recipe.heads, recipe.dropout
        self.self_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.local = nn.Linear(width, width)
        self.video = nn.Linear(width, width)
        self.cross = nn.Linear(width, width)
        self.own_output = nn.Linear(width, width)
        self.cross_output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.feedforward = feed_forward(width, recipe.feedforward, dropout)

    def forward(self, query: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updated ``query`` and its attention [B, T, 2, C, C] to itself and other."""
        attended, own_map = _attend(self.self_attention, query, query)
        within = query + attended
        attended, cross_map = _attend(self.cross_attention, query, other)
        across = query + attended
        own = query + _video_semantics(self.local(within), self.video(within))
        crossed = query + _video_semantics(self.cross(across), self.cross(other))
        merged = self.norm(self.own_output(own) + self.cross_output(crossed))
        return self.feedforward(merged), torch.stack([own_map, cross_map], dim=2)


class MmCse(ParserNetwork[MmCseOutput]):
    """MM-CSE, trained with weak labels and segment pseudo-labels.

    4.32 M parameters parse (4.06 M without 3-D features); the two reconstruction networks that
    only the loss uses make it 6.16 M (5.90 M). They are part of the parser, as they share its
    optimiser and its clipped gradient.
    differs: the encoder's final norms, which the released code never applies, are left out, and so
    is a ReLU on the visual parts, which are ReLU outputs, before their reconstruction.
    """

    def __init__(self, dimensions: Dimensions, recipe: MmCseRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        classes, own = dimensions.classes, recipe.class_width
        self.projection = Projection(dimensions, recipe.width)
        self.audio_decoupling = Decoupling(classes, recipe, deep=False)
        self.visual_decoupling = Decoupling(classes, recipe, deep=True)
        first = FgseLayer(recipe)
        # Deep copies, as in the released code: all layers start equal.
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(recipe.layers))
        self.probability = GroupedLinear(classes, own, 1)
        self.over_time = GroupedLinear(classes, own, 1)
        self.over_modality = GroupedLinear(classes, own, 1)
        self.audio_reconstruction = _reconstruction((classes + 1) * own, recipe.width)
        self.visual_reconstruction = _reconstruction((classes + 1) * own, recipe.width)

    def forward(self, inputs: ParserInputs) -> MmCseOutput:
        """Parse a batch of B videos."""
        audio_segments, visual_segments = self.projection(inputs)
        audio_parts, audio = self.audio_decoupling(audio_segments)
        visual_parts, visual = self.visual_decoupling(visual_segments)
        for layer in self.layers:
            (audio, to_audio), (visual, to_visual) = layer(audio, visual), layer(visual, audio)
        # The visual query's maps come as (visual, audio): turned, keys are audio first.
        maps = torch.stack([to_audio, to_visual.flip(2)], dim=2)
        streams = torch.stack([audio, visual], dim=2)
        logits = self.probability(streams).squeeze(-1)
        over_time = self.over_time(streams).squeeze(-1)
        over_modality = self.over_modality(streams).squeeze(-1)
        video, by_modality = mmil(logits, over_time, over_modality)
        return MmCseOutput(
            logits,
            video,
            by_modality,
            audio_segments,
            visual_segments,
            audio_parts,
            visual_parts,
            maps,
        )

    def loss_terms(self, output: MmCseOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return VALOR's three terms and those on reconstruction, background and co-occurrence."""
        pseudo = targets.pseudo
        of_classes = self.recipe.visual_orthogonality == "classes"
        orthogonality = background_cosine(output.audio_parts, of_classes=True)
        orthogonality = orthogonality + background_cosine(output.visual_parts, of_classes)
        cooccurrence = cooccurrence_loss(output.class_attention, torch.stack(pseudo, dim=2))
        return {
            "video": video_bce(output.video, targets.weak),
            "audio_segment": segment_bce(output.logits[:, :, 0], pseudo[0]),
            "visual_segment": segment_bce(output.logits[:, :, 1], pseudo[1]),
            "reconstruction": self.recipe.reconstruction_weight * self._reconstruction_loss(output),
            "orthogonality": self.recipe.orthogonality_weight * orthogonality,
            "cooccurrence": self.recipe.cooccurrence_weight * cooccurrence,
        }

    def _reconstruction_loss(self, output: MmCseOutput) -> Tensor:
        """Return the error of both modalities' segments, reconstructed from all their parts.

        A reconstruction ends in a ReLU although segments can be negative, as in the released code.
        """
        errors = []
        for network, parts, segments in (
            (self.audio_reconstruction, output.audio_parts, output.audio_segments),
            (self.visual_reconstruction, output.visual_parts, output.visual_segments),
        ):
            fixed = self.recipe.reconstruction_target == "fixed"
            target = segments.detach() if fixed else segments
            errors.append(functional.mse_loss(network(parts.flatten(-2)), target))
        return torch.stack(errors).sum()


def background_cosine(parts: Tensor, of_classes: bool) -> Tensor:
    """Return the mean cosine of the background with each class feature, or with their mean.

    ``parts`` are [B, T, C + 1, d], the background last. The released code takes each class for
    audio and the mean of all classes for visual.
    """
    events, background = parts[:, :, :-1], parts[:, :, -1:]
    compared = events if of_classes else events.mean(dim=2, keepdim=True)
    return functional.cosine_similarity(compared, background, dim=-1).mean()


def cooccurrence_loss(attention: Tensor, labels: Tensor) -> Tensor:
    """Return the event co-occurrence loss: the sum of four mean squared errors.

    Each compares the attention of one modality's classes to another's [B, T, 2, 2, C, C] with
    whether both classes are in the segment. ``labels`` are masked pseudo-labels [B, T, 2, C].
    Targets are 0 or 1 although rows of attention sum to 1, as in the released code.
    """
    together = torch.einsum("btmc,btnd->btmncd", labels, labels)
    return (attention - together).square().mean(dim=(0, 1, 4, 5)).sum()


def _attend(
    attention: nn.MultiheadAttention, query: Tensor, other: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend from the classes of each segment to those of the same segment.

    Return the result [B, T, C, d] and the attention [B, T, C, C], averaged over heads.
    """
    shape = query.shape[:2]
    keys = other.flatten(0, 1)
    attended, weights = attention(query.flatten(0, 1), keys, keys)
    return attended.unflatten(0, shape), weights.unflatten(0, shape)


def _video_semantics(local: Tensor, of_video: Tensor) -> Tensor:
    """Return each class's feature of the whole video, as far as the segment resembles it (LGSF)."""
    video = of_video.relu().mean(dim=1, keepdim=True)
    likeness = functional.cosine_similarity(local.relu(), video, dim=-1)
    return likeness.sigmoid().unsqueeze(-1) * video


def _reconstruction(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
