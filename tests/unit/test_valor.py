"""VALOR and VALOR++: parameter counts and what their loss reads."""

import pytest
import torch

from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.recipes import ValorPlusPlusRecipe, ValorRecipe
from pipeline.parsers.registry import build_network, recipe_for


# VALOR++ as released has 4.89 M; without the two layers of the 3-D features 262 656 fewer.
@pytest.mark.parametrize(("motion", "parameters"), [(512, 4_887_371), (0, 4_624_715)])
def test_valorpp_has_the_published_number_of_parameters(motion: int, parameters: int) -> None:
    dimensions = Dimensions(768, 768, motion, 0, 0, 10, 25)
    parser = build_network("valorpp", dimensions, ValorPlusPlusRecipe())
    assert parser.parameter_count() == parameters


@pytest.mark.parametrize(
    ("method", "parameters"), [("valor", 5_094_475), ("valor_plus", 5_051_211)]
)
def test_valor_and_valor_plus_have_the_published_size_on_classic_features(
    method: str, parameters: int
) -> None:
    dimensions = Dimensions(128, 2048, 512, 0, 0, 10, 25)
    parser = build_network(method, dimensions, recipe_for(method, {"motion": True}))
    assert parser.parameter_count() == parameters


def test_valor_plus_on_clap_and_clip_is_valorpp() -> None:
    assert recipe_for("valor_plus", {}).model_dump() == ValorPlusPlusRecipe().model_dump()


def test_valor_is_one_wide_layer_with_a_lower_rate() -> None:
    valor, plusplus = ValorRecipe(), ValorPlusPlusRecipe()
    assert (valor.width, valor.layers, valor.learning_rate) == (512, 1, 1e-4)
    assert (plusplus.width, plusplus.layers, plusplus.learning_rate) == (256, 4, 3e-4)


def test_loss_reads_weak_labels_at_video_level_and_masked_labels_at_segments() -> None:
    recipe = recipe_for("valorpp", {"width": 16, "heads": 2, "layers": 1})
    parser = build_network("valorpp", Dimensions(6, 7, 0, 0, 0, 10, 5), recipe)
    output = parser(ParserInputs(torch.randn(3, 10, 6), torch.randn(3, 10, 7)))
    zeros, ones = torch.zeros(3, 10, 5), torch.ones(3, 10, 5)
    base = parser.loss_terms(output, ParserTargets(torch.zeros(3, 5), zeros, zeros))
    changed = parser.loss_terms(output, ParserTargets(torch.zeros(3, 5), ones, zeros))
    assert list(base) == ["video", "audio_segment", "visual_segment"]
    assert [key for key in base if base[key] != changed[key]] == ["audio_segment"]


@pytest.mark.parametrize("method", ["valor", "link"])
def test_segment_weight_10_is_the_sum_over_ten_segments(method: str) -> None:
    torch.manual_seed(0)
    small = {"width": 16, "heads": 2, "layers": 1, "segment_weight": 10}
    dimensions = Dimensions(6, 7, 0, 4, 4, 10, 5)
    labels = torch.ones(3, 10, 5)
    inputs = ParserInputs(
        torch.randn(3, 10, 6), torch.randn(3, 10, 7), None, labels, labels, *torch.randn(2, 5, 4)
    )
    parser = build_network(method, dimensions, recipe_for(method, small))
    output = parser(inputs)
    terms = parser.loss_terms(output, ParserTargets(labels[:, 0], labels, labels))
    for modality, logits in (("audio", output.audio_logits), ("visual", output.visual_logits)):
        summed = torch.nn.functional.softplus(-logits).sum(dim=1).mean()
        torch.testing.assert_close(terms[f"{modality}_segment"], summed)


def test_loss_without_pseudo_labels_says_so() -> None:
    recipe = recipe_for("valorpp", {"width": 16, "heads": 2, "layers": 1})
    parser = build_network("valorpp", Dimensions(6, 7, 0, 0, 0, 10, 5), recipe)
    output = parser(ParserInputs(torch.randn(3, 10, 6), torch.randn(3, 10, 7)))
    with pytest.raises(ValueError, match="needs segment pseudo-labels"):
        parser.loss_terms(output, ParserTargets(torch.zeros(3, 5)))
