"""LEAP: its decoder and losses against slow copies, its texts, equal starts and sizes."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import make_dataset, make_world
from test_mm_pyramid import DIMENSIONS as PYRAMID_DIMENSIONS
from test_mm_pyramid import same, shaken, slow_attention, slow_encoder, with_scales
from torch import Tensor

from pipeline.core.errors import PipelineError
from pipeline.parsers.decision import decide
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.layers import HanEncoder
from pipeline.parsers.leap import LabelDecoder, Leap
from pipeline.parsers.losses import leap_target
from pipeline.parsers.mm_pyramid import PyramidEncoder, TransformerLayer
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

DECODER = {"width": 8, "decoder_heads": 2, "decoder_feedforward": 12, "feedforward": 12}
SMALL: dict[str, dict[str, object]] = {
    "leap": {**DECODER, "heads": 2, "levels": 2},
    "leap_han": {**DECODER, "heads": 2},
}
DIMENSIONS = replace(PYRAMID_DIMENSIONS, text_audio=9, text_visual=11)
CLASSES = DIMENSIONS.classes


def leap(method: str = "leap", **changes: object) -> Leap:
    torch.manual_seed(0)
    recipe = recipe_for(method, {**SMALL[method], **changes})
    network = shaken(build_network(method, DIMENSIONS, recipe))
    assert isinstance(network, Leap)
    return network


def batch(videos: int = 3) -> tuple[ParserInputs, ParserTargets]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = ParserInputs(
        audio=normal(videos, 10, 6),
        visual=normal(videos, 10, 7),
        motion=normal(videos, 10, 5),
        text_audio=normal(CLASSES, 9),
        text_visual=normal(CLASSES, 11),
    )
    weak = (torch.rand(videos, CLASSES, generator=generator) < 0.6).double()
    audio, visual = (torch.rand(2, videos, 10, CLASSES, generator=generator) < 0.3).double()
    # A video without any label, and one that is silent.
    weak[0], audio[1] = 0, 0
    return inputs, ParserTargets(weak, audio * weak[:, None], visual * weak[:, None])


# ---- the decoder


def slow_decoder(
    decoder: LabelDecoder, labels: Tensor, segments: Tensor, kept: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Decode one video from labels [C, d] and segments [T, d]."""
    scores = torch.zeros(len(segments), len(labels), dtype=labels.dtype)
    for layer in decoder.layers:
        assert isinstance(layer, TransformerLayer)
        block = layer.attention
        gathered = slow_attention(block, layer.attention_norm(labels), segments, math.inf, kept[1])
        updated = labels + kept[0] * gathered
        first, last = layer.feedforward[0], layer.feedforward[-1]
        hidden = kept[0] * first(layer.feedforward_norm(updated)).clamp(min=0)
        labels = updated + kept[0] * last(hidden)
        size = labels.shape[1] // block.heads
        # Of the updated query, not normalised, in every head; only those of the last layer count.
        for t, c in itertools.product(range(len(segments)), range(len(labels))):
            query, key = block.query(updated[c]), block.key(segments[t])
            heads = [slice(head * size, (head + 1) * size) for head in range(block.heads)]
            each = [query[part] @ key[part] / math.sqrt(size) for part in heads]
            scores[t, c] = sum(each) / block.heads
    return scores, torch.sigmoid(decoder.event(labels)[:, 0])


