"""LINK's components one by one, every option, its number of parameters and its first gradients."""

from dataclasses import replace

import pytest
import torch

from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.link import (
    CrossModalInteraction,
    Link,
    PseudoLabelSemantics,
    TemporalSpatialAttention,
    segment_text,
)
from pipeline.parsers.losses import event_iou
from pipeline.parsers.recipes import LinkRecipe
from pipeline.parsers.registry import build_network, recipe_for

# Nothing is drawn in a forward pass: a loss that differs does so by what the option changes.
SMALL = {"width": 16, "layers": 1, "heads": 2, "feedforward": 32, "dropout": 0.0} | {
    "text_dropout": 0.0
}
DIMENSIONS = Dimensions(12, 14, 0, 9, 11, 10, 5)


def small(**changes: object) -> LinkRecipe:
    recipe = recipe_for("link", {**SMALL, **changes})
    assert isinstance(recipe, LinkRecipe)
    return recipe


def link(**changes: object) -> Link:
    torch.manual_seed(0)
    return Link(DIMENSIONS, small(**changes))


def batch(videos: int = 4) -> tuple[ParserInputs, ParserTargets]:
    generator = torch.Generator().manual_seed(3)

    def labels() -> torch.Tensor:
        return (torch.rand(videos, 10, 5, generator=generator) < 0.3).float()

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    prior_audio, prior_visual = labels(), labels()
    texts = (torch.nn.functional.normalize(normal(5, size), dim=-1) for size in (9, 11))
    inputs = ParserInputs(
        normal(videos, 10, 12), normal(videos, 10, 14), None, prior_audio, prior_visual, *texts
    )
    weak = (torch.rand(videos, 5, generator=generator) < 0.5).float()
    mask = weak[:, None]
    return inputs, ParserTargets(weak, prior_audio * mask, prior_visual * mask)


def features() -> torch.Tensor:
    return torch.randn(4, 10, 16, generator=torch.Generator().manual_seed(1))


def test_full_size_has_the_published_number_of_parameters() -> None:
    parser = build_network("link", Dimensions(768, 768, 0, 512, 768, 10, 25), LinkRecipe())
    assert parser.parameter_count() == 5_544_230


@pytest.mark.parametrize("reading", ["A", "B"])
@pytest.mark.parametrize("spatial", ["conv", "mean"])
def test_tsam_keeps_the_shape_and_shrinks(reading: str, spatial: str) -> None:
    tsam = TemporalSpatialAttention(10, small(tsam_reading=reading, tsam_spatial=spatial))
    before, (after, weights) = features(), tsam(features())
    assert after.shape == before.shape
    ratio = after / before
    assert (ratio > 0).all()
    assert (ratio < 1).all()
    # Without the weights of segments, what multiplies a feature is the same in all of them.
    rest = ratio / weights.unsqueeze(2)
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest))


def test_tsam_reading_decides_which_axis_is_weighed_first() -> None:
    segments = TemporalSpatialAttention(10, small(tsam_reading="A"))
    channels = TemporalSpatialAttention(10, small(tsam_reading="B"))
    assert segments.first[0].in_features == 10
    assert (channels.first[0].in_features, channels.first[0].out_features) == (16, 1)


def test_tsam_residual_adds_the_input() -> None:
    torch.manual_seed(0)
    plain = TemporalSpatialAttention(10, small())
    torch.manual_seed(0)
    residual = TemporalSpatialAttention(10, small(tsam_residual=True))
    torch.testing.assert_close(residual(features())[0], plain(features())[0] + features())


@pytest.mark.parametrize(("residual", "times"), [("double", 2), ("single", 1)])
def test_cmim_without_gate_only_repeats_its_input(residual: str, times: int) -> None:
    cmim = CrossModalInteraction(small(cmim_residual=residual))
    torch.testing.assert_close(
        cmim(features(), features().flip(0)), times * features(), rtol=0, atol=0
    )


