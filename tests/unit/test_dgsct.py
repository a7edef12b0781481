"""DG-SCT's temporal part: the gates against a slow reference, what they change, its sizes."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.errors import PipelineError
from pipeline.parsers.dgsct import DgsctTemporal, TemporalGate
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.mgn import Mgn
from pipeline.parsers.recipes import DgsctTemporalRecipe, MgnRecipe
from pipeline.parsers.registry import METHODS, build_network, recipe_for

Array = NDArray[np.float64]

CLASSES, SEGMENTS, WIDTH = 5, 4, 16
SMALL = {"width": WIDTH, "heads": 2, "audio_depth": 1, "visual_depth": 1, "cross_depth": 1}


def dgsct(motion: bool = True, **options: object) -> DgsctTemporal:
    """A small network whose weights are far from the start, in float64."""
    torch.manual_seed(0)
    dimensions = Dimensions(6, 7, 3 if motion else 0, 0, 0, SEGMENTS, CLASSES)
    parser = build_network(
        "dgsct_temporal", dimensions, recipe_for("dgsct_temporal", SMALL | options)
    )
    assert isinstance(parser, DgsctTemporal)
    generator = torch.Generator().manual_seed(2)
    for weight in parser.parameters():
        nn.init.normal_(weight, std=0.4, generator=generator)
    return parser.double().eval()


def videos(count: int = 2, motion: bool = True) -> ParserInputs:
    torch.manual_seed(1)
    audio, visual, moving = (torch.randn(count, SEGMENTS, size).double() for size in (6, 7, 3))
    return ParserInputs(audio, visual, moving if motion else None)


# The reference: one video, one segment, one head at a time.


def numbers(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().numpy()
    return array


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def linear(layer: nn.Module, rows: Array) -> Array:
    assert isinstance(layer, nn.Linear)
    return np.array([numbers(layer.weight) @ row + numbers(layer.bias) for row in rows])


def normed(layer: nn.LayerNorm, rows: Array) -> Array:
    standard = [(row - row.mean()) / math.sqrt(row.var() + 1e-5) for row in rows]
    return np.array([numbers(layer.weight) * row + numbers(layer.bias) for row in standard])


def one_way(lstm: nn.LSTM, rows: Array, suffix: str) -> Array:
    """Gates are stacked as input, forget, candidate, output."""
    of_input, of_state, input_bias, state_bias = (
        numbers(getattr(lstm, f"{name}_l0{suffix}"))
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state, cell = np.zeros(WIDTH // 2), np.zeros(WIDTH // 2)
    result = []
    for row in rows[::-1] if suffix else rows:
        raw = of_input @ row + input_bias + of_state @ state + state_bias
        enter, forget, candidate, leave = np.split(raw, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
        state = sigmoid(leave) * np.tanh(cell)
        result.append(state)
    return np.array(result[::-1] if suffix else result)


def attended(attention: nn.MultiheadAttention, rows: Array) -> Array:
    width, heads = rows.shape[1], 4
    weight, bias = numbers(attention.in_proj_weight), numbers(attention.in_proj_bias)
    q, k, v = np.split(np.array([weight @ row + bias for row in rows]), 3, axis=1)
    result, size = np.zeros_like(rows), width // heads
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for row in range(len(rows)):
            shares = np.exp([q[row, own] @ key[own] / math.sqrt(size) for key in k])
            shares /= shares.sum()
            result[row, own] = sum(
                share * value[own] for share, value in zip(shares, v, strict=True)
            )
    return linear(attention.out_proj, result)


def gate(module: TemporalGate, rows: Array) -> Array:
    """One gate [T] from projected segments [T, d]."""
    rows = np.concatenate([one_way(module.lstm, rows, way) for way in ("", "_reverse")], axis=1)
    rows = linear(module.narrowing, rows)
    for layer in module.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        rows = normed(layer.norm1, rows + attended(layer.self_attn, rows))
        hidden = np.maximum(linear(layer.linear1, rows), 0)
        rows = normed(layer.norm2, rows + linear(layer.linear2, hidden))
    return sigmoid(linear(module.gate, rows)[:, 0])


@pytest.mark.parametrize("ungated_audio", [False, True])
@pytest.mark.parametrize("motion", [True, False])
def test_gates_amplify_the_other_modality(ungated_audio: bool, motion: bool) -> None:
    parser = dgsct(motion, ungated_audio=ungated_audio, gate_strength=0.5)
    inputs = videos(motion=motion)
    audio, visual = [], []
    for video in range(len(inputs)):
        heard = linear(parser.projection.audio, numbers(inputs.audio[video]))
        seen = linear(parser.projection.visual, numbers(inputs.visual[video]))
        audio_gate = gate(parser.audio_gate, heard)
        if not ungated_audio:
            visual_gate = gate(parser.visual_gate, seen)
            heard = np.array(
                [row * (1 + 0.5 * g) for row, g in zip(heard, visual_gate, strict=True)]
            )
        seen = np.array([row * (1 + 0.5 * g) for row, g in zip(seen, audio_gate, strict=True)])
        if inputs.motion is not None:
            moving = linear(parser.projection.motion, numbers(inputs.motion[video]))
            seen = linear(parser.projection.fusion, np.concatenate([seen, moving], axis=1))
        audio.append(heard)
        visual.append(seen)
    expected = parser.grouped(torch.tensor(np.array(audio)), torch.tensor(np.array(visual)))
    found = parser(inputs)
    for name in ("segments", "video", "by_modality"):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=0, atol=1e-12
        )


def test_without_strength_it_is_mgn() -> None:
    parser, plain = dgsct(gate_strength=0.0), recipe_for("mgn", SMALL)
    assert isinstance(plain, MgnRecipe)
    mgn = Mgn(Dimensions(6, 7, 3, 0, 0, SEGMENTS, CLASSES), plain).double().eval()
    shared = {name: value for name, value in parser.state_dict().items() if "_gate." not in name}
    mgn.load_state_dict(shared)
    expected, found = mgn(videos()), parser(videos())
    torch.testing.assert_close(found.segments, expected.segments, rtol=0, atol=1e-12)
    gated = dgsct(gate_strength=0.05)(videos())
    assert (gated.segments - expected.segments).abs().max() > 1e-6


def test_gates_start_as_torch_does_with_equal_layers_and_mgn_as_mgn_does() -> None:
    torch.manual_seed(0)
    recipe = DgsctTemporalRecipe()
    parser = DgsctTemporal(Dimensions(768, 768, 0, 0, 0, 10, 25), recipe)
    for module in (parser.audio_gate, parser.visual_gate):
        first, second = module.layers
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            assert one is not other
            assert (one == other).all()
        assert module.narrowing.weight.std().item() == pytest.approx(
            1 / math.sqrt(3 * 128), rel=0.05
        )
        assert module.narrowing.bias.any()
    audio, visual = (
        next(module.layers.parameters()) for module in (parser.audio_gate, parser.visual_gate)
    )
    assert (audio != visual).any()
    assert parser.projection.audio.weight.std().item() == pytest.approx(0.02, rel=0.02)
    dropouts = [m.p for m in parser.audio_gate.modules() if isinstance(m, nn.Dropout)]
    attention = [
        m.dropout for m in parser.audio_gate.modules() if isinstance(m, nn.MultiheadAttention)
    ]
    assert (dropouts, attention) == ([0.1] * 6, [0.1] * 2)


# MGN's parameters, and 405 761 of each gate.
@pytest.mark.parametrize(
    ("dimensions", "ungated_audio", "parameters"),
    [
        (Dimensions(128, 2048, 512, 0, 0, 10, 25), False, 4_366_065 + 811_522),
        (Dimensions(128, 2048, 512, 0, 0, 10, 25), True, 4_366_065 + 405_761),
        (Dimensions(768, 768, 0, 0, 0, 10, 25), False, 4_185_585 + 811_522),
    ],
)
def test_parameters(dimensions: Dimensions, ungated_audio: bool, parameters: int) -> None:
    recipe = DgsctTemporalRecipe(ungated_audio=ungated_audio)
    assert build_network("dgsct_temporal", dimensions, recipe).parameter_count() == parameters


@pytest.mark.parametrize("ungated_audio", [False, True])
def test_every_parameter_has_a_gradient(ungated_audio: bool) -> None:
    parser = dgsct(ungated_audio=ungated_audio).train()
    targets = ParserTargets((torch.rand(2, CLASSES) < 0.5).double())
    torch.stack(list(parser.loss_terms(parser(videos()), targets).values())).sum().backward()
    assert [name for name, weight in parser.named_parameters() if weight.grad is None] == []


def test_it_is_named_as_a_part() -> None:
    assert METHODS["dgsct_temporal"].display_name == "DG-SCT, temporal part"
    assert DgsctTemporalRecipe().batch_size == 8


def test_the_heads_of_the_gates_must_divide_half_the_width() -> None:
    with pytest.raises(PipelineError, match="width 12 must be a multiple of 8"):
        recipe_for("dgsct_temporal", {"width": 12, "heads": 2})
