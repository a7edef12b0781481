"""The temporal part of DG-SCT (Duan et al., NeurIPS 2023): gates between modalities, then MGN.

Each modality's segments give one gate per segment, which amplifies the other modality's segments.
differs: DG-SCT's adapters inside frozen backbones, its main contribution, need raw frames and
audio; here cached features take the place of the adapted backbones' outputs.

Names in the released code (haoyi-duan/DG-SCT, AVVP) and here; MGN's are in ``mgn``:

| released code | here |
|---|---|
| temporal_attn.audio_visual_rnn_layer.audio_rnn, .visual_rnn | audio_gate.lstm, visual_gate.lstm |
| temporal_attn.audio_encoder, .video_encoder: affine_matrix | audio_gate, visual_gate: narrowing |
| temporal_attn.audio_encoder, .video_encoder: encoder.layers.i | .layers.i (same names inside) |
| temporal_attn.audio_gated, .video_gated: 0 | .gate |
| temporal_attn.alpha, .gamma | recipe.gate_strength |

The released code also keeps the layer that it copies: 149 056 parameters per modality, unused. With
un-gated audio, the visual gate is unused too (405 761 parameters) and left out.

Axes: B batch, T segments, d width.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.parsers.interface import Dimensions, ParserInputs
from pipeline.parsers.mgn import Mgn, MgnOutput
from pipeline.parsers.recipes import DgsctTemporalRecipe

# Transformer that computes a gate: layers, heads, hidden width of the MLP (released code).
LAYERS, HEADS, FEEDFORWARD = 2, 4, 1024


class TemporalGate(nn.Module):
    """One gate in (0, 1) per segment of a modality: LSTM in both directions, transformer, sigmoid.

    Both transformer layers start from the same weights, as the released code copies them.
    """

    def __init__(self, recipe: DgsctTemporalRecipe) -> None:
        super().__init__()
        hidden = recipe.width // 2
        self.lstm = nn.LSTM(recipe.width, hidden, batch_first=True, bidirectional=True)
        self.narrowing = nn.Linear(2 * hidden, hidden)
        layer = nn.TransformerEncoderLayer(
            hidden, HEADS, FEEDFORWARD, recipe.gate_dropout, batch_first=True
        )
        self.layers = nn.Sequential(*(copy.deepcopy(layer) for _ in range(LAYERS)))
        self.gate = nn.Linear(hidden, 1)

    def forward(self, segments: Tensor) -> Tensor:
        """Return gates [B, T, 1] of segments [B, T, d]."""
        recurrent, _ = self.lstm(segments)
        return cast(Tensor, self.gate(self.layers(self.narrowing(recurrent))).sigmoid())


class DgsctTemporal(Mgn):
    """MGN on features that gates of the other modality have amplified.

    3-D features join the pictures after the gate.
    """

    # PyTorch has no batched LSTM.
    can_be_batched = False

    def __init__(self, dimensions: Dimensions, recipe: DgsctTemporalRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.strength = recipe.gate_strength
        # Built after MGN, so they keep PyTorch's own start, as in the released code.
        self.audio_gate = TemporalGate(recipe)
        if not recipe.ungated_audio:
            self.visual_gate = TemporalGate(recipe)
        self.gates_audio = not recipe.ungated_audio

    def forward(self, inputs: ParserInputs) -> MgnOutput:
        """Parse a batch of B videos."""
        audio = self.projection.audio(inputs.audio)
        visual = self.projection.visual(inputs.visual)
        visual_gate = self.visual_gate(visual) if self.gates_audio else 0.0
        visual = visual * (1 + self.strength * self.audio_gate(audio))
        audio = audio * (1 + self.strength * visual_gate)
        if self.projection.has_motion:
            motion = self.projection.motion(inputs.motion)
            visual = self.projection.fusion(torch.cat([visual, motion], dim=-1))
        return self.grouped(audio, visual)