def test_cmim_adds_what_attention_finds() -> None:
    own, other = features(), features().flip(0)
    cmim = CrossModalInteraction(small(cmim_alpha=0.5, cmim_beta=2.0, cmim_scaled=True))
    attention = torch.softmax(torch.einsum("btd,bsd->bts", own, other) / 4, dim=-1)
    torch.testing.assert_close(
        cmim(own, other), 2 * own + torch.einsum("bts,bsd->btd", attention, other)
    )


def test_cmim_gates_may_be_one_a_channel_or_fixed() -> None:
    assert CrossModalInteraction(small(cmim_gates="channel")).alpha.shape == (16,)
    assert CrossModalInteraction(small()).alpha.shape == ()
    assert not CrossModalInteraction(small(cmim_trainable=False)).beta.requires_grad


def trained_plsim(**changes: object) -> PseudoLabelSemantics:
    torch.manual_seed(0)
    plsim = PseudoLabelSemantics(9, small(**changes))
    for mlp in (plsim.scale, plsim.shift):
        torch.nn.init.normal_(mlp[2].weight)
    return plsim


def test_plsim_is_the_identity_at_the_start_and_without_events() -> None:
    inputs, _ = batch()
    assert inputs.prior_audio is not None
    assert inputs.text_audio is not None
    fresh = PseudoLabelSemantics(9, small())
    torch.testing.assert_close(
        fresh(features(), inputs.prior_audio, inputs.text_audio), features(), rtol=0, atol=0
    )
    silent = torch.zeros_like(inputs.prior_audio)
    for prior, changed in ((silent, False), (inputs.prior_audio, True)):
        after = trained_plsim()(features(), prior, inputs.text_audio)
        assert bool((after != features()).any()) == changed


def test_learned_null_text_acts_where_no_event_is() -> None:
    inputs, _ = batch()
    silent = torch.zeros(4, 10, 5)
    plsim = trained_plsim(null_text="learned")
    assert (plsim(features(), silent, inputs.text_audio) != features()).any()


def test_text_dropout_drops_whole_videos_in_training_only() -> None:
    inputs, _ = batch(64)
    everywhere = torch.ones(64, 10, 5)
    ones = torch.ones(64, 10, 16)
    plsim = trained_plsim(text_dropout=0.5)
    torch.manual_seed(0)
    untouched = (plsim(ones, everywhere, inputs.text_audio) == ones).all(dim=2)
    assert ((untouched.sum(dim=1) == 0) | (untouched.sum(dim=1) == 10)).all()
    assert 10 < untouched.all(dim=1).sum() < 54
    assert (plsim.eval()(ones, everywhere, inputs.text_audio) != ones).any(dim=2).all()


def test_segment_text_is_the_unit_mean_or_max_of_its_events() -> None:
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    prior = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    root = 0.5**0.5
    expected = torch.tensor([[[root, root], [0.0, 0.0], [-1.0, 0.0]]])
    torch.testing.assert_close(segment_text(prior, texts, "mean"), expected)
    torch.testing.assert_close(segment_text(prior, texts, "max"), expected)


def test_gradients_reach_alpha_at_once_and_beta_after_a_step() -> None:
    parser, (inputs, targets) = link(), batch()
    optimiser = torch.optim.SGD(parser.parameters(), lr=0.1)
    for step in range(2):
        optimiser.zero_grad()
        torch.stack(list(parser.loss_terms(parser(inputs), targets).values())).sum().backward()
        assert all(weight.grad is not None for weight in parser.parameters())
        assert parser.audio_cmim.alpha.grad.abs() > 0
        assert bool(parser.audio_cmim.beta.grad.abs() > 0) == (step == 1)
        assert parser.mu.grad < 0
        optimiser.step()


