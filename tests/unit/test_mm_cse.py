"""MM-CSE against its equations written out with loops, one linear layer per class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import make_dataset, make_world
from torch import Tensor, nn
from torch.nn import functional

from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.mm_cse import FgseLayer, MmCse, MmCseOutput
from pipeline.parsers.recipes import MmCseRecipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.dataset import EvaluationVideos
from pipeline.training.states import STATE_FILE
from pipeline.training.trainer import Trainer, TrainingJob

B, T, C, D, E, HEADS = 2, 3, 4, 6, 8, 2
SMALL = {"width": D, "class_width": E, "heads": HEADS, "feedforward": 5, "layers": 2}
KEEP = 0.9


def parser(motion: int = 0, **changes: object) -> MmCse:
    torch.manual_seed(0)
    made = build_network(
        "mm_cse", Dimensions(5, 7, motion, 0, 0, T, C), recipe_for("mm_cse", {**SMALL, **changes})
    )
    assert isinstance(made, MmCse)
    return made.double()


def inputs(motion: int = 0) -> ParserInputs:
    torch.manual_seed(1)
    audio, visual = torch.randn(B, T, 5).double(), torch.randn(B, T, 7).double()
    return ParserInputs(audio, visual, torch.randn(B, T, motion).double() if motion else None)


def targets() -> ParserTargets:
    torch.manual_seed(2)
    weak = (torch.rand(B, C) < 0.7).double()
    audio, visual = ((torch.rand(B, T, C) < 0.6).double() * weak[:, None] for _ in range(2))
    return ParserTargets(weak, audio, visual)


class Reference:
    """The released network's equations, for one video at a time; ``keep`` replaces dropout."""

    def __init__(self, made: MmCse, keep: float) -> None:
        self.w = dict(made.named_parameters())
        self.keep = keep

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def projected(self, audio: Tensor, visual: Tensor, motion: Tensor | None) -> list[Tensor]:
        x = self.linear("projection.visual", visual)
        if motion is not None:
            both = torch.cat([x, self.linear("projection.motion", motion)], dim=-1)
            x = self.linear("projection.fusion", both)
        return [self.linear("projection.audio", audio), x]

    def part(self, modality: str, k: int, x: Tensor) -> Tensor:
        """The feature [E] of class k (or the background, k = C) of one segment [D]."""
        name, rows = f"{modality}_decoupling", slice(k * E, (k + 1) * E)
        weight, bias = self.w[f"{name}.first.weight"][rows], self.w[f"{name}.first.bias"][rows]
        feature = torch.relu(weight @ torch.relu(x) + bias)
        if modality == "visual":
            second = self.w[f"{name}.second.weight"][k], self.w[f"{name}.second.bias"][k]
            feature = torch.relu(second[0] @ (feature * self.keep) + second[1])
        return feature

    def merged(self, modality: str, x: Tensor, parts: list[Tensor]) -> Tensor:
        """The class features [C, E] that enter FGSE."""
        name = f"{modality}_decoupling"
        hidden = torch.relu(self.linear(f"{name}.gate.1", torch.relu(x))) * self.keep
        alpha = torch.sigmoid(self.linear(f"{name}.gate.4", hidden))
        rows = []
        for feature in parts[:-1]:
            pair = torch.cat([alpha * feature, (1 - alpha) * parts[-1]])
            rows.append(torch.relu(self.linear(f"{name}.merge", pair)))
        return torch.stack(rows)

    def attention(self, name: str, query: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Multi-head attention of [C, E] to [C, E], and its mean over heads [C, C]."""
        weight, bias = self.w[f"{name}.in_proj_weight"], self.w[f"{name}.in_proj_bias"]
        q, k, v = (
            x @ weight[i * E : (i + 1) * E].T + bias[i * E : (i + 1) * E]
            for i, x in enumerate((query, other, other))
        )
        size, results, maps = E // HEADS, [], []
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            logits = q[:, own] @ k[:, own].T / size**0.5
            maps.append(torch.softmax(logits, dim=-1) * self.keep)
            results.append(maps[-1] @ v[:, own])
        return self.linear(f"{name}.out_proj", torch.cat(results, dim=1)), torch.stack(maps).mean(
            dim=0
        )

    def semantics(self, local: Tensor, of_video: Tensor) -> Tensor:
        """LGSF of all segments [T, C, E]."""
        result = torch.zeros_like(local)
        for c in range(C):
            video = torch.stack([torch.relu(of_video[t, c]) for t in range(T)]).mean(dim=0)
            for t in range(T):
                own = torch.relu(local[t, c])
                norms = own.norm().clamp(min=1e-8) * video.norm().clamp(min=1e-8)
                result[t, c] = torch.sigmoid(own @ video / norms) * video
        return result

    def layer(self, i: int, q: Tensor, o: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        name = f"layers.{i}"
        own = [self.attention(f"{name}.self_attention", q[t], q[t]) for t in range(T)]
        cross = [self.attention(f"{name}.cross_attention", q[t], o[t]) for t in range(T)]
        s = q + torch.stack([result for result, _ in own])
        i_own = q + self.semantics(self.linear(f"{name}.local", s), self.linear(f"{name}.video", s))
        s = q + torch.stack([result for result, _ in cross])
        i_cross = q + self.semantics(
            self.linear(f"{name}.cross", s), self.linear(f"{name}.cross", o)
        )
        x = self.linear(f"{name}.own_output", i_own) + self.linear(f"{name}.cross_output", i_cross)
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = x * self.w[f"{name}.norm.weight"] + self.w[f"{name}.norm.bias"]
        hidden = torch.relu(self.linear(f"{name}.feedforward.0", x)) * self.keep
        maps = [[m for _, m in own], [m for _, m in cross]]
        return self.linear(f"{name}.feedforward.3", hidden), maps

    def head(self, name: str, streams: list[Tensor]) -> Tensor:
        """Each class's own linear layer: logits [T, 2, C]."""
        logits = torch.zeros(T, 2, C).double()
        for m, stream in enumerate(streams):
            for c in range(C):
                weight, bias = self.w[f"{name}.weight"][c], self.w[f"{name}.bias"][c]
                logits[:, m, c] = (stream[:, c] @ weight.T + bias)[:, 0]
        return logits

    def video(self, *features: Tensor | None) -> dict[str, Tensor]:
        audio, visual, motion = features
        assert audio is not None
        assert visual is not None
        segments = self.projected(audio, visual, motion)
        parts = [
            [[self.part(name, k, x[t]) for k in range(C + 1)] for t in range(T)]
            for name, x in zip(("audio", "visual"), segments, strict=True)
        ]
        streams = [
            torch.stack([self.merged(name, x[t], own[t]) for t in range(T)])
            for name, x, own in zip(("audio", "visual"), segments, parts, strict=True)
        ]
        for i in range(2):
            (a, (aa, av)), (v, (vv, va)) = self.layer(i, *streams), self.layer(i, *streams[::-1])
            streams = [a, v]
        maps = torch.stack(
            [
                torch.stack([torch.stack([aa[t], av[t]]), torch.stack([va[t], vv[t]])])
                for t in range(T)
            ]
        )
        logits = self.head("probability", streams)
        weighted = torch.softmax(self.head("over_time", streams), dim=0) * torch.sigmoid(logits)
        over_modality = torch.softmax(self.head("over_modality", streams), dim=1)
        stacked = [torch.stack([torch.stack(row) for row in own]) for own in parts]
        return {
            "logits": logits,
            "video": (weighted * over_modality).sum(dim=(0, 1)),
            "by_modality": weighted.sum(dim=0),
            "audio_segments": segments[0],
            "visual_segments": segments[1],
            "audio_parts": stacked[0],
            "visual_parts": stacked[1],
            "class_attention": maps,
        }

    def __call__(self, batch: ParserInputs) -> MmCseOutput:
        videos = [
            self.video(a, v, None if batch.motion is None else batch.motion[b])
            for b, (a, v) in enumerate(zip(batch.audio, batch.visual, strict=True))
        ]
        return MmCseOutput(**{key: torch.stack([x[key] for x in videos]) for key in videos[0]})

    def losses(self, output: MmCseOutput, labels: ParserTargets) -> dict[str, Tensor]:
        zero = torch.zeros(()).double()
        video, orthogonal, occurrence, rebuilt = zero, zero, zero, zero
        segment = [zero, zero]
        for b in range(B):
            for c in range(C):
                p, y = output.video[b, c].clamp(1e-7, 1 - 1e-7), labels.weak[b, c]
                video = video - (y * p.log() + (1 - y) * (1 - p).log()) / (B * C)
            for t in range(T):
                for m, pseudo in enumerate(labels.pseudo):
                    for c in range(C):
                        p, y = torch.sigmoid(output.logits[b, t, m, c]), pseudo[b, t, c]
                        term = y * p.log() + (1 - y) * (1 - p).log()
                        segment[m] = segment[m] - term / (B * T * C)
                    for n, others in enumerate(labels.pseudo):
                        for c in range(C):
                            for d in range(C):
                                both = pseudo[b, t, c] * others[b, t, d]
                                error = output.class_attention[b, t, m, n, c, d] - both
                                occurrence = occurrence + error**2 / (B * T * C * C)
                audio, visual = output.audio_parts[b, t], output.visual_parts[b, t]
                for c in range(C):
                    orthogonal = orthogonal + cosine(audio[c], audio[C]) / (B * T * C)
                orthogonal = orthogonal + cosine(visual[:C].mean(dim=0), visual[C]) / (B * T)
                for name, parts, x in (
                    ("audio", audio, output.audio_segments[b, t]),
                    ("visual", visual, output.visual_segments[b, t]),
                ):
                    hidden = torch.relu(self.linear(f"{name}_reconstruction.0", parts.reshape(-1)))
                    again = torch.relu(self.linear(f"{name}_reconstruction.2", hidden))
                    rebuilt = rebuilt + ((again - x) ** 2).sum() / (B * T * D)
        return {
            "video": video,
            "audio_segment": segment[0],
            "visual_segment": segment[1],
            "reconstruction": 0.5 * rebuilt,
            "orthogonality": 0.1 * orthogonal,
            "cooccurrence": 0.1 * occurrence,
        }


def cosine(one: Tensor, other: Tensor) -> Tensor:
    one, other = (x / x.square().sum().sqrt().clamp(min=1e-8) for x in (one, other))
    return torch.dot(one, other)


@pytest.fixture
def scaled_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout multiplies by 1 - p, so that its places and rates can be compared."""

    def scaled(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * (1 - p) if training else x

    monkeypatch.setattr(functional, "dropout", scaled)


@pytest.mark.parametrize("motion", [0, 3])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.usefixtures("scaled_dropout")
def test_outputs_losses_and_gradients_equal_the_equations(motion: int, training: bool) -> None:
    made, batch, labels = parser(motion).train(training), inputs(motion), targets()
    reference = Reference(made, KEEP if training else 1.0)
    output, expected = made(batch), reference(batch)
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(output, name), value, rtol=0, atol=1e-12, msg=name)
    terms, written = made.loss_terms(output, labels), reference.losses(expected, labels)
    assert list(terms) == list(written)
    for name, value in written.items():
        torch.testing.assert_close(terms[name], value, rtol=0, atol=1e-12, msg=name)
    weights = list(made.parameters())
    gradients, slow = (
        torch.autograd.grad(torch.stack(list(each.values())).sum(), weights)
        for each in (terms, written)
    )
    for (name, _), one, other in zip(made.named_parameters(), gradients, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12, msg=name)


# 4.32 M parse with 3-D features and 4.06 M without; both reconstruction networks have 1.84 M.
@pytest.mark.parametrize(
    ("sizes", "parsing"),
    [
        ((768, 768, 512), 4_324_301),
        ((768, 768, 0), 4_061_645),
        ((128, 2048, 512), 4_488_141),
    ],
)
def test_has_the_released_number_of_parameters(sizes: tuple[int, int, int], parsing: int) -> None:
    made = MmCse(Dimensions(*sizes, 0, 0, 10, 25), MmCseRecipe())
    rebuilding = made.audio_reconstruction, made.visual_reconstruction
    extra = sum(weight.numel() for part in rebuilding for weight in part.parameters())
    assert extra == 1_836_032
    assert made.parameter_count() == parsing + extra


def test_parsing_needs_no_reconstruction_network() -> None:
    made, batch = parser().eval(), inputs()
    before = made.predict(batch)
    for part in (made.audio_reconstruction, made.visual_reconstruction):
        for weight in part.parameters():
            nn.init.constant_(weight, float("nan"))
    after = made.predict(batch)
    torch.testing.assert_close(before.segments, after.segments, rtol=0, atol=0)
    torch.testing.assert_close(before.video, after.video, rtol=0, atol=0)
    assert (after.segments.shape, after.by_modality.shape) == ((B, T, 2, C), (B, 2, C))


def test_layers_start_equal_and_their_two_attentions_do_not() -> None:
    first, second = parser().layers
    assert isinstance(first, FgseLayer)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one is not other
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    own, cross = first.self_attention.in_proj_weight, first.cross_attention.in_proj_weight
    assert (own - cross).abs().max() > 0.01


def test_every_class_starts_as_a_linear_layer_of_its_own() -> None:
    """Uniform within 1/sqrt(inputs), the default of ``nn.Linear``, and classes differ."""
    made = MmCse(Dimensions(768, 768, 0, 0, 0, 10, 25), MmCseRecipe())
    decoupling = made.visual_decoupling
    assert decoupling.second is not None
    for part, inputs_of in (
        (decoupling.first.weight.unflatten(0, (26, 128)), 256),
        (decoupling.first.bias.unflatten(0, (26, 128)), 256),
        (decoupling.second.weight, 128),
        (decoupling.second.bias, 128),
        (made.probability.weight, 128),
    ):
        bound = inputs_of**-0.5
        each = part.detach().flatten(1).abs()
        assert (each.amax(dim=1) <= bound).all()
        assert (each.amax(dim=1) > 0.9 * bound).all()
        assert each.std().item() == pytest.approx(bound / 12**0.5, rel=0.1)
        assert (part[0] != part[1]).all()


def test_pseudo_labels_reach_segments_and_cooccurrence_only() -> None:
    made, labels = parser().eval(), targets()
    output = made(inputs())
    before = made.loss_terms(output, labels)
    heard = replace(labels, pseudo_audio=torch.ones(B, T, C).double())
    after = made.loss_terms(output, heard)
    differing = [name for name in before if before[name] != after[name]]
    assert differing == ["audio_segment", "cooccurrence"]


def test_a_fixed_reconstruction_target_gets_no_gradient() -> None:
    norms = []
    for target in ("trained", "fixed"):
        made = parser(reconstruction_target=target).eval()
        output = made(inputs())
        loss = made.loss_terms(output, targets())["reconstruction"]
        (gradient,) = torch.autograd.grad(loss, output.visual_segments, retain_graph=True)
        through, _ = torch.autograd.grad(loss, (output.visual_parts, output.audio_parts))
        (parts,) = torch.autograd.grad(
            (output.visual_parts * through).sum(), output.visual_segments, allow_unused=True
        )
        norms.append((gradient - parts).abs().max())
    assert norms[0] > 1e-4
    assert norms[1] < 1e-12


def test_visual_orthogonality_can_be_that_of_audio() -> None:
    made, other = parser(), parser(visual_orthogonality="classes")
    output = made.eval()(inputs())
    term = other.loss_terms(output, targets())["orthogonality"]
    expected = torch.zeros(()).double()
    for parts in (output.audio_parts, output.visual_parts):
        for segment in parts.flatten(0, 1):
            for c in range(C):
                expected = expected + cosine(segment[c], segment[C]) / (B * T * C)
    torch.testing.assert_close(term, 0.1 * expected)
    assert term != made.loss_terms(output, targets())["orthogonality"]


def test_thirty_two_videos_are_learnt_by_heart(tmp_path: Path) -> None:
    """The reconstruction ends in a ReLU and attention cannot be 0 or 1: both keep a loss."""
    options = {"width": 32, "class_width": 16, "heads": 2, "feedforward": 64, "layers": 1}
    training = {"epochs": 25, "step_epochs": 25, "batch_size": 8, "learning_rate": 5e-3}
    recipe = recipe_for("mm_cse", {**options, **training, "dropout": 0.0})
    dataset = make_dataset(make_world(classes=5), train=32, evaluated=4, recipe=recipe)
    learnt = dataset.train
    audio, visual = (labels.numpy().astype(np.uint8) for labels in learnt.targets.pseudo)
    own = EvaluationVideos("val", learnt.names, learnt.inputs, (audio, visual))
    dataset = replace(dataset, evaluated={**dataset.evaluated, "val": own})
    made = Trainer(TrainingJob("mm_cse", recipe, dataset, 0, torch.device("cpu")))
    made.run(tmp_path / STATE_FILE)
    first, last = made.progress.curve[0], made.progress.curve[-1]
    assert first["val_segment_type"] < 25
    assert made.checkpoint().score > 85
    assert last["video"] + last["audio_segment"] + last["visual_segment"] < 0.15, last


def test_heads_must_divide_the_class_width() -> None:
    with pytest.raises(PipelineError, match="class_width 10 must be a multiple of heads 4"):
        recipe_for("mm_cse", {"class_width": 10, "heads": 4})
