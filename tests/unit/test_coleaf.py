"""CoLeaF: reference networks, losses and updates against slow references in float64."""

import math
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from pipeline.parsers import coleaf
from pipeline.parsers.coleaf_references import (
    AudioReference,
    Reference,
    VisualReference,
    asymmetric_loss,
)
from pipeline.parsers.interface import Dimensions, ParserInputs
from pipeline.parsers.recipes import CoLeafRecipe

CLASSIC = Dimensions(128, 2048, 512, 0, 0, 10, 25)
CACHED = Dimensions(768, 768, 0, 0, 0, 10, 25)
SMALL = Dimensions(6, 7, 3, 0, 0, 4, 5)
TINY = CoLeafRecipe(width=8, feedforward=12, heads=1, layers=1)


Kind = TypeVar("Kind", bound=Reference)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=seeded(seed), dtype=torch.float64)


def small_inputs(videos: int = 3, frames: int | None = 2, seed: int = 0) -> ParserInputs:
    generator = seeded(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    visual = normal(videos, 4, 7) if frames is None else normal(videos, 4, frames, 7)
    return ParserInputs(normal(videos, 4, 6), visual, normal(videos, 4, 3))


def counted(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


# Those of the released classes that receive gradients: 1.68 M and 3.45 M.
@pytest.mark.parametrize(
    ("kind", "dimensions", "parameters"),
    [
        (AudioReference, CLASSIC, 1_682_482),
        (VisualReference, CLASSIC, 3_452_978),
        (AudioReference, CACHED, 1_682_482 + (768 - 128) * 512),
        (VisualReference, CACHED, 1_682_482 + (768 - 128) * 512),
    ],
)
def test_references_have_the_released_number_of_used_parameters(
    kind: type[Reference], dimensions: Dimensions, parameters: int
) -> None:
    recipe = CoLeafRecipe(width=512, layers=1, heads=1, feedforward=512)
    assert counted(kind(dimensions, recipe)) == parameters


def layer_norm(row: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    centred = row - row.mean()
    return gain * centred / torch.sqrt((centred**2).mean() + 1e-5) + bias


def slow_reference(network: Reference, segments: Tensor, kept: float = 1.0) -> dict[str, Tensor]:
    """One video at a time, one row at a time; dropout is a factor ``kept`` where it acts."""
    weights = dict(network.named_parameters())
    layer = {name.removeprefix("encoder.0."): value for name, value in weights.items()}
    classes = len(network.tokens)
    found: dict[str, list[Tensor]] = {"video": [], "tokens": [], "features": []}
    for video in segments:
        rows = torch.cat([weights["tokens"], video])
        query, key, value = (
            rows @ part.T + bias
            for part, bias in zip(
                layer["self_attn.in_proj_weight"].chunk(3),
                layer["self_attn.in_proj_bias"].chunk(3),
                strict=True,
            )
        )
        outputs = []
        for place, row in enumerate(rows):
            score = torch.stack([query[place] @ each for each in key]) / math.sqrt(len(row))
            share = score.exp() / score.exp().sum()
            mixed = sum(share[i] * value[i] for i in range(len(rows)))
            out = layer["self_attn.out_proj.weight"] @ mixed + layer["self_attn.out_proj.bias"]
            hidden = layer_norm(row + out, layer["norm1.weight"], layer["norm1.bias"])
            inner = (layer["linear1.weight"] @ hidden + layer["linear1.bias"]).clamp(min=0)
            fed = layer["linear2.weight"] @ inner + layer["linear2.bias"]
            outputs.append(layer_norm(hidden + fed, layer["norm2.weight"], layer["norm2.bias"]))
        features = torch.stack(outputs[classes:])
        dropped = kept * features
        attended = features if isinstance(network, AudioReference) else dropped
        time = attended @ weights["over_time.weight"].T + weights["over_time.bias"]
        share = time.exp() / time.exp().sum(dim=0)
        probability = dropped @ weights["probability.weight"].T + weights["probability.bias"]
        found["video"].append((share / (1 + (-probability).exp())).sum(dim=0))
        found["tokens"].append(torch.stack([row.mean().sigmoid() for row in outputs[:classes]]))
        found["features"].append(features)
    return {name: torch.stack(rows) for name, rows in found.items()}


def scrambled(network: Kind) -> Kind:
    """Weights away from their start: class tokens and biases are not 0, gains not 1."""
    generator = seeded(5)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return network


class Factor(torch.nn.Module):
    def __init__(self, kept: float) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, values: Tensor) -> Tensor:
        return self.kept * values


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_audio_reference_equals_the_slow_one(kept: float) -> None:
    network, inputs = scrambled(AudioReference(SMALL, TINY).double()).eval(), small_inputs()
    network.add_module("dropout", Factor(kept))
    output = network(inputs)
    projected = inputs.audio @ network.projection.weight.T + network.projection.bias
    expected = slow_reference(network, projected, kept)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(output, name), value, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kept", [1.0, 0.5])
@pytest.mark.parametrize("motion", [True, False])
@pytest.mark.parametrize("frames", [2, None])
def test_visual_reference_equals_the_slow_one(
    kept: float, motion: bool, frames: int | None
) -> None:
    dimensions = SMALL if motion else Dimensions(6, 7, 0, 0, 0, 4, 5)
    network = scrambled(VisualReference(dimensions, TINY).double()).eval()
    network.add_module("dropout", Factor(kept))
    inputs = small_inputs(frames=frames)
    output = network(inputs)
    projected = inputs.visual @ network.visual.weight.T + network.visual.bias
    if frames is not None:
        projected = projected.mean(dim=2)
    if inputs.motion is not None and motion:
        moving = inputs.motion @ network.motion.weight.T + network.motion.bias
        both = torch.cat([projected, moving], dim=-1)
        projected = both @ network.fusion.weight.T + network.fusion.bias
    expected = slow_reference(network, projected, kept)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(output, name), value, rtol=1e-11, atol=1e-11)


def test_class_tokens_say_one_half_at_the_start() -> None:
    output = AudioReference(SMALL, TINY).double().eval()(small_inputs())
    torch.testing.assert_close(output.tokens, torch.full((3, 5), 0.5, dtype=torch.float64))


def slow_asymmetric(probabilities: Tensor, labels: Tensor) -> float:
    total = 0.0
    for p, y in zip(probabilities.flatten().tolist(), labels.flatten().tolist(), strict=True):
        q = min(1.0, 1 - p + 0.05)
        entropy = y * math.log(max(p, 1e-8)) + (1 - y) * math.log(max(q, 1e-8))
        total -= entropy * (1 - (y * p + (1 - y) * q))
    return total


def test_asymmetric_loss_is_summed_and_not_separable_for_soft_labels() -> None:
    probabilities = random(3, 5)
    probabilities[0] = torch.tensor([0.0, 1.0, 0.03, 0.05, 0.5])
    hard = (random(3, 5, seed=1) > 0.5).double()
    for labels in (hard, 0.9 * hard + 0.05):
        loss = asymmetric_loss(probabilities, labels).item()
        assert loss == pytest.approx(slow_asymmetric(probabilities, labels), rel=1e-12)
    absent = (1.05 - probabilities).clamp(max=1)
    present = hard * probabilities.clamp(min=1e-8).log() * (1 - probabilities)
    separable = -(present + (1 - hard) * absent.log() * (1 - absent)).sum()
    torch.testing.assert_close(asymmetric_loss(probabilities, hard), separable)
    soft = 0.9 * hard + 0.05
    present = soft * probabilities.clamp(min=1e-8).log() * (1 - probabilities)
    apart = -(present + (1 - soft) * absent.log() * (1 - absent)).sum()
    assert abs(asymmetric_loss(probabilities, soft) - apart) > 0.1


def test_no_gradient_flows_through_the_focus_of_the_asymmetric_loss() -> None:
    p = torch.tensor([[0.3, 0.6]], dtype=torch.float64, requires_grad=True)
    asymmetric_loss(p, torch.tensor([[1.0, 0.0]], dtype=torch.float64)).backward()
    absent = 1 - 0.6 + 0.05
    expected = torch.tensor([[-(1 - 0.3) / 0.3, (1 - absent) / absent]], dtype=torch.float64)
    torch.testing.assert_close(p.grad, expected)


def test_agreed_labels_are_the_denoised_ones_of_classes_the_anchor_sees() -> None:
    labels = torch.tensor([[0.95, 0.95, 0.05, 0.0]])
    seen = torch.tensor([[0.6, 0.59, 0.9, 0.9]])
    torch.testing.assert_close(
        coleaf.agreed_labels(labels, seen, 0.6), torch.tensor([[0.95, 0.0, 0.05, 0.0]])
    )


def test_cross_class_target_blends_by_the_label_of_certain_classes() -> None:
    own, certain = 0.5, (0.4, 0.6)
    references = [0.4, 0.6, 0.41, 0.59, 0.9, 0.9, 0.9]
    labels = [0.95, 0.95, 0.95, 0.95, 0.95, 0.05, 0.0]
    expected = []
    for reference, label in zip(references, labels, strict=True):
        share = label if reference <= 0.4 or reference >= 0.6 else 0.0
        expected.append(share * reference + (1 - share) * own)
    p = torch.full((1, 7), own, dtype=torch.float64, requires_grad=True)
    target = coleaf.cross_class_target(
        p,
        torch.tensor([references], dtype=torch.float64),
        torch.tensor([labels], dtype=torch.float64),
        certain,
    )
    assert not target.requires_grad
    torch.testing.assert_close(target, torch.tensor([expected], dtype=torch.float64))
    # A negative visual label keeps 95 % of the anchor's value.
    assert target[0, 5].item() == pytest.approx(0.95 * own + 0.05 * 0.9)


def test_cross_class_loss_compares_outer_products_of_every_video() -> None:
    p, target = random(3, 5), random(3, 5, seed=1)
    total = 0.0
    for video in range(3):
        for one in range(5):
            for other in range(5):
                own = p[video, one] * p[video, other]
                total += float(own - target[video, one] * target[video, other]) ** 2
    assert coleaf.cross_class_loss(p, target).item() == pytest.approx(total / 5, rel=1e-12)


def test_exclusive_shares_count_classes_of_one_modality() -> None:
    audio = torch.tensor([[0.9, 0.5, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1], [0.6, 0.6, 0.6, 0.0]])
    visual = torch.tensor([[0.9, 0.4, 0.1, 0.1], [0.1, 0.1, 0.5, 0.1], [0.6, 0.6, 0.0, 0.0]])
    heard_only, seen_only = coleaf.exclusive_shares(audio, visual)
    torch.testing.assert_close(heard_only, torch.tensor([1 / 2, 0.0, 1 / 3]))
    torch.testing.assert_close(seen_only, torch.tensor([0.0, 1.0, 0.0]))
