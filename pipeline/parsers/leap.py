"""LEAP (Zhou et al., ECCV 2024): label embeddings that attend to the segments of each modality.

An encoder, MM-Pyramid's or HAN's, is followed by a decoder per modality whose queries are the
labels: where a label attends is when its event happens, and what it gathers says whether it does.

=============================  =================================================
released code                  here
=============================  =================================================
``fc_a``, ``fc_v``, ``fc_st``  ``projection.audio``, ``.visual``, ``.motion``
``fc_fusion``                  ``projection.fusion``
``MMP``                        ``encoder``, see ``mm_pyramid``
``fc_l``                       ``label``
``AVL.la_cma_network.I``       ``audio_decoder.layers.I``
``AVL.lv_cma_network.I``       ``visual_decoder.layers.I``
inside them                    as in ``mm_pyramid.TransformerLayer``
``fc_la``, ``fc_lv``           ``audio_decoder.event``, ``visual_decoder.event``
=============================  =================================================

differs: unused modules of the released code are left out: those of its MM-Pyramid, one more
attention and feed-forward block in the decoder and 5 LayerNorms (4,749,312 parameters in all).
Axes: B batch, T segments, C classes, d width, D text features.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.parsers.interface import (
    Dimensions,
    ParserInputs,
    ParserNetwork,
    ParserOutput,
    ParserTargets,
)
from pipeline.parsers.layers import HanEncoder, Projection
from pipeline.parsers.losses import any_segment, similarity_pairs, video_bce
from pipeline.parsers.mm_pyramid import PyramidEncoder, TransformerLayer
from pipeline.parsers.recipes import LeapHanRecipe, LeapRecipe

# Probability from which the released code takes a class as present in a modality.
LEAP_PRESENT = 0.5


class LabelDecoder(nn.Module):
    """Decoder of one modality: labels attend to segments.

    ``layer`` is the start of all layers, as the released code builds them from deep copies.
    """

    def __init__(self, layer: TransformerLayer, layers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(layers))
        self.event = nn.Linear(width, 1)

    def forward(self, labels: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Return segment logits [B, T, C] and video probabilities [B, C].

        Parameters
        ----------
        labels
            Label features [B, C, d].
        segments
            Segment features [B, T, d].
        """
        for module in self.layers:
            layer = cast(TransformerLayer, module)
            hidden = layer.attend(labels, segments)
            labels = layer.feed(hidden)
        # The last layer's attention scores, computed again from its updated query, which is not
        # normalised this time (released code). They are logits, so no softmax follows.
        scores = layer.attention.scores(hidden, segments).mean(dim=1)
        return scores.mT, self.event(labels).squeeze(-1).sigmoid()


class Leap(ParserNetwork):
    """LEAP with the encoder that its recipe says."""

    def __init__(self, dimensions: Dimensions, recipe: LeapRecipe | LeapHanRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        width = recipe.width
        by_clap = recipe.label_texts == "clap"
        self.projection = Projection(dimensions, width)
        self.encoder = (
            PyramidEncoder(recipe) if isinstance(recipe, LeapRecipe) else HanEncoder(recipe)
        )
        self.label = nn.Linear(dimensions.text_audio if by_clap else dimensions.text_visual, width)
        if recipe.label_texts != "words":
            with torch.no_grad():
                self.label.weight *= recipe.label_gain
        first = TransformerLayer(
            width,
            recipe.decoder_heads,
            recipe.decoder_feedforward,
            recipe.decoder_dropout,
            recipe.decoder_attention_dropout,
        )
        self.audio_decoder = LabelDecoder(first, recipe.decoder_layers, width)
        self.visual_decoder = LabelDecoder(first, recipe.decoder_layers, width)

    def forward(self, inputs: ParserInputs) -> ParserOutput:
        """Parse a batch of B videos; the video probability g is 0 or 1."""
        texts = inputs.text_audio if self.recipe.label_texts == "clap" else inputs.text_visual
        if texts is None:
            raise ValueError("LEAP needs class texts")
        audio, visual = self.encoder(*self.projection(inputs))
        labels = self.label(texts).expand(len(inputs), -1, -1)
        audio_logits, audio_video = self.audio_decoder(labels, audio)
        visual_logits, visual_video = self.visual_decoder(labels, visual)
        present = (audio_video >= LEAP_PRESENT) | (visual_video >= LEAP_PRESENT)
        return ParserOutput(
            logits=torch.stack([audio_logits, visual_logits], dim=2),
            video=present.to(audio_video.dtype),
            audio_video=audio_video,
            visual_video=visual_video,
            audio_features=audio,
            visual_features=visual,
        )

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the video and segment terms of both modalities, and L_avss.

        differs: BCE(g, y) of the released code is left out unless the recipe asks for it, as a
        binary g has no gradient.
        """
        recipe = self.recipe
        audio, visual = targets.pseudo
        segments = output.logits.sigmoid()
        terms = {
            "audio_video": video_bce(output.audio_video, any_segment(audio)),
            "visual_video": video_bce(output.visual_video, any_segment(visual)),
            "audio_segment": recipe.segment_weight * video_bce(segments[:, :, 0], audio),
            "visual_segment": recipe.segment_weight * video_bce(segments[:, :, 1], visual),
        }
        if recipe.avss_weight:
            features = output.audio_features, output.visual_features
            pairs = similarity_pairs(features, targets.pseudo, recipe.avss_target)
            terms["avss"] = recipe.avss_weight * nn.functional.mse_loss(*pairs)
        if recipe.printed_global_term:
            terms["video"] = video_bce(output.video, targets.weak)
        return terms
