"""MGN (Mo & Tian, NeurIPS 2022): segments grouped into one embedding per class and modality.

Learned class tokens attend to the segments of a modality and gather them (class-aware uni-modal
grouping); the class embeddings of both modalities then do the same (modality-aware cross-modal
grouping). Classes are predicted from these embeddings, so segments hardly differ: a segment's
probability is the video's times a map close to 1.1. It may exceed 1.

Names in the released code (stoneMo/MGN) and here; all else keeps the order of definition:

| released code | here |
|---|---|
| fc_a, fc_v, fc_st, fc_fusion | projection.audio, .visual, .motion, .fusion |
| audio_token, visual_token | audio_tokens, visual_tokens |
| audio_cug, visual_cug, av_mcg | audio_grouping, visual_grouping, cross_grouping |
| blocks.i: norm1, attn.qkv, attn.proj | blocks.i: attention_norm, attention.in_proj, .out_proj |
| blocks.i: norm2, mlp.fc1, mlp.fc2 | blocks.i: mlp_norm, mlp.0, mlp.2 |
| han_encoder, grouping | regrouping, grouping |
| norm_tokens, mlp_inter | token_norm, token_mlp |
| norm_post_tokens, norm_x | mixed_norm, segment_norm |
| pre_assign_attn: q/k/v_proj (stacked), proj | reading.attention: in_proj, out_proj |
| pre_assign_attn: norm2, mlp, norm_post | reading: mlp_norm, mlp, output_norm |
| assign: q_proj, k_proj, v_proj, proj | assignment: query, key, value, output |
| norm_new_x, mlp_channels | output_norm, output_mlp |
| fc_prob, fc_prob_a, fc_prob_v, fc_cls | video_head, audio_head, visual_head, class_head |

Axes: B batch, T segments, C classes, d width, N groups, L segments or classes that are grouped.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Gumbel

from pipeline.parsers.interface import (
    Dimensions,
    NetworkOutput,
    ParserInputs,
    ParserNetwork,
    ParserTargets,
    Prediction,
)
from pipeline.parsers.layers import Projection
from pipeline.parsers.losses import smoothed, video_bce
from pipeline.parsers.recipes import MgnRecipe

# Standard deviation of all linear weights at the start (released code). Its truncation at ±2, which
# is 100 standard deviations, has no effect.
INITIAL_DEVIATION = 0.02
# Width of an MLP over features, and of one over tokens, as a share of d (released code).
FEATURE_RATIO, TOKEN_RATIO = 4, 0.5


@dataclass(frozen=True)
class MgnOutput(NetworkOutput):
    """What MGN computes.

    Attributes
    ----------
    segments
        Segment probabilities P [B, T, 2, C], audio first; they may exceed 1.
    video
        Video-level gate g [B, C].
    by_modality
        p^a, p^v [B, 2, C].
    audio_token_logits, visual_token_logits
        Class logits [C, C] of the class tokens, the same for all videos.
    """

    segments: Tensor
    video: Tensor
    by_modality: Tensor
    audio_token_logits: Tensor
    visual_token_logits: Tensor

    def prediction(self) -> Prediction:
        """Return the probabilities, at most 1; thresholds below 1 decide the same."""
        return Prediction(self.segments.clamp(max=1), self.video, self.by_modality)


class DropPath(nn.Dropout):
    """Drop a residual branch [B, L, d] of whole videos; scale the kept ones by 1 / (1 - p)."""

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch, in training without that of some videos."""
        return branch * super().forward(branch.new_ones(len(branch), 1, 1))


class AttentionBlock(nn.Module):
    """Self-attention and MLP, each normalised before and added to its input (a ViT block)."""

    def __init__(self, recipe: MgnRecipe) -> None:
        super().__init__()
        width = recipe.width
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, recipe.heads, batch_first=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = _mlp(width, FEATURE_RATIO * width)
        self.drop_path = DropPath(recipe.drop_path)

    def forward(self, features: Tensor) -> Tensor:
        """Return features [B, L, d]."""
        normed = self.attention_norm(features)
        attended, _ = self.attention(normed, normed, normed, need_weights=False)
        features = features + self.drop_path(attended)
        return cast(Tensor, features + self.drop_path(self.mlp(self.mlp_norm(features))))


