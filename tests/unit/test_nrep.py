"""NREP against its equations written out with loops, and its two phases."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import make_dataset, make_world
from torch import Tensor
from torch.nn import functional

from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.nrep import (
    Nrep,
    NrepModelOutput,
    NrepPlan,
    attention_agreement,
    evidence_probability,
)
from pipeline.parsers.plan import Batch
from pipeline.parsers.recipes import NrepRecipe
from pipeline.parsers.registry import build_plan, recipe_for
from pipeline.training.dataset import EvaluationVideos
from pipeline.training.states import STATE_FILE
from pipeline.training.trainer import Trainer, TrainingJob

B, T, C, D, HEADS = 2, 3, 4, 8, 2
SMALL = {"width": D, "heads": HEADS, "feedforward": 5}
LN2 = math.log(2)


def dimensions(motion: int = 0) -> Dimensions:
    return Dimensions(5, 7, motion, 0, 0, T, C)


def plan(motion: int = 0, **changes: object) -> NrepPlan:
    torch.manual_seed(0)
    made = build_plan("nrep", dimensions(motion), recipe_for("nrep", {**SMALL, **changes}))
    assert isinstance(made, NrepPlan)
    return made.double()


def parser(motion: int = 0, **changes: object) -> Nrep:
    made = plan(motion, **changes).parser
    assert isinstance(made, Nrep)
    return made


def inputs(motion: int = 0, frames: int = 0, seed: int = 1) -> ParserInputs:
    torch.manual_seed(seed)
    shape = (B, T, frames, 7) if frames else (B, T, 7)
    audio, visual = torch.randn(B, T, 5).double(), torch.randn(shape).double()
    return ParserInputs(audio, visual, torch.randn(B, T, motion).double() if motion else None)


def targets(seed: int = 2) -> ParserTargets:
    torch.manual_seed(seed)
    weak = (torch.rand(B, C) < 0.7).double()
    audio, visual = ((torch.rand(B, T, C) < 0.5).double() * weak[:, None] for _ in range(2))
    return ParserTargets(weak, audio, visual)


def elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.exp(x.clamp(max=0)) - 1)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


class Reference:
    """One released network's equations, a video at a time; ``drops`` multiplies by 1 - p."""

    def __init__(self, weights: dict[str, Tensor], drops: bool) -> None:
        self.w = weights
        self.keep, self.visual_keep = (0.9, 0.5) if drops else (1.0, 1.0)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def projected(self, audio: Tensor, visual: Tensor, motion: Tensor | None) -> list[Tensor]:
        x = elu(self.linear("projection.visual", visual))
        if x.ndim == 3:
            x = torch.stack([frames.mean(dim=0) for frames in x])
        if motion is not None:
            both = torch.cat([x, elu(self.linear("projection.motion", motion))], dim=-1)
            x = elu(self.linear("projection.fusion", both))
        return [elu(self.linear("projection.audio", audio)), x]

    def attention(self, name: str, query: Tensor, other: Tensor) -> Tensor:
        weight, bias = self.w[f"{name}.in_proj_weight"], self.w[f"{name}.in_proj_bias"]
        q, k, v = (
            x @ weight[i * D : (i + 1) * D].T + bias[i * D : (i + 1) * D]
            for i, x in enumerate((query, other, other))
        )
        size, results = D // HEADS, []
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            weights = torch.softmax(q[:, own] @ k[:, own].T / size**0.5, dim=-1)
            results.append((weights * self.keep) @ v[:, own])
        return self.linear(f"{name}.out_proj", torch.cat(results, dim=1))

    def norm(self, name: str, x: Tensor) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def encoded(self, q: Tensor, o: Tensor, crosses: bool) -> Tensor:
        name = "encoder.layers.0"
        h = q + self.keep * self.attention(f"{name}.self_attention", q, q)
        if crosses:
            h = h + self.keep * self.attention(f"{name}.cross_attention", q, o)
        h = self.norm(f"{name}.attention_norm", h)
        hidden = self.keep * torch.relu(self.linear(f"{name}.feedforward.0", h))
        h = h + self.keep * self.linear(f"{name}.feedforward.3", hidden)
        return self.norm(f"{name}.output_norm", h)

    def video(self, *features: Tensor | None) -> dict[str, Tensor]:
        audio, visual, motion = features
        assert audio is not None
        assert visual is not None
        x = self.projected(audio, visual, motion)
        intra = [self.encoded(x[0], x[1], False), self.encoded(x[1], x[0], False)]
        inter = [self.encoded(x[0], x[1], True), self.encoded(x[1], x[0], True)]
        mixed = [0.8 * intra[m] + 0.2 * inter[m] for m in range(2)]
        inter[1] = inter[1] * self.visual_keep
        pairs = torch.zeros(T, 2, C, 2).double()
        logits = torch.zeros(T, 2, C, 2).double()
        for m in range(2):
            fore = self.linear("foreground", inter[m])
            back = self.linear("background", intra[1 - m])
            weights = self.linear("attention", inter[m])
            for c in range(C):
                pairs[:, m, c, 0], pairs[:, m, c, 1] = fore[:, c], back[:, c]
                logits[:, m, c, 0], logits[:, m, c, 1] = weights[:, 2 * c], weights[:, 2 * c + 1]
        attention = torch.softmax(logits, dim=0)
        joint = leaky(self.linear("joint_audio", mixed[0]))
        joint = joint + leaky(self.linear("joint_visual", mixed[1]))
        joint_pairs = self.linear("joint_pairs", joint).reshape(T, C, 2)
        joint_attention = self.linear("joint_attention", joint).reshape(T, C, 2).softmax(dim=0)
        return {
            "segment_pairs": pairs,
            "video_pairs": torch.stack([attention[t] * pairs[t] for t in range(T)]).sum(dim=0),
            "joint_segment_pairs": joint_pairs,
            "joint_video_pairs": torch.stack(
                [joint_attention[t] * joint_pairs[t] for t in range(T)]
            ).sum(dim=0),
            "attention": attention,
            "joint_attention": joint_attention,
            "audio_features": mixed[0],
            "visual_features": mixed[1],
        }

    def __call__(self, batch: ParserInputs) -> NrepModelOutput:
        videos = [
            self.video(a, v, None if batch.motion is None else batch.motion[b])
            for b, (a, v) in enumerate(zip(batch.audio, batch.visual, strict=True))
        ]
        return NrepModelOutput(**{key: torch.stack([x[key] for x in videos]) for key in videos[0]})