def test_label_loss_trains_the_video_level_pooling() -> None:
    parser, (inputs, targets) = link(), batch()
    parser.loss_terms(parser(inputs), targets)["label"].backward()
    assert parser.head.over_time.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "after"},
        {"encoder": "none"},
        {"norm": "layer"},
        {"norm": "none"},
        {"tsam": False},
        {"tsam_reading": "B"},
        {"cmim": False},
        {"plsim": False},
        {"text_pooling": "max"},
        {"label_loss": "weak"},
        {"label_loss": "either"},
        {"label_loss": "peak"},
        {"avss_target": "leap"},
        {"avss_features": "interaction"},
        {"reweighting": "video"},
        {"order": "simultaneous"},
    ],
    ids=str,
)
def test_every_option_changes_the_loss_and_trains(changes: dict[str, object]) -> None:
    inputs, targets = batch()

    def loss_of(parser: Link) -> torch.Tensor:
        for weight in parser.parameters():  # away from the start, where modules pass unchanged
            torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(2))
        return torch.stack(list(parser.loss_terms(parser(inputs), targets).values())).sum()

    loss = loss_of(link(**changes))
    loss.backward()
    assert torch.isfinite(loss)
    assert abs(loss.item() - loss_of(link()).item()) > 1e-4


def test_link_as_printed_changes_what_measurements_changed() -> None:
    chosen, printed = recipe_for("link", {}), recipe_for("link_printed", {})
    changed = dict(printed.model_dump().items() - chosen.model_dump().items())
    assert changed == {"encoder": "after", "text_dropout": 0.0, "avss_weight": 1.0}
    built = build_network("link_printed", DIMENSIONS, recipe_for("link_printed", SMALL))
    assert isinstance(built, Link)


def test_terms_can_be_left_out() -> None:
    inputs, targets = batch()
    parser = link(label_loss="none", avss_weight=0)
    terms = parser.loss_terms(parser(inputs), targets)
    assert list(terms) == ["video", "audio_segment", "visual_segment"]
    for changes in ({"avss_weight": 0}, {"reweighting": "none"}, {"mu_trainable": False}):
        assert not link(**changes).mu.requires_grad
    assert link(mu_initial=0.5).mu.item() == 0.5


def test_weights_scale_their_terms() -> None:
    inputs, targets = batch()
    plain = link().loss_terms(link()(inputs), targets)
    scaled = link(label_weight=3.0, avss_weight=0.5)
    assert link().recipe.avss_weight == 0.1
    scaled_terms = scaled.loss_terms(scaled(inputs), targets)
    torch.testing.assert_close(scaled_terms["label"], 3 * plain["label"])
    torch.testing.assert_close(scaled_terms["avss"], 5 * plain["avss"])


def test_similarity_targets_come_from_masked_labels() -> None:
    inputs, targets = batch()
    parser = link(avss_weight=1.0, reweighting="none")
    output = parser(inputs)
    aligned = replace(output, audio_features=torch.eye(10).expand(4, 10, 10))
    aligned = replace(aligned, visual_features=torch.eye(10).expand(4, 10, 10))
    expected = (torch.eye(10) - event_iou(*targets.pseudo)).square().mean()
    torch.testing.assert_close(parser.loss_terms(aligned, targets)["avss"], expected)


def test_soft_labels_share_events_as_hard_ones_do() -> None:
    inputs, targets = batch()
    soft = replace(
        targets,
        pseudo_audio=0.2 + 0.6 * targets.pseudo[0],
        pseudo_visual=0.3 + 0.4 * targets.pseudo[1],
    )
    for target in ("iou", "leap"):
        parser = link(avss_target=target)
        losses = [parser.loss_terms(parser(inputs), each)["avss"] for each in (targets, soft)]
        torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


def test_forward_without_a_prior_says_what_is_missing() -> None:
    inputs, _ = batch()
    with pytest.raises(ValueError, match="unmasked pseudo-labels"):
        link()(replace(inputs, prior_audio=None))


def test_unknown_and_impossible_options_are_one_sentence() -> None:
    with pytest.raises(PipelineError, match="option of link 'tsan' is unknown; it must be one of"):
        recipe_for("link", {"tsan": True})
    with pytest.raises(PipelineError, match="must be one of before, after, none"):
        recipe_for("link", {"encoder": "middle"})
    with pytest.raises(PipelineError, match="'linc' is not a method; it must be one of han"):
        recipe_for("linc", {})
