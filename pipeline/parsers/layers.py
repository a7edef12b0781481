"""Layers shared by the parsers: projection, normalisation, HAN encoder and MMIL head.

Axes: B batch, T segments, C classes, d width. Stacked modalities: 0 audio, 1 visual.
"""

import copy
from typing import Literal, cast

import torch
from torch import Tensor, nn

from pipeline.parsers.interface import Dimensions, ParserInputs, ParserOutput
from pipeline.parsers.recipes import HanEncoderRecipe

RMS_EPSILON = 1e-6


def normaliser(kind: Literal["rms", "layer", "none"], width: int) -> nn.Module:
    """Return a normalisation layer over the last axis with a trained gain, or the identity."""
    if kind == "rms":
        return nn.RMSNorm(width, eps=RMS_EPSILON)
    return nn.LayerNorm(width) if kind == "layer" else nn.Identity()


class Projection(nn.Module):
    """Project cached features to width d: ``X^a = W_a·CLAP``, ``X^v = W_v·CLIP``.

    With 3-D features S, ``X^v = W_f·[W_v·CLIP ; W_st·S]``. ``activation`` follows each of the
    linear layers: none in HAN and VALOR, ELU in CMPAE, CoLeaF's anchor and NREP. Frames
    [B, T, F, D] are averaged after it; without one they may be averaged before.
    Source: input block of the HAN, VALOR and CMPAE code, with CLAP and CLIP instead of VGGish and
    ResNet.
    """

    def __init__(
        self, dimensions: Dimensions, width: int, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.activation = activation or nn.Identity()
        self.audio = nn.Linear(dimensions.audio, width)
        self.visual = nn.Linear(dimensions.visual, width)
        self.has_motion = dimensions.motion > 0
        if self.has_motion:
            self.motion = nn.Linear(dimensions.motion, width)
            self.fusion = nn.Linear(2 * width, width)

    def forward(self, inputs: ParserInputs) -> tuple[Tensor, Tensor]:
        """Return audio and visual features [B, T, d]."""
        visual = self.activation(self.visual(inputs.visual))
        if visual.ndim > inputs.audio.ndim:
            visual = visual.mean(dim=2)
        if self.has_motion:
            motion = self.activation(self.motion(inputs.motion))
            visual = self.activation(self.fusion(torch.cat([visual, motion], dim=-1)))
        return self.activation(self.audio(inputs.audio)), visual


def feed_forward(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Return ``W2·drop(ReLU(W1·x))``."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width)
    )


class HanLayer(nn.Module):
    """Hybrid attention layer: self-attention plus attention to the other modality.

    ``h = LN1(q + drop(MHA(q, o, o)) + drop(MHA(q, q, q)))``,
    ``q' = LN2(h + drop(W2·drop(ReLU(W1·h))))``. Both modalities share the weights.
    Source: HAN (Tian et al., ECCV 2020), eqs. 2-3, and its code.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.feedforward = feed_forward(width, feedforward, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.output_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, other: Tensor, crosses: bool = True) -> Tensor:
        """Return ``query`` [B, T, d] updated by attention to itself and to ``other`` [B, T, d].

        Without ``crosses`` the term of ``other`` is dropped, as JoMoLD, CMPAE, CoLeaF and NREP do
        in some passes.
        """
        across = (
            self.cross_attention(query, other, other, need_weights=False)[0] if crosses else None
        )
        within, _ = self.self_attention(query, query, query, need_weights=False)
        attended = query if across is None else query + self.dropout(across)
        hidden = self.attention_norm(attended + self.dropout(within))
        return cast(Tensor, self.output_norm(hidden + self.dropout(self.feedforward(hidden))))


class HanEncoder(nn.Module):
    """Stack of HAN layers.

    All layers start from the same weights because the released HAN and VALOR code builds the stack
    from deep copies. In ``sequential`` order the visual stream attends to the audio stream just
    updated by the same layer (VALOR). In ``simultaneous`` order both streams attend to the layer's
    inputs (HAN). differs: HAN's code feeds the stack's input to every layer, so only the last one
    has an effect; here each layer takes the output of the previous one. HAN itself uses one layer.
    differs: the code of JoMoLD, CMPAE, CoLeaF and NREP draws every layer anew; they use one layer.
    """

    def __init__(self, recipe: HanEncoderRecipe) -> None:
        super().__init__()
        first = HanLayer(recipe.width, recipe.heads, recipe.feedforward, recipe.dropout)
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(recipe.layers))
        self.sequential = recipe.order == "sequential"

    def forward(self, audio: Tensor, visual: Tensor, crosses: bool = True) -> tuple[Tensor, Tensor]:
        """Return both streams [B, T, d] after all layers, with or without cross-modal attention."""
        for layer in self.layers:
            updated = layer(audio, visual, crosses)
            visual = layer(visual, updated if self.sequential else audio, crosses)
            audio = updated
        return audio, visual


class MmilHead(nn.Module):
    """Segment logits and multimodal multiple-instance (MMIL) attentive pooling.

    ``P = σ(W_p x)``, ``α = softmax_T(W_t x)``, ``β = softmax_m(W_m x)``, ``p^m = Σ_t α·P``,
    ``g = Σ_t Σ_m α·β·P``. Source: HAN (Tian et al., ECCV 2020), eqs. 4-5, and its code.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.probability = nn.Linear(width, classes)
        self.over_time = nn.Linear(width, classes)
        self.over_modality = nn.Linear(width, classes)

    def forward(self, audio: Tensor, visual: Tensor) -> ParserOutput:
        """Return the logits and pooled probabilities of both streams [B, T, d]."""
        streams = torch.stack([audio, visual], dim=2)
        logits = self.probability(streams)
        video, by_modality = mmil(logits, self.over_time(streams), self.over_modality(streams))
        return ParserOutput(logits, video, by_modality[:, 0], by_modality[:, 1], audio, visual)


def mmil(logits: Tensor, over_time: Tensor, over_modality: Tensor) -> tuple[Tensor, Tensor]:
    """Return g [B, C] and p^m [B, 2, C] from segment, time and modality logits [B, T, 2, C]."""
    weighted = over_time.softmax(dim=1) * logits.sigmoid()
    video = (weighted * over_modality.softmax(dim=2)).sum(dim=(1, 2))
    return video, weighted.sum(dim=1)
