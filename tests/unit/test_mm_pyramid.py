"""MM-Pyramid against a slow copy of its equations, its equal starts, quirks and sizes."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from simulated import make_dataset, make_world
from torch import Tensor, nn
from torch.nn import functional

from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.mm_pyramid import (
    Attention,
    LevelFusion,
    MmPyramid,
    PyramidEncoder,
    PyramidLevel,
    TransformerLayer,
    band,
)
from pipeline.parsers.recipes import MmPyramidRecipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

SMALL = {"width": 8, "heads": 2, "feedforward": 12, "levels": 3}
DIMENSIONS = Dimensions(6, 7, 5, 0, 0, 10, 4)
CLASSIC = Dimensions(128, 2048, 512, 0, 0, 10, 25)


class Scale(nn.Module):
    """A dropout that always keeps its share: its mean effect without the usual rescaling."""

    def __init__(self, dropped: float) -> None:
        super().__init__()
        self.kept = 1 - dropped

    def forward(self, values: Tensor) -> Tensor:
        return self.kept * values


def with_scales(network: nn.Module) -> nn.Module:
    """Replace every dropout by ``Scale``, so that its places and rates can be compared."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, name, Scale(child.p))
    return network


def small(**changes: object) -> MmPyramidRecipe:
    recipe = recipe_for("mm_pyramid", {**SMALL, **changes})
    assert isinstance(recipe, MmPyramidRecipe)
    return recipe


def shaken(network: nn.Module) -> nn.Module:
    """Give every weight a value of its own, in float64: nothing is equal or zero by its start."""
    generator = torch.Generator().manual_seed(5)
    network = network.double()
    for weight in network.parameters():
        weight.data += 0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return network


def pyramid(**changes: object) -> MmPyramid:
    torch.manual_seed(0)
    network = shaken(MmPyramid(DIMENSIONS, small(**changes)))
    assert isinstance(network, MmPyramid)
    return network


def batch(videos: int = 2) -> tuple[ParserInputs, ParserTargets]:
    generator = torch.Generator().manual_seed(3)

    def normal(size: int) -> Tensor:
        return torch.randn(videos, 10, size, generator=generator, dtype=torch.float64)

    weak = (torch.rand(videos, 4, generator=generator) < 0.5).double()
    return ParserInputs(normal(6), normal(7), normal(5)), ParserTargets(weak)


# ---- the equations once more, one video, head and segment at a time


def slow_attention(
    block: Attention, query: Tensor, other: Tensor, reach: float, kept: float
) -> Tensor:
    size = query.shape[1] // block.heads
    queries, keys, values = block.query(query), block.key(other), block.value(other)
    rows = []
    for i in range(len(query)):
        gathered = []
        for head in range(block.heads):
            part = slice(head * size, (head + 1) * size)
            allowed = [j for j in range(len(other)) if abs(i - j) <= reach]
            scores = [queries[i, part] @ keys[j, part] / math.sqrt(size) for j in allowed]
            total = sum(score.exp() for score in scores)
            shares = [kept * score.exp() / total for score in scores]
            gathered.append(
                sum(share * values[j, part] for share, j in zip(shares, allowed, strict=True))
            )
        rows.append(block.output(torch.cat(gathered)))
    return torch.stack(rows)


