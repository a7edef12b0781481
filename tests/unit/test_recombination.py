"""Recombination: audio of one video, pictures of another, and the labels that follow."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from simulated import make_dataset, make_world

from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import ParserInputs, ParserTargets
from pipeline.parsers.registry import METHODS, recipe_for
from pipeline.training.recombination import draw_pairs, recombined
from pipeline.training.states import STATE_FILE
from pipeline.training.trainer import Trainer, TrainingJob

VIDEOS, SEGMENTS, CLASSES = 6, 4, 3
TINY = {"width": 16, "layers": 1, "heads": 2, "feedforward": 32, "epochs": 3, "batch_size": 16}


def videos(labelled: float = 0.2, soft: bool = False) -> tuple[ParserInputs, ParserTargets]:
    """Videos whose features are all different, so that a row says which video it comes from."""
    torch.manual_seed(0)
    size = (VIDEOS, SEGMENTS)
    audio, visual = (torch.rand(*size, CLASSES) < labelled for _ in range(2))
    weak = (audio | visual).any(dim=1)
    labels = [mask.float() for mask in (audio, visual)]
    if soft:
        labels = [0.6 * mask + 0.3 * torch.rand(mask.shape) for mask in labels]
    return (
        ParserInputs(
            torch.rand(*size, 5),
            torch.rand(*size, 7),
            torch.rand(*size, 2),
            torch.rand(*size, CLASSES),
            torch.rand(*size, CLASSES),
            torch.rand(CLASSES, 4),
            torch.rand(CLASSES, 4),
        ),
        ParserTargets(weak.float(), *labels, *torch.rand(2, CLASSES)),
    )


def source(rows: torch.Tensor, row: torch.Tensor) -> int:
    """Which of the rows it is."""
    (found,) = [index for index, each in enumerate(rows) if (each == row).all()]
    return found


@pytest.mark.parametrize("soft", [False, True])
def test_recombined_videos_are_those_of_loops(soft: bool) -> None:
    inputs, targets = videos(soft=soft)
    more_inputs, more_targets = recombined(inputs, targets, 2.5, seed=1)
    assert len(more_inputs) == len(more_targets) == VIDEOS + 15
    for video in range(VIDEOS, VIDEOS + 15):
        audio = source(inputs.audio, more_inputs.audio[video])
        visual = source(inputs.visual, more_inputs.visual[video])
        assert audio != visual
        for name, row in (("motion", visual), ("prior_audio", audio), ("prior_visual", visual)):
            assert (getattr(more_inputs, name)[video] == getattr(inputs, name)[row]).all()
        assert (more_targets.pseudo[0][video] == targets.pseudo[0][audio]).all()
        assert (more_targets.pseudo[1][video] == targets.pseudo[1][visual]).all()
        weak = torch.zeros(CLASSES)
        for second in range(SEGMENTS):
            for label in range(CLASSES):
                heard = targets.pseudo[0][audio, second, label] > 0.5
                seen = targets.pseudo[1][visual, second, label] > 0.5
                if heard or seen:
                    weak[label] = 1
        assert (more_targets.weak[video] == weak).all()
        assert weak.any()


def test_original_videos_come_first_and_shared_tensors_stay() -> None:
    inputs, targets = videos()
    more_inputs, more_targets = recombined(inputs, targets, 1.0, seed=1)
    first = torch.arange(VIDEOS)
    assert more_inputs.take(first).digest() == inputs.digest()
    assert more_targets.take(first).digest() == targets.digest()
    assert more_inputs.text_audio is inputs.text_audio
    assert more_targets.frequency_visual is targets.frequency_visual


def test_optional_tensors_may_be_missing() -> None:
    inputs, targets = videos()
    bare = ParserInputs(inputs.audio, inputs.visual)
    more, _ = recombined(bare, replace(targets, frequency_audio=None), 1.0, seed=0)
    assert (more.motion, more.prior_audio, more.text_visual) == (None, None, None)


def test_nothing_is_recombined_by_default() -> None:
    inputs, targets = videos()
    unchanged = recombined(inputs, targets, 0.0, seed=0)
    assert unchanged[0] is inputs
    assert unchanged[1] is targets
    assert recombined(inputs, replace(targets, pseudo_audio=None), 0.0, seed=0)[0] is inputs
    shares = {name: recipe_for(name, {}).recombined for name in METHODS}
    assert {name: share for name, share in shares.items() if share} == {"link_plus": 1.0}


def test_a_whole_round_uses_every_audio_and_every_picture_once() -> None:
    everywhere = torch.ones(50, dtype=torch.bool)
    audio, visual = draw_pairs(everywhere, everywhere, 50, seed=3)
    assert sorted(audio.tolist()) == sorted(visual.tolist()) == list(range(50))
    assert (audio != visual).all()
    audio, visual = draw_pairs(everywhere, everywhere, 120, seed=3)
    assert audio.bincount().max() <= 3
    assert visual.bincount().min() >= 2


def test_pairs_without_a_label_are_not_used_but_replaced() -> None:
    heard, seen = torch.zeros(40, dtype=torch.bool), torch.zeros(40, dtype=torch.bool)
    heard[3], seen[5] = True, True
    audio, visual = draw_pairs(heard, seen, 60, seed=0)
    assert len(audio) == 60
    assert ((audio == 3) != (visual == 5)).any()
    assert ((audio == 3) | (visual == 5)).all()


def test_pairs_depend_on_the_seed_alone() -> None:
    inputs, targets = videos()
    torch.manual_seed(1)
    one = recombined(inputs, targets, 1.0, seed=7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    same = recombined(inputs, targets, 1.0, seed=7)
    assert (torch.get_rng_state() == state).all()
    other = recombined(inputs, targets, 1.0, seed=8)
    assert one[0].digest() == same[0].digest()
    assert one[1].digest() == same[1].digest()
    assert one[0].digest() != other[0].digest()


def test_videos_that_cannot_be_recombined_are_refused() -> None:
    inputs, targets = videos(labelled=0.0)
    with pytest.raises(PipelineError, match="none of the 6 training videos can be recombined"):
        recombined(inputs, targets, 1.0, seed=0)
    inputs, targets = videos(labelled=1.0)
    one = torch.tensor([0])
    with pytest.raises(PipelineError, match="none of the 1 training videos can be recombined"):
        recombined(inputs.take(one), targets.take(one), 1.0, seed=0)


def test_methods_without_pseudo_labels_refuse_it() -> None:
    assert recipe_for("valorpp", {"recombined": "1"}).recombined == 1
    for method in METHODS:
        if not recipe_for(method, {}).uses_pseudo_labels:
            with pytest.raises(
                PipelineError, match=r"recombined is 0\.5; it must be 0, because this method does"
            ):
                recipe_for(method, {"recombined": 0.5})


@pytest.mark.parametrize(("value", "message"), [(-1, "greater than or equal to 0"), ("inf", "")])
def test_impossible_shares_are_refused(value: object, message: str) -> None:
    with pytest.raises(PipelineError, match=f"option of link 'recombined' .*{message}"):
        recipe_for("link", {"recombined": value})


def train(seed: int, **options: object) -> Trainer:
    recipe = recipe_for("valorpp", {**TINY, **options})
    dataset = make_dataset(make_world(), train=32, evaluated=4)
    return Trainer(TrainingJob("valorpp", recipe, dataset, seed, torch.device("cpu")))


def test_training_sees_recombined_videos_of_its_seed_and_resumes(tmp_path: Path) -> None:
    whole, other, plain = train(0, recombined=1.0), train(1, recombined=1.0), train(0)
    assert (len(whole.inputs), len(whole.targets), len(plain.inputs)) == (64, 64, 32)
    assert whole.inputs.digest() != other.inputs.digest()
    whole.run(tmp_path / "whole")
    killed = train(0, recombined=1.0)
    killed.run_epoch(1)
    killed.save(tmp_path / STATE_FILE)
    resumed = train(0, recombined=1.0)
    resumed.run(tmp_path / STATE_FILE)
    for name, weight in whole.checkpoint().weights.items():
        assert (weight == resumed.checkpoint().weights[name]).all(), name