@pytest.mark.parametrize("kept", [(1.0, 1.0), (0.8, 0.9)])
def test_network_is_its_equations(kept: tuple[float, float]) -> None:
    """Also with every dropout as a factor: 0.2 in layers and feed-forward, 0.1 of attention."""
    network = leap().eval()
    if kept[0] < 1:
        with_scales(network)
    inputs, _ = batch(2)
    output = network(inputs)
    streams = network.projection(inputs)
    assert inputs.text_visual is not None
    labels = torch.stack([network.label(text) for text in inputs.text_visual])
    decoders = network.audio_decoder, network.visual_decoder
    assert isinstance(network.encoder, PyramidEncoder)
    with torch.no_grad():
        for video in range(2):
            each = slow_encoder(network.encoder, streams[0][video], streams[1][video], kept)
            assert_close(output.audio_features[video], each[0])
            assert_close(output.visual_features[video], each[1])
            for index, (decoder, stream) in enumerate(zip(decoders, each, strict=True)):
                logits, probabilities = slow_decoder(decoder, labels, stream, kept)
                assert_close(output.logits[video, :, index], logits)
                own = (output.audio_video, output.visual_video)[index][video]
                assert_close(own, probabilities)


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("method", SMALL)
def test_a_class_of_one_modality_opens_the_gate_of_both(method: str) -> None:
    inputs, _ = batch(40)
    network = undecided(leap(method).eval(), inputs)
    prediction = network.predict(inputs)
    expected = [
        [float(bool(one >= 0.5) or bool(other >= 0.5)) for one, other in zip(*pair, strict=True)]
        for pair in prediction.by_modality
    ]
    assert prediction.video.tolist() == expected
    assert 0 < prediction.video.mean() < 1
    # The default gate is the larger of the two: at 0.5, the same decisions as with the binary g.
    probabilities = parse_videos(network, inputs, network.recipe)
    labels = decide(probabilities, network.recipe)
    for index, predicted in enumerate(labels):
        above = (prediction.segments[:, :, index] >= 0.5) * prediction.video[:, None]
        np.testing.assert_array_equal(predicted, above.numpy())


def test_han_encoder_is_hans() -> None:
    encoder = leap("leap_han").encoder
    assert isinstance(encoder, HanEncoder)
    assert not encoder.sequential
    assert len(encoder.layers) == 1
    assert isinstance(leap().encoder, PyramidEncoder)


# ---- the losses


def slow_bce(probabilities: Tensor, labels: Tensor) -> float:
    pairs = list(zip(probabilities.flatten().tolist(), labels.flatten().tolist(), strict=True))
    total = 0.0
    for p, y in pairs:
        kept = min(max(p, 1e-7), 1 - 1e-7)
        total -= y * math.log(kept) + (1 - y) * math.log(1 - kept)
    return total / len(pairs)


def slow_avss(features: list[Tensor], labels: list[Tensor], target: str) -> float:
    total, pairs = 0.0, 0
    for video in range(len(labels[0])):
        sets = [
            [{c for c in range(CLASSES) if row[c]} for row in modality[video]]
            for modality in labels
        ]
        most = max(len(events) for modality in sets for events in modality)
        for i, j in itertools.product(range(10), range(10)):
            one, other = features[0][video, i], features[1][video, j]
            cosine = float(one @ other / one.norm() / other.norm())
            shared = len(sets[0][i] & sets[1][j])
            if target == "leap":
                ratio = shared / most if most else 0.0
                wanted, cosine = ratio / (1 + ratio) + 0.01, max(cosine, 0.0)
            else:
                union = len(sets[0][i] | sets[1][j])
                wanted = shared / union if union else 0.0
            total, pairs = total + (cosine - wanted) ** 2, pairs + 1
    return total / pairs


@pytest.mark.parametrize("target", ["leap", "iou"])
def test_loss_is_its_equations(target: str) -> None:
    network = leap(segment_weight=0.5, avss_weight=2.0, avss_target=target).eval()
    inputs, targets = batch()
    with torch.no_grad():
        output = network(inputs)
        # Far beyond the clamp, on both sides.
        output.logits[0, 0, 0] = 50
        output.logits[1, 0, 1] = -50
        terms = {name: float(term) for name, term in network.loss_terms(output, targets).items()}
    audio, visual = targets.pseudo
    segments = torch.sigmoid(output.logits)
    features = [output.audio_features, output.visual_features]
    expected = {
        "audio_video": slow_bce(output.audio_video, audio.amax(dim=1)),
        "visual_video": slow_bce(output.visual_video, visual.amax(dim=1)),
        "audio_segment": 0.5 * slow_bce(segments[:, :, 0], audio),
        "visual_segment": 0.5 * slow_bce(segments[:, :, 1], visual),
        "avss": 2.0 * slow_avss(features, [audio, visual], target),
    }
    assert terms == pytest.approx(expected, rel=1e-10)


