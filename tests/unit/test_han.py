"""HAN: parameter count, recipe and loss."""

import torch

from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.losses import video_bce
from pipeline.parsers.recipes import HanRecipe
from pipeline.parsers.registry import build_network, recipe_for


def test_han_on_cached_features_has_the_noted_number_of_parameters() -> None:
    parser = build_network("han", Dimensions(768, 768, 0, 0, 0, 10, 25), HanRecipe())
    assert round(parser.parameter_count() / 1e6, 2) == 3.45


def test_han_learns_from_weak_labels_alone_and_smooths_the_visual_ones() -> None:
    recipe = recipe_for("han", {"width": 16})
    assert not recipe.uses_pseudo_labels
    parser = build_network("han", Dimensions(6, 7, 0, 0, 0, 10, 5), recipe)
    output = parser(ParserInputs(torch.randn(3, 10, 6), torch.randn(3, 10, 7)))
    weak = torch.eye(5)[:3]
    terms = parser.loss_terms(output, ParserTargets(weak))
    assert list(terms) == ["video", "audio_video", "visual_video"]
    torch.testing.assert_close(terms["audio_video"], video_bce(output.audio_video, weak))
    torch.testing.assert_close(
        terms["visual_video"], video_bce(output.visual_video, 0.9 * weak + 0.05)
    )