class CrossBlock(nn.Module):
    """Groups read the segments: attention, MLP, then a norm; only the MLP's input is normalised."""

    def __init__(self, recipe: MgnRecipe) -> None:
        super().__init__()
        width = recipe.width
        self.attention = nn.MultiheadAttention(width, recipe.heads, batch_first=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = _mlp(width, FEATURE_RATIO * width)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, groups: Tensor, segments: Tensor) -> Tensor:
        """Return groups [B, N, d] after attention to segments [B, L, d]."""
        attended, _ = self.attention(groups, segments, segments, need_weights=False)
        groups = groups + attended
        updated: Tensor = self.output_norm(groups + self.mlp(self.mlp_norm(groups)))
        return updated


class Assignment(nn.Module):
    """Assign every segment to groups, and average the segments of each group.

    ``R = (W_q g)(W_k x)ᵀ / √d``; the assignment M is a softmax of R over the N groups, or its
    arg-max with the softmax's gradient. ``out = W_o[M / (Σ_L M + 1) · W_v x]``.
    """

    def __init__(self, recipe: MgnRecipe, kind: Literal["soft", "hard"]) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (
            nn.Linear(recipe.width, recipe.width) for _ in range(4)
        )
        self.scale = recipe.width**-0.5
        self.hard = kind == "hard"
        self.averages_with_map = recipe.soft_average == "map"

    def forward(self, groups: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Return the averages [B, N, d] and the map [B, N, L] of group and segment.

        A hard map is M; a soft one is ``1 + softmax_L(softmax_N(R))``, in (1, 2).
        """
        scores = self.scale * (self.query(groups) @ self.key(segments).mT)
        if self.hard:
            weights = group_map = _hard(scores, noisy=self.training)
        else:
            weights = scores.softmax(dim=1)
            group_map = 1 + weights.softmax(dim=2)
            if self.averages_with_map:
                weights = group_map
        shares = weights / (weights.sum(dim=2, keepdim=True) + 1)
        return self.output(shares @ self.value(segments)), group_map


class Grouping(nn.Module):
    """Gather segments into N groups, which start from N tokens (a GroupViT grouping block)."""

    def __init__(self, tokens: int, recipe: MgnRecipe, kind: Literal["soft", "hard"]) -> None:
        super().__init__()
        width = recipe.width
        self.token_norm = nn.LayerNorm(width)
        self.token_mlp = _mlp(tokens, int(TOKEN_RATIO * width))
        self.mixed_norm = nn.LayerNorm(width)
        self.segment_norm = nn.LayerNorm(width)
        self.reading = CrossBlock(recipe)
        self.assignment = Assignment(recipe, kind)
        self.output_norm = nn.LayerNorm(width)
        self.output_mlp = _mlp(width, FEATURE_RATIO * width)

    def forward(self, tokens: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Return groups [B, N, d] of segments [B, L, d], and the map [B, N, L]."""
        mixed = self.mixed_norm(self.token_mlp(self.token_norm(tokens).mT).mT)
        segments = self.segment_norm(segments)
        groups = self.reading(mixed, segments)
        gathered, group_map = self.assignment(groups, segments)
        gathered = gathered + groups
        return gathered + self.output_mlp(self.output_norm(gathered)), group_map


class GroupingStage(nn.Module):
    """Let tokens and segments attend to each other, then gather the segments into the tokens.

    With ``regrouped`` segments (audio only), the segments are first gathered into as many groups,
    whose tokens are the segments of the other modality.
    """

    def __init__(
        self,
        tokens: int,
        depth: int,
        recipe: MgnRecipe,
        kind: Literal["soft", "hard"],
        regrouped: int = 0,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AttentionBlock(recipe) for _ in range(depth)))
        if regrouped:
            self.regrouping = Grouping(regrouped, recipe, "hard" if kind == "soft" else "soft")
        self.grouping = Grouping(tokens, recipe, kind)

    def forward(
        self, segments: Tensor, tokens: Tensor, other: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return groups [B, N, d] and the map [B, N, L].

        Parameters
        ----------
        segments
            [B, L, d].
        tokens
            [B, N, d], or [N, d] if all videos share them.
        other
            Segments [B, L, d] of the other modality, to regroup by.
        """
        tokens = tokens.expand(len(segments), -1, -1)
        together = self.blocks(torch.cat([segments, tokens], dim=1))
        segments, tokens = together.split([segments.shape[1], tokens.shape[1]], dim=1)
        if other is not None:
            segments, _ = self.regrouping(other, segments)
        groups, group_map = self.grouping(tokens, segments)
        return groups, group_map


class Mgn(ParserNetwork[MgnOutput]):
    """MGN: projection, grouping by class in each modality and across both, one head per output."""

    # It draws Gumbel noise.
    can_be_batched = False

    def __init__(self, dimensions: Dimensions, recipe: MgnRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        width, classes, kind = recipe.width, dimensions.classes, recipe.unimodal_assignment
        self.projection = Projection(dimensions, width)
        self.audio_tokens = nn.Parameter(torch.zeros(classes, width))
        self.visual_tokens = nn.Parameter(torch.zeros(classes, width))
        self.audio_grouping = GroupingStage(
            classes, recipe.audio_depth, recipe, kind, regrouped=dimensions.segments
        )
        self.visual_grouping = GroupingStage(classes, recipe.visual_depth, recipe, kind)
        self.cross_grouping = GroupingStage(
            classes, recipe.cross_depth, recipe, recipe.crossmodal_assignment
        )
        self.video_head, self.audio_head, self.visual_head = (nn.Linear(width, 1) for _ in range(3))
        self.class_head = nn.Linear(width, classes)
        self.apply(_initialise)

    def forward(self, inputs: ParserInputs) -> MgnOutput:
        """Parse a batch of B videos."""
        return self.grouped(*self.projection(inputs))

    def grouped(self, audio: Tensor, visual: Tensor) -> MgnOutput:
        """Parse the projected segments [B, T, d] of B videos."""
        visual_classes, visual_map = self.visual_grouping(visual, self.visual_tokens)
        audio_classes, audio_map = self.audio_grouping(audio, self.audio_tokens, visual)
        cross_classes, _ = self.cross_grouping(audio_classes, visual_classes)
        by_modality = torch.stack(
            [
                self.audio_head(audio_classes).squeeze(2).sigmoid(),
                self.visual_head(visual_classes).squeeze(2).sigmoid(),
            ],
            dim=1,
        )
        # Maps are [B, C, T].
        maps = torch.stack([audio_map, visual_map], dim=1).permute(0, 3, 1, 2)
        return MgnOutput(
            segments=by_modality[:, None] * maps,
            video=self.video_head(cross_classes).squeeze(2).sigmoid(),
            by_modality=by_modality,
            audio_token_logits=self.class_head(self.audio_tokens),
            visual_token_logits=self.class_head(self.visual_tokens),
        )

    def loss_terms(self, output: MgnOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return HAN's terms (visual labels are smoothed), and a class for every token.

        The tokens start equal, at zero; their cross-entropy is what makes each one its class's.
        """
        audio = smoothed(targets.weak, self.recipe.audio_certainty)
        visual = smoothed(targets.weak, self.recipe.visual_certainty)
        return {
            "video": video_bce(output.video, targets.weak),
            "audio_video": video_bce(output.by_modality[:, 0], audio),
            "visual_video": video_bce(output.by_modality[:, 1], visual),
            "audio_tokens": _token_loss(output.audio_token_logits),
            "visual_tokens": _token_loss(output.visual_token_logits),
        }


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def _token_loss(logits: Tensor) -> Tensor:
    """Return the cross-entropy of token c [C, C] and class c, by operations that repeat on GPUs."""
    return -logits.log_softmax(dim=1).diagonal().mean()


def _hard(scores: Tensor, noisy: bool) -> Tensor:
    """Return the arg-max over groups of scores [B, N, L] as 0 and 1, with the softmax's gradient.

    Gumbel noise samples a group in proportion to the softmax. It is drawn from torch's global
    generator, so it depends on the seed.
    """
    if noisy:
        # Bfloat16 has too few values for it.
        zero = scores.new_zeros((), dtype=torch.promote_types(scores.dtype, torch.float32))
        scores = scores + Gumbel(zero, zero + 1, validate_args=False).sample(scores.shape)
    soft = scores.softmax(dim=1)
    index = soft.max(dim=1, keepdim=True).indices
    return torch.zeros_like(soft).scatter(1, index, 1.0) - soft.detach() + soft


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=INITIAL_DEVIATION)
        nn.init.zeros_(module.in_proj_bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
        nn.init.zeros_(module.bias)
