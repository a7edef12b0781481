"""Shared layers: what the two orders change, what the head pools, how many parameters."""

import pytest
import torch

from pipeline.parsers.interface import Dimensions, ParserInputs
from pipeline.parsers.layers import HanEncoder, MmilHead, Projection, normaliser
from pipeline.parsers.recipes import HanEncoderRecipe

SIZES = {"width": 16, "layers": 1, "heads": 4, "feedforward": 32}


def encoder(**changes: object) -> HanEncoder:
    torch.manual_seed(0)
    return HanEncoder(HanEncoderRecipe(**{**SIZES, **changes})).eval()


def streams() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(3, 10, 16), torch.randn(3, 10, 16)


def test_order_changes_only_the_visual_stream_of_one_layer() -> None:
    audio, visual = streams()
    sequential = encoder(order="sequential")(audio, visual)
    simultaneous = encoder(order="simultaneous")(audio, visual)
    torch.testing.assert_close(sequential[0], simultaneous[0], rtol=0, atol=0)
    assert (sequential[1] - simultaneous[1]).abs().max() > 1e-3


def test_simultaneous_layer_treats_both_modalities_alike() -> None:
    audio, visual = streams()
    layer = encoder(order="simultaneous")
    forth, back = layer(audio, visual), layer(visual, audio)
    torch.testing.assert_close(forth[0], back[1])
    torch.testing.assert_close(forth[1], back[0])


def test_layers_start_equal_but_are_trained_apart() -> None:
    first, second = encoder(layers=2).layers
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one is not other
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_head_pools_as_written() -> None:
    torch.manual_seed(0)
    head = MmilHead(16, 5)
    audio, visual = streams()
    output = head(audio, visual)
    by_modality = []
    video = torch.zeros(3, 5)
    for own, other in ((audio, visual), (visual, audio)):
        probability = torch.sigmoid(head.probability(own))
        alpha = torch.exp(head.over_time(own))
        alpha = alpha / alpha.sum(dim=1, keepdim=True)
        chosen = torch.exp(head.over_modality(own))
        beta = chosen / (chosen + torch.exp(head.over_modality(other)))
        by_modality.append((alpha * probability).sum(dim=1))
        video = video + (alpha * beta * probability).sum(dim=1)
    torch.testing.assert_close(output.audio_video, by_modality[0])
    torch.testing.assert_close(output.visual_video, by_modality[1])
    torch.testing.assert_close(output.video, video)
    torch.testing.assert_close(output.audio_logits, head.probability(audio))
    torch.testing.assert_close(output.visual_logits, head.probability(visual))


def test_motion_is_fused_into_the_visual_stream_only() -> None:
    torch.manual_seed(0)
    projection = Projection(Dimensions(6, 7, 8, 0, 0, 10, 5), 16)
    audio, visual, motion = torch.randn(2, 10, 6), torch.randn(2, 10, 7), torch.randn(2, 10, 8)
    still = projection(ParserInputs(audio, visual, torch.zeros_like(motion)))
    moving = projection(ParserInputs(audio, visual, motion))
    torch.testing.assert_close(still[0], moving[0], rtol=0, atol=0)
    assert (still[1] - moving[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "mean_survives"), [("rms", True), ("layer", False)])
def test_only_rms_norm_keeps_the_mean_that_eq_1_pools(kind: str, mean_survives: bool) -> None:
    normalised = normaliser(kind, 16)(torch.randn(4, 10, 16) + 1)  # type: ignore[arg-type]
    assert bool(normalised.mean(dim=-1).abs().max() > 1e-3) == mean_survives


def test_width_must_divide_by_heads() -> None:
    with pytest.raises(ValueError, match="must be a multiple of heads"):
        HanEncoderRecipe(width=10, heads=4)
