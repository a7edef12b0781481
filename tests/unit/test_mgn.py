"""MGN: every number against a slow reference with loops, its start, its draws, its sizes."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from simulated import make_dataset, make_world
from torch import nn
from torch.nn import functional

from pipeline.core.errors import PipelineError
from pipeline.parsers.decision import decide
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.mgn import Assignment, AttentionBlock, DropPath, Grouping, GroupingStage, Mgn
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.recipes import MgnRecipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.states import STATE_FILE
from pipeline.training.trainer import Trainer, TrainingJob

Array = NDArray[np.float64]
Module = TypeVar("Module", bound=nn.Module)

CLASSES, SEGMENTS, WIDTH = 5, 4, 8
DIMENSIONS = Dimensions(6, 7, 3, 0, 0, SEGMENTS, CLASSES)
SMALL = {"width": WIDTH, "heads": 2, "audio_depth": 1, "visual_depth": 2, "cross_depth": 2}


def mgn(dimensions: Dimensions = DIMENSIONS, **options: object) -> Mgn:
    """A small network whose weights are far from the start, in float64."""
    torch.manual_seed(0)
    parser = build_network("mgn", dimensions, recipe_for("mgn", {**SMALL, **options}))
    assert isinstance(parser, Mgn)
    return scattered(parser).eval()


def scattered(module: Module) -> Module:
    generator = torch.Generator().manual_seed(2)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4, generator=generator)
    return module.double()


def videos(count: int = 3, motion: bool = True) -> tuple[ParserInputs, ParserTargets]:
    torch.manual_seed(1)
    audio, visual, moving = (torch.randn(count, SEGMENTS, size).double() for size in (6, 7, 3))
    inputs = ParserInputs(audio, visual, moving if motion else None)
    return inputs, ParserTargets((torch.rand(count, CLASSES) < 0.4).double())


# The reference: one video, one group and one segment at a time.


def numbers(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().numpy()
    return array


def softmax(scores: Array) -> Array:
    exponentials = np.exp(scores - scores.max())
    result: Array = exponentials / exponentials.sum()
    return result


def linear(layer: nn.Module, rows: Array) -> Array:
    assert isinstance(layer, nn.Linear)
    return np.array([numbers(layer.weight) @ row + numbers(layer.bias) for row in rows])


def normed(layer: nn.LayerNorm, rows: Array) -> Array:
    standard = [(row - row.mean()) / math.sqrt(row.var() + 1e-5) for row in rows]
    return np.array([numbers(layer.weight) * row + numbers(layer.bias) for row in standard])


def mlp(layers: nn.Sequential, rows: Array) -> Array:
    hidden = linear(layers[0], rows)
    curved = [[0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in row] for row in hidden]
    return linear(layers[2], np.array(curved))


def attended(attention: nn.MultiheadAttention, queries: Array, keys: Array) -> Array:
    weight, bias = numbers(attention.in_proj_weight), numbers(attention.in_proj_bias)
    q, k, v = (
        np.array(
            [weight[start : start + WIDTH] @ row + bias[start : start + WIDTH] for row in rows]
        )
        for start, rows in ((0, queries), (WIDTH, keys), (2 * WIDTH, keys))
    )
    heads, size = attention.num_heads, WIDTH // attention.num_heads
    result = np.zeros_like(queries)
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for row in range(len(queries)):
            shares = softmax(np.array([q[row, own] @ key[own] for key in k]) / math.sqrt(size))
            result[row, own] = sum(
                share * value[own] for share, value in zip(shares, v, strict=True)
            )
    return linear(attention.out_proj, result)


def block(layer: AttentionBlock, rows: Array) -> Array:
    inside = normed(layer.attention_norm, rows)
    rows = rows + attended(layer.attention, inside, inside)
    return rows + mlp(layer.mlp, normed(layer.mlp_norm, rows))


def assignment_map(scores: Array, hard: bool) -> tuple[Array, Array]:
    """M and the map of scores [N, L]."""
    groups, length = scores.shape
    shares = np.array([softmax(scores[:, column]) for column in range(length)]).T
    if hard:
        chosen = np.zeros_like(shares)
        for column in range(length):
            chosen[shares[:, column].argmax(), column] = 1
        return chosen, chosen
    return shares, np.array([1 + softmax(shares[group]) for group in range(groups)])


def grouped(layer: Grouping, tokens: Array, rows: Array) -> tuple[Array, Array]:
    mixed = normed(layer.mixed_norm, mlp(layer.token_mlp, normed(layer.token_norm, tokens).T).T)
    rows = normed(layer.segment_norm, rows)
    reading = layer.reading
    groups = mixed + attended(reading.attention, mixed, rows)
    groups = normed(
        reading.output_norm, groups + mlp(reading.mlp, normed(reading.mlp_norm, groups))
    )
    assign = layer.assignment
    queries, keys = linear(assign.query, groups), linear(assign.key, rows)
    scores = np.array([[query @ key for key in keys] for query in queries]) / math.sqrt(WIDTH)
    weights, group_map = assignment_map(scores, assign.hard)
    if assign.averages_with_map and not assign.hard:
        weights = group_map
    values = linear(assign.value, rows)
    gathered = []
    for group in range(len(groups)):
        total = weights[group].sum() + 1
        gathered.append(sum(weights[group, row] / total * values[row] for row in range(len(rows))))
    output = linear(assign.output, np.array(gathered)) + groups
    return output + mlp(layer.output_mlp, normed(layer.output_norm, output)), group_map


def stage(
    layer: GroupingStage, rows: Array, tokens: Array, other: Array | None = None
) -> tuple[Array, Array]:
    together = np.concatenate([rows, tokens])
    for each in layer.blocks:
        assert isinstance(each, AttentionBlock)
        together = block(each, together)
    rows, tokens = together[: len(rows)], together[len(rows) :]
    if other is not None:
        rows, _ = grouped(layer.regrouping, other, rows)
    return grouped(layer.grouping, tokens, rows)


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def reference(parser: Mgn, audio: Array, visual: Array) -> dict[str, Array]:
    """One video from its projected segments [T, d]."""
    seen, seen_map = stage(parser.visual_grouping, visual, numbers(parser.visual_tokens))
    heard, heard_map = stage(parser.audio_grouping, audio, numbers(parser.audio_tokens), visual)
    both, _ = stage(parser.cross_grouping, heard, seen)
    p_audio = sigmoid(linear(parser.audio_head, heard)[:, 0])
    p_visual = sigmoid(linear(parser.visual_head, seen)[:, 0])
    segments = np.zeros((SEGMENTS, 2, CLASSES))
    for label in range(CLASSES):
        for second in range(SEGMENTS):
            segments[second, 0, label] = p_audio[label] * heard_map[label, second]
            segments[second, 1, label] = p_visual[label] * seen_map[label, second]
    return {
        "segments": segments,
        "video": sigmoid(linear(parser.video_head, both)[:, 0]),
        "by_modality": np.array([p_audio, p_visual]),
        "audio_token_logits": linear(parser.class_head, numbers(parser.audio_tokens)),
        "visual_token_logits": linear(parser.class_head, numbers(parser.visual_tokens)),
    }


def projected(parser: Mgn, inputs: ParserInputs, video: int) -> tuple[Array, Array]:
    project = parser.projection
    audio = linear(project.audio, numbers(inputs.audio[video]))
    visual = linear(project.visual, numbers(inputs.visual[video]))
    if inputs.motion is not None:
        motion = linear(project.motion, numbers(inputs.motion[video]))
        visual = linear(project.fusion, np.concatenate([visual, motion], axis=1))
    return audio, visual


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unimodal_assignment": "hard"},
        {"crossmodal_assignment": "hard"},
        {"soft_average": "map"},
        {"soft_average": "map", "unimodal_assignment": "hard"},
    ],
    ids=str,
)
@pytest.mark.parametrize("motion", [True, False])
def test_outputs_are_those_of_loops_over_videos_groups_and_segments(
    options: dict[str, object], motion: bool
) -> None:
    parser = mgn(DIMENSIONS if motion else replace(DIMENSIONS, motion=0), **options)
    inputs, _ = videos(motion=motion)
    output = parser(inputs)
    for video in range(len(inputs)):
        for name, expected in reference(parser, *projected(parser, inputs, video)).items():
            value = numbers(getattr(output, name))
            actual = value if "token" in name else value[video]
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12, err_msg=name)


def test_loss_is_that_of_loops_over_videos_and_classes() -> None:
    parser = mgn()
    inputs, targets = videos()
    output = parser(inputs)
    terms = parser.loss_terms(output, targets)
    weak, count = numbers(targets.weak), len(inputs)
    pooled = {
        "video": (output.video, 1.0),
        "audio_video": (output.by_modality[:, 0], 1.0),
        "visual_video": (output.by_modality[:, 1], 0.9),
    }
    for name, (probabilities, certainty) in pooled.items():
        total = 0.0
        for video in range(count):
            for label in range(CLASSES):
                y = certainty * weak[video, label] + (1 - certainty) * 0.5
                p = min(max(probabilities[video, label].item(), 1e-7), 1 - 1e-7)
                total -= y * math.log(p) + (1 - y) * math.log(1 - p)
        assert terms[name].item() == pytest.approx(total / (count * CLASSES), abs=1e-12)
    for name, logits in (
        ("audio_tokens", numbers(output.audio_token_logits)),
        ("visual_tokens", numbers(output.visual_token_logits)),
    ):
        total = -sum(math.log(softmax(logits[label])[label]) for label in range(CLASSES))
        assert terms[name].item() == pytest.approx(total / CLASSES, abs=1e-12)
    assert len(terms) == 5


def test_sure_videos_are_clamped_before_the_logarithm() -> None:
    parser = mgn()
    inputs, _ = videos()
    output = replace(parser(inputs), video=torch.ones(3, CLASSES).double())
    loss = parser.loss_terms(output, ParserTargets(torch.zeros(3, CLASSES).double()))["video"]
    assert loss.item() == pytest.approx(-math.log(1e-7), rel=1e-6)


def test_start_has_equal_tokens_and_maps_close_to_1_1() -> None:
    torch.manual_seed(0)
    dimensions = Dimensions(128, 2048, 512, 0, 0, 10, 25)
    parser = Mgn(dimensions, MgnRecipe())
    inputs = ParserInputs(torch.rand(2, 10, 128), torch.rand(2, 10, 2048), torch.rand(2, 10, 512))
    output = parser.eval()(inputs)
    terms = parser.loss_terms(output, ParserTargets(torch.zeros(2, 25)))
    assert terms["audio_tokens"].item() == pytest.approx(math.log(25), abs=1e-6)
    assert terms["visual_tokens"].item() == pytest.approx(math.log(25), abs=1e-6)
    maps = output.segments / output.by_modality[:, None]
    assert 1.0993 < maps.min() < maps.max() < 1.1007
    for module in parser.modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
    last = parser.cross_grouping.blocks[5]
    assert isinstance(last, AttentionBlock)
    for weight in (parser.projection.visual.weight, last.attention.in_proj_weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not last.attention.in_proj_bias.any()
    assert not parser.audio_tokens.any()


# As released 4.37 M; without the two layers of the 3-D features 180 480 fewer on the same features.
@pytest.mark.parametrize(
    ("audio", "visual", "motion", "parameters"),
    [(128, 2048, 512, 4_366_065), (768, 768, 512, 4_284_145), (768, 768, 0, 4_185_585)],
)
def test_parameters_are_those_of_the_released_network(
    audio: int, visual: int, motion: int, parameters: int
) -> None:
    dimensions = Dimensions(audio, visual, motion, 0, 0, 10, 25)
    assert build_network("mgn", dimensions, MgnRecipe()).parameter_count() == parameters


def test_every_parameter_has_a_gradient() -> None:
    parser = mgn().train()
    inputs, targets = videos()
    torch.stack(list(parser.loss_terms(parser(inputs), targets).values())).sum().backward()
    assert [name for name, weight in parser.named_parameters() if weight.grad is None] == []


def assignment(kind: str = "hard", training: bool = True) -> Assignment:
    recipe = MgnRecipe(width=WIDTH, heads=2)
    return scattered(Assignment(recipe, "hard" if kind == "hard" else "soft")).train(training)


def rows(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, count, WIDTH, generator=generator, dtype=torch.float64)


def test_gumbel_noise_comes_from_the_global_generator() -> None:
    layer, groups, segments = assignment(), rows(3, 0), rows(6, 1)
    torch.manual_seed(5)
    _, drawn = layer(groups, segments)
    torch.manual_seed(5)
    _, again = layer(groups, segments)
    _, another = layer(groups, segments)
    assert (drawn == again).all()
    assert (drawn.round() != another.round()).any()
    torch.manual_seed(5)
    uniform = torch.rand(2, 3, 6, dtype=torch.float64).clamp(min=torch.finfo(torch.float64).tiny)
    scores = layer.query(groups) @ layer.key(segments).mT / math.sqrt(WIDTH)
    noisy = scores - (-uniform.log()).log()
    expected = functional.one_hot(noisy.argmax(dim=1), 3).mT
    assert (drawn.round() == expected).all()


def test_draws_follow_the_softmax() -> None:
    layer = assignment()
    groups, segments = rows(3, 0)[:1], rows(1, 1)[:1]
    torch.manual_seed(0)
    _, drawn = layer(groups.expand(20_000, -1, -1), segments.expand(20_000, -1, -1))
    scores = layer.query(groups) @ layer.key(segments).mT / math.sqrt(WIDTH)
    torch.testing.assert_close(drawn.mean(dim=0), scores.softmax(dim=1)[0], rtol=0, atol=0.015)


def test_hard_assignment_has_the_gradient_of_the_softmax() -> None:
    layer, groups, segments = assignment(training=False), rows(3, 0), rows(6, 1)
    weight = torch.randn(2, 3, 6, dtype=torch.float64)
    _, hard = layer(groups, segments)
    assert set(hard.round().unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(hard.sum(dim=1), torch.ones(2, 6, dtype=torch.float64))
    (hard * weight).sum().backward()
    found = layer.query.weight.grad
    layer.zero_grad()
    soft = (layer.query(groups) @ layer.key(segments).mT / math.sqrt(WIDTH)).softmax(dim=1)
    (soft * weight).sum().backward()
    torch.testing.assert_close(found, layer.query.weight.grad)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_audio_is_regrouped_the_opposite_way(kind: str) -> None:
    parser = mgn(unimodal_assignment=kind)
    assert parser.audio_grouping.regrouping.assignment.hard == (kind == "soft")
    for stage_ in (parser.audio_grouping, parser.visual_grouping):
        assert stage_.grouping.assignment.hard == (kind == "hard")
    assert not parser.cross_grouping.grouping.assignment.hard
    assert not hasattr(parser.visual_grouping, "regrouping")


def test_training_repeats_with_the_seed_and_differs_with_another() -> None:
    parser = mgn(drop_path=0.0).train()
    inputs, _ = videos()
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(parser(inputs).segments)
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] != outputs[2]).any()
    assert (parser.eval()(inputs).segments == parser(inputs).segments).all()


def test_drop_path_drops_a_branch_of_whole_videos() -> None:
    torch.manual_seed(0)
    layer, branch = DropPath(0.1), torch.rand(2000, 3, 4, dtype=torch.float64) + 1
    dropped = layer(branch)
    gone = (dropped == 0).flatten(1)
    assert (gone.all(dim=1) == gone.any(dim=1)).all()
    assert 0.08 < gone.all(dim=1).double().mean() < 0.12
    kept = ~gone.all(dim=1)
    torch.testing.assert_close(dropped[kept], branch[kept] / 0.9)
    assert (layer.eval()(branch) == branch).all()


def test_paths_are_dropped_in_attention_blocks_only() -> None:
    """With all paths dropped, a block passes its input on, and the groups remain."""
    torch.manual_seed(0)
    recipe = MgnRecipe(width=WIDTH, heads=2, drop_path=0.9999)
    layer = AttentionBlock(recipe).double().train()
    features = rows(5, 0)
    assert (layer(features) == features).all()
    parser = mgn()
    assert sum(isinstance(module, nn.Dropout) for module in parser.modules()) == 1 + 2 + 2
    assert all(
        module.dropout == 0
        for module in parser.modules()
        if isinstance(module, nn.MultiheadAttention)
    )


def test_probabilities_above_1_are_thresholded_as_they_are_and_shown_as_1() -> None:
    parser = mgn()
    nn.init.constant_(parser.audio_head.bias, 50)
    inputs, _ = videos()
    output = parser(inputs)
    assert output.segments.max() > 1
    predicted = parser.predict(inputs)
    assert predicted.segments.max() == 1
    assert ((predicted.segments >= 0.5) == (output.segments >= 0.5)).all()
    probabilities = parse_videos(parser, inputs, parser.recipe)
    gate = np.repeat(numbers(output.video)[:, None], 2, axis=1)
    np.testing.assert_allclose(probabilities.gate, gate, rtol=1e-12)
    audio, _ = decide(probabilities, parser.recipe)
    expected = (output.segments[:, :, 0] >= 0.5) & (output.video >= 0.5)[:, None]
    assert (audio == numbers(expected)).all()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(PipelineError, match="width 12 must be a multiple of heads 8"):
        recipe_for("mgn", {"width": 12})


def test_mgn_learns_32_videos_by_heart(tmp_path: Path) -> None:
    """It starts with a loss of 2 ln 8 + 3 ln 2 = 6.2; the smoothed visual labels leave 0.1985, and
    the Gumbel draws of the regrouping keep the audio loss above zero."""
    options = {
        **{"width": 32, "heads": 4, "audio_depth": 1, "visual_depth": 1, "cross_depth": 0},
        **{"drop_path": 0.0, "batch_size": 32},
        **{"epochs": 130, "learning_rate": 5e-3, "step_epochs": 100},
    }
    recipe = recipe_for("mgn", options)
    dataset = make_dataset(make_world(), train=32, evaluated=4, noise=0.6)
    trainer = Trainer(TrainingJob("mgn", recipe, dataset, 0, torch.device("cpu")))
    trainer.run(tmp_path / STATE_FILE)
    first, last = trainer.progress.curve[0], trainer.progress.curve[-1]
    assert first["loss"] > 5.5
    assert 0 < last["loss"] - 0.1985 < 1, last
    assert last["video"] < 0.1, last
    weak = dataset.train.targets.weak.numpy()
    gate = parse_videos(trainer.parser, dataset.train.inputs, recipe).gate[:, 0]
    # 0.78 for a gate that is always shut; other processors' rounding moves it by some 0.06.
    assert ((gate >= 0.5) == weak).mean() > 0.85
