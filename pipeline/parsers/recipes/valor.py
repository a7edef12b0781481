"""VALOR, VALOR+ and VALOR++ (Lai et al., NeurIPS 2023)."""

from pydantic import Field

from pipeline.parsers.recipes.segment_losses import SegmentLossRecipe


class ValorRecipe(SegmentLossRecipe):
    """VALOR (Lai et al., NeurIPS 2023, released code): one wide layer.

    Its published numbers use VGGish and ResNet features; here it reads the cached features.
    """

    learning_rate: float = Field(1e-4, gt=0, description="learning rate after warm-up")
    minimum_learning_rate: float = Field(
        1e-6, ge=0, description="learning rate of the last epoch (cosine)"
    )
    width: int = Field(512, ge=1, le=16384, description="features D inside the HAN encoder")
    layers: int = Field(1, ge=0, le=64, description="layers of the HAN encoder")


class ValorPlusRecipe(SegmentLossRecipe):
    """VALOR+ (Lai et al., NeurIPS 2023, released code): four narrow layers on VALOR's features.

    It is meant for VGGish, ResNet and R(2+1)D features (HAN's layout and ``motion: true``). On CLAP
    and CLIP features it is VALOR++.
    """


class ValorPlusPlusRecipe(SegmentLossRecipe):
    """VALOR++ (Lai et al., NeurIPS 2023, released code): four narrow layers on CLAP and CLIP.

    differs: ``motion`` is off by default, as the pipeline caches no 3-D features unless they are
    configured; with ``motion: true`` it is VALOR++ as published.
    """
