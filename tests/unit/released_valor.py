"""VALOR's network with the parameter names of its released weights, written from its description.

It shares no code with the package: attention, dropout-free layers and pooling are spelled out, the
CLAP map is interpolated and pooled inside the network, and ResNet frames are projected first and
averaged afterwards.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention, with the parameter names of ``torch.nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) / math.sqrt(width))
        self.in_proj_bias = nn.Parameter(0.1 * torch.randn(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(source, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for source, weight, bias in zip((query, other, other), weights, biases, strict=True)
        )
        attention = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return self.out_proj((attention @ v).transpose(1, 2).flatten(2))


class HatLayer(nn.Module):
    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.cm_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        hidden = self.norm1(query + self.cm_attn(query, other) + self.self_attn(query, query))
        return self.norm2(hidden + self.linear2(self.linear1(hidden).relu()))


class HatEncoder(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(HatLayer(width, heads, feedforward) for _ in range(layers))
        self.final_norm_a = nn.LayerNorm(width)
        self.final_norm_v = nn.LayerNorm(width)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            audio = layer(audio, visual)
            visual = layer(visual, audio)
        return audio, visual


@dataclass(frozen=True)
class Sizes:
    width: int
    layers: int
    audio: int
    visual: int
    motion: int = 512
    heads: int = 8
    feedforward: int = 1024
    classes: int = 25


SIZES = {
    "valor": Sizes(512, 1, 128, 2048),
    "valorplus": Sizes(256, 4, 128, 2048),
    "valorpp": Sizes(256, 4, 768, 768),
}


class ReleasedNetwork(nn.Module):
    """VALOR, VALOR+ or VALOR++; every layer has weights of its own."""

    def __init__(self, sizes: Sizes, motion: bool = True) -> None:
        super().__init__()
        width, classes = sizes.width, sizes.classes
        self.fc_prob = nn.Linear(width, classes)
        self.fc_frame_att = nn.Linear(width, classes)
        self.fc_av_att = nn.Linear(width, classes)
        self.fc_a = nn.Linear(sizes.audio, width)
        self.fc_v = nn.Linear(sizes.visual, width)
        if motion:
            self.fc_st = nn.Linear(sizes.motion, width)
            self.fc_fusion = nn.Linear(2 * width, width)
        self.has_motion = motion
        self.hat_encoder = HatEncoder(width, sizes.layers, sizes.heads, sizes.feedforward)

    def forward(self, audio: Tensor, visual: Tensor, motion: Tensor | None) -> dict[str, Tensor]:
        """Parse a video: audio [10, 128] or CLAP's map [64, 768], visual [80, 2048] or
        [10, 768], motion [10, 512], each with a batch axis before."""
        heard, seen = self._hear(audio), self.fc_v(visual)
        if seen.shape[1] == 80:
            seen = seen.unflatten(1, (10, 8)).mean(dim=2)
        if self.has_motion:
            assert motion is not None
            seen = self.fc_fusion(torch.cat([seen, self.fc_st(motion)], dim=-1))
        heard, seen = self.hat_encoder(heard, seen)
        both = torch.stack([heard, seen], dim=2)
        segments = self.fc_prob(both).sigmoid()
        over_time = self.fc_frame_att(both).softmax(dim=1)
        over_modality = self.fc_av_att(both).softmax(dim=2)
        return {
            "video": (over_time * over_modality * segments).sum(dim=(1, 2)),
            "audio_video": (over_time * segments).sum(dim=1)[:, 0],
            "visual_video": (over_time * segments).sum(dim=1)[:, 1],
            "segments": segments,
        }

    def _hear(self, audio: Tensor) -> Tensor:
        if audio.shape[1] != 64:
            return self.fc_a(audio)
        grid = audio.transpose(1, 2).unflatten(2, (2, 32))
        wide = functional.interpolate(grid, (2, 1024), mode="bicubic", align_corners=False)
        projected = self.fc_a(wide.permute(0, 2, 3, 1)).mean(dim=1)
        return functional.adaptive_avg_pool1d(projected.transpose(1, 2), 10).transpose(1, 2)


def released_network(model: str, motion: bool = True, seed: int = 0) -> ReleasedNetwork:
    """Return a network with random weights; norms too are not at their start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ReleasedNetwork(SIZES[model], motion)
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if "norm" in name:
                    weight.add_(0.3 * torch.randn_like(weight))
    return network.eval()
