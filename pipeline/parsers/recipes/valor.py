"""VALOR, VALOR+ and VALOR++ (Lai et al., NeurIPS 2023)."""

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.segment_losses import SegmentLossRecipe


class ValorRecipe(SegmentLossRecipe):
    """VALOR (Lai et al., NeurIPS 2023, released code): one wide layer.

    Its published numbers use VGGish and ResNet features; here it reads the cached features.
    """

    learning_rate: option.LearningRate = 1e-4
    minimum_learning_rate: option.MinimumLearningRate = 1e-6
    width: option.Width = 512
    layers: option.HanLayers = 1


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