def cross_entropy(p: Tensor, y: Tensor) -> Tensor:
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p))


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def both_entries(pair: Tensor, y: Tensor) -> Tensor:
    p = torch.softmax(pair, dim=0)
    return cross_entropy(p[0], y) + cross_entropy(p[1], 1 - y)


def written_losses(
    output: NrepModelOutput, labels: ParserTargets, video: tuple[float, float]
) -> dict[str, Tensor]:
    """The losses of one network; ``video`` are the weights of its audio and visual video losses."""
    names = ("audio_segment", "visual_segment", "audio_video", "visual_video")
    terms = {name: torch.zeros(()).double() for name in (*names, "joint", "nce", "attention")}
    pseudo = labels.pseudo
    for b in range(B):
        for c in range(C):
            y = labels.weak[b, c]
            global_loss = both_entries(output.joint_video_pairs[b, c], y)
            terms["joint"] = terms["joint"] + global_loss / (B * C)
            for m, name in enumerate(("audio_video", "visual_video")):
                heard = (pseudo[m][b, :, c].sum() > 0).double()
                loss = both_entries(output.video_pairs[b, m, c], heard)
                terms[name] = terms[name] + video[m] * loss / (B * C)
            for t in range(T):
                shared = pseudo[0][b, t, c] * pseudo[1][b, t, c] * y
                local = both_entries(output.joint_segment_pairs[b, t, c], shared)
                terms["joint"] = terms["joint"] + local / (B * T * C)
                for m, name in enumerate(("audio_segment", "visual_segment")):
                    p = torch.softmax(output.segment_pairs[b, t, m, c], dim=0)[0]
                    loss = cross_entropy(p, pseudo[m][b, t, c])
                    terms[name] = terms[name] + (2, 1)[m] * loss / (B * T * C)
                for sign in range(2):
                    x = output.joint_attention[b, t, c, sign]
                    larger = max(output.attention[b, t, m, c, sign] for m in range(2))
                    negative = torch.log(1 + torch.exp(-larger)) + larger - LN2
                    positive = LN2 - torch.log(1 + torch.exp(-x))
                    distance = (negative - positive) / (B * T * C)
                    terms["attention"] = terms["attention"] + distance
        for i in range(T):
            audio = output.audio_features[b, i]
            likeness = []
            for j in range(T):
                visual = output.visual_features[b, j]
                likeness.append(audio @ visual / (audio.norm() * visual.norm()) / 0.2)
            chances = torch.softmax(torch.stack(likeness), dim=0)
            others = sum(chances[j] for j in range(T) if j != i)
            cost = -torch.log(0.9 * chances[i] + 0.1 / (T - 1) * others)
            terms["nce"] = terms["nce"] + cost / (B * T)
    terms["joint"], terms["attention"] = 0.01 * terms["joint"], 0.01 * terms["attention"]
    return terms