def slow_layer(
    layer: TransformerLayer,
    query: Tensor,
    other: Tensor,
    reach: float = math.inf,
    kept: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """``kept`` are the factors of the layer's dropout and of that of its attention weights."""
    width = query.shape[1:]
    norms = layer.attention_norm, layer.feedforward_norm
    normal = functional.layer_norm(query, width, norms[0].weight, norms[0].bias)
    hidden = query + kept[0] * slow_attention(layer.attention, normal, other, reach, kept[1])
    normal = functional.layer_norm(hidden, width, norms[1].weight, norms[1].bias)
    first, last = layer.feedforward[0], layer.feedforward[-1]
    update: Tensor = last(kept[0] * first(normal).clamp(min=0))
    return hidden + kept[0] * update


def slow_convolution(layer: nn.Conv1d, features: Tensor, dilation: int) -> Tensor:
    weight, rows = layer.weight, []
    for t in range(len(features)):
        total: Tensor | None = layer.bias
        assert total is not None
        for tap in range(weight.shape[2]):
            near = t + (tap - weight.shape[2] // 2) * dilation
            if 0 <= near < len(features):
                total = total + weight[:, :, tap] @ features[near]
        rows.append(total)
    return torch.stack(rows)


def slow_level(
    level: PyramidLevel, audio: Tensor, visual: Tensor, reach: int, kept: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    updated = []
    for own, other, alone, gates, convolution in (
        (audio, visual, level.audio_self, level.audio_gates, level.audio_convolution),
        (visual, audio, level.visual_self, level.visual_gates, level.visual_convolution),
    ):
        within = slow_layer(alone, own, own, reach, kept)
        across = slow_layer(level.cross, own, other, reach, kept)
        rows = []
        for one, two in zip(within, across, strict=True):
            both = torch.cat([one, two])
            first, second = torch.sigmoid(gates.own(both)), torch.sigmoid(gates.crossed(both))
            rows.append(first * one + second * two)
        mixed = torch.stack(rows)
        wide, point = convolution.dilated, convolution.pointwise
        inner = slow_convolution(wide, mixed, reach).clamp(min=0)
        outer = slow_convolution(point, inner, 1)
        updated.append((mixed + outer).clamp(min=0))
    return updated[0], updated[1]


def slow_fusion(fusion: LevelFusion, levels: list[Tensor], kept: tuple[float, float]) -> Tensor:
    rows = []
    for t in range(len(levels[0])):
        tokens = torch.stack([level[t] for level in levels])
        tokens = slow_layer(fusion.layer, tokens, tokens, math.inf, kept)
        rows.append(sum(torch.sigmoid(fusion.weight(token)) * token for token in tokens))
    return torch.stack(rows)


def slow_encoder(
    encoder: PyramidEncoder,
    audio: Tensor,
    visual: Tensor,
    kept: tuple[float, float] = (1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """Encode one video, audio and visual features [T, d]."""
    heard, seen = [], []
    for index, level in enumerate(encoder.levels):
        assert isinstance(level, PyramidLevel)
        audio, visual = slow_level(level, audio, visual, 2**index, kept)
        heard.append(audio)
        seen.append(visual)
    fusions = encoder.audio_fusion, encoder.visual_fusion
    return slow_fusion(fusions[0], heard, kept), slow_fusion(fusions[1], seen, kept)


@pytest.mark.parametrize("kept", [(1.0, 1.0), (0.8, 0.9)])
def test_encoder_is_its_equations(kept: tuple[float, float]) -> None:
    """Also with every dropout as a factor: 0.2 in layers and feed-forward, 0.1 of attention."""
    network = pyramid().eval()
    if kept[0] < 1:
        with_scales(network)
    streams = network.projection(batch()[0])
    encoded = network.encoder(*streams)
    for video in range(2):
        expected = slow_encoder(network.encoder, streams[0][video], streams[1][video], kept)
        for stream, slow in zip(encoded, expected, strict=True):
            torch.testing.assert_close(stream[video], slow, rtol=0, atol=1e-12)


def test_gradients_of_the_encoder_are_those_of_its_equations() -> None:
    network = pyramid().eval()
    inputs, _ = batch(1)
    audio, visual = network.encoder(*network.projection(inputs))
    (audio.square().sum() + visual.sum()).backward()
    quick = {name: weight.grad for name, weight in network.encoder.named_parameters()}
    network.zero_grad()
    streams = [stream[0] for stream in network.projection(inputs)]
    audio, visual = slow_encoder(network.encoder, *streams)
    (audio.square().sum() + visual.sum()).backward()
    for name, weight in network.encoder.named_parameters():
        torch.testing.assert_close(quick[name], weight.grad, rtol=1e-9, atol=1e-9)


def test_a_level_reaches_two_to_its_number() -> None:
    allowed = band(10, 4, torch.device("cpu"))
    for i, j in itertools.product(range(10), repeat=2):
        assert bool(allowed[i, j]) == (abs(i - j) <= 4)
    encoder = PyramidEncoder(small(levels=4))
    assert [level.reach for level in encoder.levels] == [1, 2, 4, 8]


# ---- its head, loss and quirk


def test_loss_is_hans_with_smoothed_visual_labels() -> None:
    network = pyramid().eval()
    inputs, targets = batch(3)
    output = network(inputs)
    terms = network.loss_terms(output, targets)
    labels = {"video": (1.0, 0.0), "audio_video": (1.0, 0.0), "visual_video": (0.95, 0.05)}
    for name, (positive, negative) in labels.items():
        total = 0.0
        for probabilities, weak in zip(getattr(output, name), targets.weak, strict=True):
            for p, y in zip(probabilities.tolist(), weak.tolist(), strict=True):
                label, kept = (positive if y else negative), min(max(p, 1e-7), 1 - 1e-7)
                total -= label * math.log(kept) + (1 - label) * math.log(1 - kept)
        assert float(terms[name].detach()) == pytest.approx(total / targets.weak.numel(), rel=1e-12)
    assert set(terms) == set(labels)


def test_swapped_modalities_exchange_audio_and_visual_behind_the_encoder() -> None:
    right, swapped = pyramid().eval(), pyramid(swapped_modalities=True).eval()
    swapped.load_state_dict(right.state_dict())
    inputs, targets = batch()
    one, other = right(inputs), swapped(inputs)
    torch.testing.assert_close(one.audio_logits, other.visual_logits)
    torch.testing.assert_close(one.visual_video, other.audio_video)
    torch.testing.assert_close(one.video, other.video)
    # So the released code smooths the labels of its audio stream.
    assert not torch.allclose(one.audio_video, other.audio_video)
    smoothed = 0.9 * targets.weak + 0.05
    expected = functional.binary_cross_entropy(one.audio_video, smoothed)
    torch.testing.assert_close(swapped.loss_terms(other, targets)["visual_video"], expected)
    assert not MmPyramidRecipe().swapped_modalities


# ---- how it starts, and its sizes


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_starts_are_equal_where_the_released_code_copies() -> None:
    encoder = PyramidEncoder(small())
    layers = [layer for layer in encoder.levels.modules() if isinstance(layer, TransformerLayer)]
    fusions = [encoder.audio_fusion.layer, encoder.visual_fusion.layer]
    assert len(layers) == 9
    for layer in layers + fusions:
        block = layer.attention
        assert same(block.query, block.key)
        assert same(block.query, block.value)
        assert same(block.query, block.output)
        assert block.query.weight is not block.key.weight
    for one, other in itertools.combinations(layers, 2):
        assert same(one.feedforward, other.feedforward)
        assert one.feedforward[0].weight is not other.feedforward[0].weight
        assert not same(one.attention, other.attention)
    assert same(*fusions)
    assert fusions[0].attention.query.weight is not fusions[1].attention.query.weight
    assert not same(fusions[0].feedforward, layers[0].feedforward)
    level = encoder.levels[0]
    assert isinstance(level, PyramidLevel)
    assert not same(level.audio_convolution, level.visual_convolution)
    assert not same(encoder.audio_fusion.weight, encoder.visual_fusion.weight)


@pytest.mark.parametrize(
    ("dimensions", "parameters"),
    [
        # The released module has 43,995,725, of which 3,168,256 are never used.
        (CLASSIC, 43_995_725 - 3_168_256),
        # CLAP and CLIP without 3-D features: 1,115,136 fewer.
        (Dimensions(768, 768, 0, 0, 0, 10, 25), 40_827_469 - 1_115_136),
        (Dimensions(768, 768, 512, 0, 0, 10, 25), 40_827_469 - 327_680),
    ],
)
def test_full_size_has_the_released_number_of_parameters(
    dimensions: Dimensions, parameters: int
) -> None:
    with torch.device("meta"):
        parser = build_network("mm_pyramid", dimensions, MmPyramidRecipe())
    assert parser.parameter_count() == parameters


def test_every_parameter_has_a_gradient() -> None:
    network = pyramid()
    inputs, targets = batch()
    torch.stack([*network.loss_terms(network(inputs), targets).values()]).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_frames_may_be_averaged_ahead() -> None:
    network = pyramid().eval()
    inputs, _ = batch()
    frames = torch.randn(2, 10, 8, 7, dtype=torch.float64)
    kept = network(ParserInputs(inputs.audio, frames, inputs.motion))
    averaged = network(ParserInputs(inputs.audio, frames.mean(dim=2), inputs.motion))
    torch.testing.assert_close(kept.logits, averaged.logits, rtol=0, atol=1e-12)


def test_any_number_of_segments_is_parsed() -> None:
    network = MmPyramid(Dimensions(6, 7, 0, 0, 0, 10, 4), small()).eval()
    prediction = network.predict(ParserInputs(torch.randn(3, 17, 6), torch.randn(3, 17, 7)))
    assert prediction.segments.shape == (3, 17, 2, 4)
    assert prediction.by_modality.shape == (3, 2, 4)
    assert prediction.video.shape == (3, 4)


def test_width_must_divide_by_heads() -> None:
    with pytest.raises(PipelineError, match="width 10 must be a multiple of heads 4"):
        small(width=10, heads=4)


def test_thirty_two_videos_are_learnt_by_heart(tmp_path: Path) -> None:
    changes = {"width": 32, "levels": 2, "batch_size": 32, "learning_rate": 1e-2}
    changes |= {"epochs": 40, "step_epochs": 30, "dropout": 0.0, "attention_dropout": 0.0}
    recipe = small(**changes)
    dataset = make_dataset(make_world(), train=32, evaluated=4, recipe=recipe)
    trainer = Trainer(TrainingJob("mm_pyramid", recipe, dataset, 0, torch.device("cpu")))
    trainer.run(tmp_path / STATE_FILE)
    # The entropy of the smoothed visual labels stays.
    floor = -0.05 * math.log(0.05) - 0.95 * math.log(0.95)
    assert 0 < trainer.progress.curve[-1]["loss"] - floor < 0.08
