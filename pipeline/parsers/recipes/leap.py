"""LEAP (Zhou et al., ECCV 2024) with the encoder of MM-Pyramid or of HAN."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.base import StepRecipe, with_whole_heads
from pipeline.parsers.recipes.han import HanEncoderRecipe
from pipeline.parsers.recipes.mm_pyramid import PyramidEncoderRecipe


class LeapDecoderRecipe(StepRecipe):
    """Options of LEAP's decoder, loss and training, whatever its encoder (released code)."""

    epochs: option.Epochs = 30
    batch_size: option.BatchSize = 32
    learning_rate: option.LearningRate = 1e-4
    gate: option.DecisionGate = "either"

    width: option.Width = 512
    label_texts: Literal["clip", "clap", "words"] = Field(
        "clip",
        description="what the label embeddings start from: the class texts of CLIP or CLAP, or word"
        " vectors from text_words.npy [C, D] beside the features (LEAP: GloVe, averaged over the"
        " words of a name)",
    )
    label_gain: float = Field(
        10.0,
        gt=0,
        description="factor on the initial weights of the label embedding with texts of CLIP or"
        " CLAP, whose norm is 1 where GloVe's is 4 to 8: labels that start alike are learnt slowly;"
        " no effect on word vectors",
    )
    decoder_layers: int = Field(
        2, ge=1, le=64, description="layers of the decoder of each modality"
    )
    decoder_heads: int = Field(8, ge=1, le=256, description="attention heads of the decoder")
    decoder_feedforward: int = Field(
        512, ge=1, le=65536, description="width of the decoder's feed-forward layers"
    )
    decoder_dropout: float = Field(
        0.2, ge=0, lt=1, description="dropout of the decoder's layers and inside feed-forward"
    )
    decoder_attention_dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout of the decoder's attention weights"
    )

    segment_weight: float = Field(
        1.0, ge=0, description="factor on the segment losses, which are means over B, T and C"
    )
    avss_weight: float = Field(1.0, ge=0, description="factor on L_avss; 0 removes it")
    avss_target: Literal["leap", "iou"] = Field(
        "leap",
        description="L_avss as in the released code (leap: shared events over the most in one"
        " segment of the video, negative cosines cut) or as in the paper (iou: event IoU)",
    )
    printed_global_term: bool = Field(
        False,
        description="add BCE(g, y) of the binary video prediction, as the released code does; it"
        " has no gradient and only raises the reported loss, by up to 16.1",
    )

    @model_validator(mode="after")
    def _check_decoder_heads(self) -> "LeapDecoderRecipe":
        return with_whole_heads(self, "width", "decoder_heads")

    @property
    def uses_texts(self) -> bool:
        """LEAP's queries are made from the class texts."""
        return True

    @property
    def uses_word_vectors(self) -> bool:
        """Whether the class texts are word vectors."""
        return self.label_texts == "words"


class LeapRecipe(LeapDecoderRecipe, PyramidEncoderRecipe):
    """LEAP (Zhou et al., ECCV 2024, released code) with MM-Pyramid's encoder.

    differs: ``label_texts`` is ``clip`` by default, which the pipeline has for any classes, with
    ``label_gain``; the released network reads GloVe vectors (``words``).
    """


class LeapHanRecipe(LeapDecoderRecipe, HanEncoderRecipe):
    """LEAP (Zhou et al., ECCV 2024) with HAN's encoder, which is in the paper only.

    differs: its code is not released; this is HAN's encoder with HAN's options, followed by the
    decoder, loss and training of the released LEAP.
    """

    layers: int = Field(1, ge=1, le=64, description="layers of the HAN encoder")
    heads: option.Heads = 1
    feedforward: option.Feedforward = 512
    order: option.Order = "simultaneous"