def test_weights_of_released_training_are_one_and_avss_can_be_removed() -> None:
    recipe = recipe_for("leap", {}).model_dump()
    assert (recipe["segment_weight"], recipe["avss_weight"], recipe["avss_target"]) == (
        *(1.0, 1.0),
        "leap",
    )
    network = leap(avss_weight=0)
    inputs, targets = batch()
    assert "avss" not in network.loss_terms(network(inputs), targets)


def test_target_of_the_released_code_is_between_hundredths() -> None:
    audio, visual = torch.zeros(2, 1, 2, 3)
    audio[0, 0], visual[0, 0] = torch.tensor([1.0, 1, 0]), torch.tensor([1.0, 1, 0])
    visual[0, 1] = torch.tensor([1.0, 0, 0])
    # q = 1 and 1/2 with K = 2 events at once, and nothing shared.
    expected = torch.tensor([[0.51, 1 / 3 + 0.01], [0.01, 0.01]])
    torch.testing.assert_close(leap_target(audio, visual)[0], expected)


@pytest.mark.parametrize(("target", "moves"), [("leap", False), ("iou", True)])
def test_negative_cosines_learn_only_with_the_papers_target(target: str, moves: bool) -> None:
    network = leap(avss_target=target).eval()
    inputs, targets = batch()
    audio = torch.ones(3, 10, 8, dtype=torch.float64)
    audio[..., 0] = torch.arange(10)
    audio.requires_grad_()
    opposite = replace(network(inputs), audio_features=audio, visual_features=-audio.detach())
    network.loss_terms(opposite, targets)["avss"].backward()
    assert audio.grad is not None
    assert bool(audio.grad.abs().max() > 1e-9) == moves


def undecided(network: Leap, inputs: ParserInputs) -> Leap:
    """Move the video probabilities of both modalities to around 0.4."""
    with torch.no_grad():
        means = network.predict(inputs).by_modality.logit().mean(dim=(0, 2))
        for decoder, mean in zip(
            (network.audio_decoder, network.visual_decoder), means, strict=True
        ):
            decoder.event.bias.sub_(mean + 0.4)
    return network


def test_global_term_has_no_gradient_and_counts_wrong_bits() -> None:
    """The released code adds BCE(g, y); with g in {0, 1} it is 16.118 times the share of errors."""
    inputs, targets = batch(40)
    network = undecided(leap(printed_global_term=True).eval(), inputs)
    output = network(inputs)
    term = network.loss_terms(output, targets)["video"]
    wrong = float((output.video != targets.weak).double().mean())
    assert 0 < wrong < 1
    assert float(term) == pytest.approx(-math.log(1e-7) * wrong, rel=1e-6)
    assert not term.requires_grad
    assert "video" not in leap().loss_terms(output, targets)


def test_loss_without_pseudo_labels_says_so() -> None:
    network = leap()
    inputs, targets = batch()
    with pytest.raises(ValueError, match="needs segment pseudo-labels"):
        network.loss_terms(network(inputs), ParserTargets(targets.weak))


# ---- how it starts, and its sizes


def test_decoders_start_equal() -> None:
    torch.manual_seed(0)
    network = build_network("leap", DIMENSIONS, recipe_for("leap", SMALL["leap"]))
    assert isinstance(network, Leap)
    layers = [*network.audio_decoder.layers, *network.visual_decoder.layers]
    assert len(layers) == 4
    for layer in layers:
        assert isinstance(layer, TransformerLayer)
        assert same(layer, layers[0])
        for other in ("key", "value", "output"):
            assert same(layer.attention.query, getattr(layer.attention, other))
    assert len({id(weight) for layer in layers for weight in layer.parameters()}) == 4 * 16
    assert not same(network.audio_decoder.event, network.visual_decoder.event)


def test_labels_of_unit_texts_start_as_large_as_those_of_word_vectors() -> None:
    started = {}
    for gain, texts in ((1.0, "clip"), (10.0, "clip"), (10.0, "words")):
        torch.manual_seed(0)
        recipe = recipe_for("leap", {**SMALL["leap"], "label_gain": gain, "label_texts": texts})
        network = build_network("leap", DIMENSIONS, recipe)
        assert isinstance(network, Leap)
        started[gain, texts] = network.state_dict()
    plain, larger, words = started.values()
    for name, weight in plain.items():
        factor = 10 if name == "label.weight" else 1
        torch.testing.assert_close(larger[name], factor * weight)
        torch.testing.assert_close(words[name], weight)


