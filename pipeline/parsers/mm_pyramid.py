"""MM-Pyramid (Yu et al., ACM MM 2022): events at several temporal scales, weak labels only.

A pyramid of levels, each with self-attention, cross-modal attention and a dilated convolution,
widens what a segment sees; a last transformer layer weighs the levels. HAN's head and loss follow.
The encoder is also LEAP's.

===========================================  ======================================================
released code                                here
===========================================  ======================================================
``fc_a``, ``fc_v``, ``fc_st``                ``projection.audio``, ``.visual``, ``.motion``
``fc_fusion``                                ``projection.fusion``
``MMP.capture.msa.I``                        ``encoder.levels.I``
``.asablock``, ``.vsablock``, ``.cmablock``  ``.audio_self``, ``.visual_self``, ``.cross``
``.la1``, ``.la2``                           ``.audio_gates.own``, ``.crossed``
``.lv1``, ``.lv2``                           ``.visual_gates.own``, ``.crossed``
``MMP.capture.anetwork.I``                   ``encoder.levels.I.audio_convolution``
``MMP.capture.vnetwork.I``                   ``encoder.levels.I.visual_convolution``
``.conv1``, ``.conv2``                       ``.dilated``, ``.pointwise``
``MMP.fusion.aadaptiveinteraction``          ``encoder.audio_fusion.layer``
``MMP.fusion.vadaptiveinteraction``          ``encoder.visual_fusion.layer``
``MMP.fusion.aselectfusion``                 ``encoder.audio_fusion.weight``
``MMP.fusion.vselectfusion``                 ``encoder.visual_fusion.weight``
``self_attn.linears.0`` to ``.3``            ``attention.query``, ``.key``, ``.value``, ``.output``
``sublayer.0.norm``, ``sublayer.1.norm``     ``attention_norm``, ``feedforward_norm``
``feed_forward.w_1``, ``.w_2``               ``feedforward.0``, ``.3``
``fc_prob``                                  ``head.probability``
``fc_frame_att``, ``fc_av_att``              ``head.over_time``, ``.over_modality``
===========================================  ======================================================

differs: the released code also builds two attention blocks, two feed-forward blocks and 16
LayerNorms that are never used (3,168,256 parameters); they are left out.
Axes: B batch, T segments, K keys, L levels, C classes, d width.
"""

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.parsers.han import han_terms
from pipeline.parsers.interface import (
    Dimensions,
    ParserInputs,
    ParserNetwork,
    ParserOutput,
    ParserTargets,
)
from pipeline.parsers.layers import MmilHead, Projection, feed_forward
from pipeline.parsers.recipes import MmPyramidRecipe, PyramidEncoderRecipe


class Attention(nn.Module):
    """Multi-head attention whose four linear layers start from the same weights.

    The equal start is that of the released code, which deep-copies one layer.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = copy.deepcopy(self.query)
        self.value = copy.deepcopy(self.query)
        self.output = copy.deepcopy(self.query)
        self.dropout = nn.Dropout(dropout)
        self.heads = heads

    def forward(self, query: Tensor, other: Tensor, band: Tensor | None = None) -> Tensor:
        """Return what queries [B, T, d] gather from ``other`` [B, K, d].

        ``band`` [T, K] is true where a query may attend; None lets it attend everywhere.
        """
        scores = self.scores(query, other)
        if band is not None:
            scores = scores.masked_fill(~band, -torch.inf)
        weights = self.dropout(scores.softmax(dim=-1))
        gathered = weights @ self._by_head(self.value(other))
        return cast(Tensor, self.output(gathered.transpose(1, 2).flatten(2)))

    def scores(self, query: Tensor, other: Tensor) -> Tensor:
        """Return the scaled products of queries and keys [B, heads, T, K]."""
        queries, keys = self._by_head(self.query(query)), self._by_head(self.key(other))
        return queries @ keys.mT / math.sqrt(queries.shape[-1])

    def _by_head(self, features: Tensor) -> Tensor:
        by_head: Tensor = features.unflatten(-1, (self.heads, -1))
        return by_head.transpose(1, 2)


class TransformerLayer(nn.Module):
    """Transformer layer that normalises its queries only.

    ``h = q + drop(MHA(LN(q), o, o))``, ``q' = h + drop(W2·drop(ReLU(W1·LN(h))))``. Keys and values
    are not normalised, not even in self-attention. Source: MM-Pyramid's code.
    """

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention_dropout)
        self.feedforward = feed_forward(width, feedforward, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, other: Tensor, band: Tensor | None = None) -> Tensor:
        """Return ``query`` [B, T, d] updated by attention to ``other`` [B, K, d]."""
        return self.feed(self.attend(query, other, band))

    def attend(self, query: Tensor, other: Tensor, band: Tensor | None = None) -> Tensor:
        """Return the first half of the layer: ``query`` plus what it attends to."""
        gathered = self.attention(self.attention_norm(query), other, band)
        return query + cast(Tensor, self.dropout(gathered))

    def feed(self, hidden: Tensor) -> Tensor:
        """Return the second half of the layer: ``hidden`` plus its feed-forward update."""
        update = self.feedforward(self.feedforward_norm(hidden))
        return hidden + cast(Tensor, self.dropout(update))


class Gates(nn.Module):
    """Adaptive sum of what a modality found in itself and in the other one.

    ``e1·X_own + e2·X_crossed`` with gates ``e = σ(L [X_own ; X_crossed])``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(2 * width, width)
        self.crossed = nn.Linear(2 * width, width)

    def forward(self, own: Tensor, crossed: Tensor) -> Tensor:
        """Return the gated sum of two [B, T, d]."""
        both = torch.cat([own, crossed], dim=-1)
        gates: tuple[Tensor, Tensor] = self.own(both).sigmoid(), self.crossed(both).sigmoid()
        return gates[0] * own + gates[1] * crossed