@pytest.fixture
def scaled_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout multiplies by 1 - p, so that its places and rates can be compared."""

    def scaled(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * (1 - p) if training else x

    def attention(
        q: Tensor, k: Tensor, v: Tensor, mask: object, dropout_p: float, causal: bool
    ) -> Tensor:
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
        return torch.matmul((1 - dropout_p) * weights, v)

    monkeypatch.setattr(functional, "dropout", scaled)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)


@pytest.mark.parametrize(("motion", "frames"), [(0, 0), (3, 0), (3, 2)])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.usefixtures("scaled_dropout")
def test_outputs_losses_and_gradients_equal_the_equations(
    motion: int, frames: int, training: bool
) -> None:
    made, batch, labels = parser(motion).train(training), inputs(motion, frames), targets()
    for model, video in ((made.audio_model, (2.0, 1.0)), (made.visual_model, (1.0, 3.0))):
        expected = Reference(dict(model.named_parameters()), drops=training)(batch)
        output = model(batch)
        for name, value in vars(expected).items():
            torch.testing.assert_close(getattr(output, name), value, rtol=0, atol=1e-12, msg=name)
        terms, written = model.loss_terms(output, labels), written_losses(expected, labels, video)
        assert list(terms) == list(written)
        for name, value in written.items():
            torch.testing.assert_close(terms[name], value, rtol=0, atol=1e-12, msg=name)
        gradients = torch.autograd.grad(total(terms), list(model.parameters()))
        slow = torch.autograd.grad(total(written), list(model.parameters()))
        for (name, _), one, other in zip(model.named_parameters(), gradients, slow, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12, msg=name)


# Each network has 4.83 M parameters with 3-D features and 4.04 M without.
@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        ((768, 768, 512), 4_831_432),
        ((768, 768, 0), 4_043_976),
        ((128, 2048, 512), 5_159_112),
    ],
)
def test_each_network_has_the_released_number_of_parameters(
    sizes: tuple[int, int, int], parameters: int
) -> None:
    made = Nrep(Dimensions(*sizes, 0, 0, 10, 25), NrepRecipe())
    assert made.audio_model.parameter_count() == parameters
    assert made.parameter_count() == 2 * parameters


def test_both_networks_start_equal_and_share_no_weight() -> None:
    made = parser()
    for one, other in zip(
        made.audio_model.parameters(), made.visual_model.parameters(), strict=True
    ):
        assert one is not other
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("foreground", "background", "expected"),
    [(0, 0, 1 / 4), (50, -50, 0.99986), (-50, 50, 0.0), (math.log(2), 0, 2 / 5)],
)
def test_evidence_probability(foreground: float, background: float, expected: float) -> None:
    pair = torch.tensor([foreground, background])
    assert evidence_probability(pair).item() == pytest.approx(expected, abs=1e-4)
    if abs(foreground) == 50:  # clamped to 10
        edge = evidence_probability(pair / 5)
        torch.testing.assert_close(evidence_probability(pair), edge, rtol=0, atol=0)


def test_prediction_takes_each_modality_from_its_own_network() -> None:
    made, batch = parser().eval(), inputs()
    with torch.no_grad():
        for weight in made.visual_model.parameters():
            weight.mul_(1.5)
    predicted = made.predict(batch)
    for m, model in enumerate((made.audio_model, made.visual_model)):
        output = model(batch)
        evidence = output.segment_pairs.exp()
        for t in range(T):
            for c in range(C):
                own = evidence[:, t, m, c]
                expected = own[:, 0] / (own[:, 0] + own[:, 1] + 2)
                torch.testing.assert_close(predicted.segments[:, t, m, c], expected)
        pooled = output.video_pairs[:, m].exp()
        torch.testing.assert_close(
            predicted.by_modality[:, m], pooled[..., 0] / (pooled[..., 0] + pooled[..., 1] + 2)
        )
    both = [model(batch).prediction().video for model in (made.audio_model, made.visual_model)]
    torch.testing.assert_close(predicted.video, (both[0] + both[1]) / 2)


def test_attention_agreement_is_zero_only_at_certain_ends() -> None:
    """softplus(Y) + softplus(-X) - 2 ln 2 with X = Y = 0, and its slopes 1/2 and -1/2."""
    joint, modal = torch.zeros(1, 1, 1, 2).double(), torch.zeros(1, 1, 2, 1, 2).double()
    joint.requires_grad_()
    modal.requires_grad_()
    loss = attention_agreement(joint, modal)
    loss.backward()
    assert loss.item() == pytest.approx(0)
    assert joint.grad is not None
    assert joint.grad.flatten().tolist() == [-0.5, -0.5]


def test_phases_train_one_network_after_the_other() -> None:
    phases = plan().phases()
    assert [phase.name for phase in phases] == ["audio", "visual"]
    assert [phase.part for phase in phases] == ["parser.audio_model", "parser.visual_model"]
    assert [phase.selection for phase in phases] == ["segment_audio", "event_event"]
    assert [phase.epochs for phase in phases] == [10, 10]
    assert not any(phase.reseeded for phase in phases)


def test_updates_are_those_of_adam_on_the_phase_s_network_alone() -> None:
    made = plan(dropout=0.0, visual_dropout=0.0)
    for phase, video in zip(made.phases(), ((2.0, 1.0), (1.0, 3.0)), strict=True):
        (part,) = phase.optimised.values()
        model, rest = made.get_submodule(part), copy.deepcopy(made.state_dict())
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-4)
        slow = {
            name: weight.detach().clone().requires_grad_()
            for name, weight in model.named_parameters()
        }
        slow_optimiser = torch.optim.Adam(slow.values(), lr=5e-4)
        for step in range(2):
            batch = Batch(inputs(seed=10 + step), targets(seed=20 + step), 1, step)
            for update in made.steps(phase, batch):
                assert update.optimiser in phase.optimised
                optimiser.zero_grad()
                total(update.terms).backward()
                optimiser.step()
            output = Reference(slow, drops=False)(batch.inputs)
            terms = written_losses(output, batch.targets, video)
            slow_optimiser.zero_grad()
            total(terms).backward()
            slow_optimiser.step()
            # Not weights: Adam turns the rounding noise of gradients that are zero in exact
            # arithmetic into whole steps.
            updated = model(batch.inputs)
            for name, value in vars(Reference(slow, drops=False)(batch.inputs)).items():
                torch.testing.assert_close(getattr(updated, name), value, rtol=0, atol=1e-9)
        for name, weight in made.state_dict().items():
            if not name.startswith(part):
                torch.testing.assert_close(weight, rest[name], rtol=0, atol=0)


def test_loss_of_the_parser_holds_both_networks_terms() -> None:
    made, batch, labels = parser().eval(), inputs(), targets()
    terms = made.loss_terms(made(batch), labels)
    written = made.audio_model.loss_terms(made.audio_model(batch), labels)
    assert len(terms) == 2 * len(written)
    torch.testing.assert_close(terms["audio_model_nce"], written["nce"])


def test_output_in_half_precision_becomes_single_throughout() -> None:
    output = parser().bfloat16()(
        replace(inputs(), audio=inputs().audio.bfloat16(), visual=inputs().visual.bfloat16())
    )
    assert output.audio_model.segment_pairs.dtype is torch.bfloat16
    assert output.float().visual_model.segment_pairs.dtype is torch.float32


TINY = {"width": 64, "heads": 2, "feedforward": 64, "dropout": 0.0, "visual_dropout": 0.0}


def trainer(epochs: int, **changes: object) -> Trainer:
    """Training on 32 videos that are validated with their own pseudo-labels."""
    options = {**TINY, "epochs": epochs, "batch_size": 8, "learning_rate": 1e-2, **changes}
    recipe = recipe_for("nrep", {**options, "step_epochs": epochs})
    dataset = make_dataset(make_world(classes=5), train=32, evaluated=4, recipe=recipe)
    learnt = dataset.train
    audio, visual = (labels.numpy().astype(np.uint8) for labels in learnt.targets.pseudo)
    own = EvaluationVideos("val", learnt.names, learnt.inputs, (audio, visual))
    dataset = replace(dataset, evaluated={**dataset.evaluated, "val": own})
    return Trainer(TrainingJob("nrep", recipe, dataset, 0, torch.device("cpu")))


def test_thirty_two_videos_are_learnt_by_heart(tmp_path: Path) -> None:
    """Each network learns all pseudo-labels; parsing then finds them by its own probabilities.

    The contrastive loss, which 10 equal times of 32 videos cannot satisfy soon, counts less.
    """
    made = trainer(epochs=25, nce_weight=0.1)
    made.run(tmp_path / STATE_FILE)
    curve = made.progress.curve
    assert [row["phase"] for row in curve] == [1.0] * 25 + [2.0] * 25
    names = "audio_segment", "visual_segment", "audio_video", "visual_video"
    for row in (curve[24], curve[-1]):
        assert sum(row[name] for name in names) < 0.2, row
    assert max(row.get("val_segment_audio", 0) for row in curve) > 95
    assert curve[0]["val_segment_type"] < 25
    assert made.checkpoint().score > 85


@pytest.mark.parametrize("epochs_done", [1, 2, 3])
def test_killed_in_either_phase_and_resumed_equals_uninterrupted(
    epochs_done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"width": 8, "feedforward": 8, "dropout": 0.1, "visual_dropout": 0.5}
    whole = trainer(2, **options)
    whole.run(tmp_path / "whole.pt")
    state, run_epoch = tmp_path / STATE_FILE, Trainer.run_epoch
    done: list[int] = []

    def die_after(self: Trainer, number: int) -> None:
        if len(done) == epochs_done:
            raise KeyboardInterrupt
        done.append(number)
        run_epoch(self, number)

    monkeypatch.setattr(Trainer, "run_epoch", die_after)
    with pytest.raises(KeyboardInterrupt):
        trainer(2, **options).run(state, save_every_seconds=0)
    monkeypatch.undo()
    resumed = trainer(2, **options)
    resumed.run(state, save_every_seconds=0)
    assert len(resumed.progress.curve) == 4
    expected = whole.checkpoint().weights
    for name, weight in resumed.checkpoint().weights.items():
        assert torch.equal(weight, expected[name]), name