@pytest.mark.parametrize(("texts", "size"), [("clip", 11), ("clap", 9)])
def test_labels_are_one_linear_layer_of_the_texts(texts: str, size: int) -> None:
    network = leap(label_texts=texts).eval()
    assert network.label.in_features == size
    inputs, _ = batch()
    unread = (
        replace(inputs, text_audio=None) if texts == "clip" else replace(inputs, text_visual=None)
    )
    torch.testing.assert_close(network(unread).logits, network(inputs).logits)
    with pytest.raises(ValueError, match="LEAP needs class texts"):
        network(replace(inputs, text_audio=None, text_visual=None))


CLASSIC = Dimensions(128, 2048, 512, 300, 300, 10, 25)
CACHED = Dimensions(768, 768, 0, 512, 768, 10, 25)


@pytest.mark.parametrize(
    ("method", "dimensions", "options", "parameters"),
    [
        # With GloVe; the released module has 52,005,380, of which 4,749,312 are never used.
        ("leap", CLASSIC, {"label_texts": "words"}, 52_005_380 - 4_749_312),
        ("leap", replace(CACHED, text_visual=300), {}, 47_256_068 - 1_115_136),
        ("leap", CACHED, {}, 46_140_932 + 468 * 512),
        ("leap", CACHED, {"label_texts": "clap"}, 46_140_932 + 212 * 512),
        ("leap", replace(CACHED, motion=512), {}, 46_380_548 + 787_456),
        ("leap_han", CLASSIC, {"label_texts": "words"}, 10_998_274),
        ("leap_han", CACHED, {}, 10_122_754),
    ],
)
def test_full_size_has_the_released_number_of_parameters(
    method: str, dimensions: Dimensions, options: dict[str, object], parameters: int
) -> None:
    with torch.device("meta"):
        parser = build_network(method, dimensions, recipe_for(method, options))
    assert parser.parameter_count() == parameters
    assert isinstance(parser, Leap)
    # Two layers of attention and feed-forward, and one logit, per modality.
    decoders = [*parser.audio_decoder.parameters(), *parser.visual_decoder.parameters()]
    assert sum(weight.numel() for weight in decoders) == 6_312_962


@pytest.mark.parametrize("method", SMALL)
def test_every_parameter_has_a_gradient(method: str) -> None:
    network = leap(method)
    inputs, targets = batch()
    torch.stack([*network.loss_terms(network(inputs), targets).values()]).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("method", SMALL)
def test_width_must_divide_by_heads(method: str) -> None:
    with pytest.raises(PipelineError, match="width 10 must be a multiple of heads 4"):
        recipe_for(method, {"width": 10, "heads": 4, "decoder_heads": 5})
    with pytest.raises(PipelineError, match="width 10 must be a multiple of decoder_heads 4"):
        recipe_for(method, {"width": 10, "heads": 5, "decoder_heads": 4})


@pytest.mark.parametrize("method", SMALL)
def test_thirty_two_videos_are_learnt_by_heart(method: str, tmp_path: Path) -> None:
    still = {"dropout": 0.0, "decoder_dropout": 0.0, "decoder_attention_dropout": 0.0}
    still |= {"attention_dropout": 0.0, "levels": 1} if method == "leap" else {}
    changes = {"width": 32, "feedforward": 32, "decoder_feedforward": 32, "learning_rate": 1e-2}
    changes |= {"epochs": 90, "step_epochs": 70, **still}
    recipe = recipe_for(method, {**SMALL[method], **changes})
    dataset = make_dataset(make_world(classes=4), train=32, evaluated=4, recipe=recipe)
    trainer = Trainer(TrainingJob(method, recipe, dataset, 0, torch.device("cpu")))
    trainer.run(tmp_path / STATE_FILE)
    first, last = trainer.progress.curve[0]["loss"], trainer.progress.curve[-1]["loss"]
    assert last < 0.1 * first