class TemporalConvolution(nn.Module):
    """Residual dilated convolution: ``ReLU(x + Conv_1(ReLU(Conv_3(x))))``."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.pointwise = nn.Conv1d(width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features [B, T, d]."""
        update: Tensor = self.pointwise(self.dilated(features.mT).relu())
        return (features + update.mT).relu()


class PyramidLevel(nn.Module):
    """One level: attention within and across modalities up to ``reach`` segments away.

    Both directions of the cross-modal attention share their weights and read the level's inputs.
    """

    def __init__(self, recipe: PyramidEncoderRecipe, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.audio_self = transformer_layer(recipe)
        self.visual_self = transformer_layer(recipe)
        self.cross = transformer_layer(recipe)
        self.audio_gates = Gates(recipe.width)
        self.visual_gates = Gates(recipe.width)
        self.audio_convolution = TemporalConvolution(recipe.width, reach)
        self.visual_convolution = TemporalConvolution(recipe.width, reach)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams [B, T, d] after the level."""
        near = band(audio.shape[1], self.reach, audio.device)
        mixed_audio = self.audio_gates(
            self.audio_self(audio, audio, near), self.cross(audio, visual, near)
        )
        mixed_visual = self.visual_gates(
            self.visual_self(visual, visual, near), self.cross(visual, audio, near)
        )
        return self.audio_convolution(mixed_audio), self.visual_convolution(mixed_visual)


class LevelFusion(nn.Module):
    """Sum of a segment's levels after they attended to each other, ``Σ_i σ(w·x_i)·x_i``.

    The weights are not normalised over the levels.
    """

    def __init__(self, layer: TransformerLayer, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Linear(width, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Return one stream [B, T, d] from its levels [B, T, L, d]."""
        videos, segments = levels.shape[:2]
        tokens = levels.flatten(0, 1)
        tokens = self.layer(tokens, tokens)
        summed = (self.weight(tokens).sigmoid() * tokens).sum(dim=1)
        return cast(Tensor, summed.unflatten(0, (videos, segments)))


class PyramidEncoder(nn.Module):
    """The multimodal pyramid attentional module: levels of growing reach and their fusion.

    As in the released code, all feed-forward blocks of the levels start equal while their attention
    blocks do not, and the fusion layers of both modalities start as copies.
    """

    def __init__(self, recipe: PyramidEncoderRecipe) -> None:
        super().__init__()
        reaches = [2**level for level in range(recipe.levels)]
        self.levels = nn.ModuleList(PyramidLevel(recipe, reach) for reach in reaches)
        first, *others = (layer for layer in self.modules() if isinstance(layer, TransformerLayer))
        for layer in others:
            layer.feedforward.load_state_dict(first.feedforward.state_dict())
        fusion = transformer_layer(recipe)
        self.audio_fusion = LevelFusion(fusion, recipe.width)
        self.visual_fusion = LevelFusion(copy.deepcopy(fusion), recipe.width)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams [B, T, d] fused over all levels."""
        heard, seen = [], []
        for level in self.levels:
            audio, visual = level(audio, visual)
            heard.append(audio)
            seen.append(visual)
        fused_audio = self.audio_fusion(torch.stack(heard, dim=2))
        return fused_audio, self.visual_fusion(torch.stack(seen, dim=2))


class MmPyramid(ParserNetwork):
    """MM-Pyramid: pyramid encoder, MMIL head and HAN's loss."""

    def __init__(self, dimensions: Dimensions, recipe: MmPyramidRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.projection = Projection(dimensions, recipe.width)
        self.encoder = PyramidEncoder(recipe)
        self.head = MmilHead(recipe.width, dimensions.classes)

    def forward(self, inputs: ParserInputs) -> ParserOutput:
        """Parse a batch of B videos.

        With ``swapped_modalities`` everything named audio in the output is the visual stream's.
        """
        audio, visual = self.encoder(*self.projection(inputs))
        streams = (visual, audio) if self.recipe.swapped_modalities else (audio, visual)
        return cast(ParserOutput, self.head(*streams))

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return HAN's video, audio and visual terms."""
        certainties = self.recipe.audio_certainty, self.recipe.visual_certainty
        return han_terms(output, targets, *certainties)


def transformer_layer(recipe: PyramidEncoderRecipe) -> TransformerLayer:
    """Return a layer with the sizes of a recipe."""
    return TransformerLayer(
        recipe.width, recipe.heads, recipe.feedforward, recipe.dropout, recipe.attention_dropout
    )


def band(segments: int, reach: int, device: torch.device) -> Tensor:
    """Return which segments may attend to which [T, T]: those up to ``reach`` away."""
    index = torch.arange(segments, device=device)
    return (index[:, None] - index).abs() <= reach
