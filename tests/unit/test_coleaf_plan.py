"""CoLeaF's updates against a slow trainer that takes one video and one class at a time."""

import copy
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from pipeline.parsers.coleaf import CoLeaf
from pipeline.parsers.coleaf_plan import CoLeafPlan, CoLeafPlusPlan
from pipeline.parsers.coleaf_references import Reference, ReferenceOutput
from pipeline.parsers.evidence import EvidenceOutput
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.plan import Batch, Phase
from pipeline.parsers.recipes import CoLeafRecipe
from pipeline.parsers.registry import build_network, build_plan, recipe_for

VIDEOS, SEGMENTS, CLASSES = 6, 3, 4
SMALL = Dimensions(6, 7, 3, 0, 0, SEGMENTS, CLASSES)
SIZES = {"width": 8, "feedforward": 12, "learning_rate": 0.02}
WITHOUT_DROPOUT = {"dropout": 0.0, "visual_dropout": 0.0, "reference_dropout": 0.0}


def small_plan(method: str = "coleaf", **options: object) -> CoLeafPlan:
    """A plan in float64 without dropout, with weights away from their start."""
    torch.manual_seed(0)
    recipe = recipe_for(method, {**SIZES, **WITHOUT_DROPOUT, **options})
    plan = build_plan(method, SMALL, recipe).double().train()
    assert isinstance(plan, CoLeafPlan)
    for module in plan.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for weight in plan.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, dtype=weight.dtype))
        # So that references are sure of some classes and many labels are removed.
        for reference in (plan.audio_reference, plan.visual_reference):
            reference.probability.weight *= 4
        plan.ratios.fill_(0.7)
    return plan


def random_batches(epochs: Sequence[int], batches: int, pseudo: bool = False) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def bits(*shape: int, share: float) -> Tensor:
        return (torch.rand(*shape, generator=generator) < share).double()

    made = []
    for epoch in epochs:
        for index in range(batches):
            videos = VIDEOS - index
            visual = normal(videos, SEGMENTS, 2, 7)
            inputs = ParserInputs(normal(videos, SEGMENTS, 6), visual, normal(videos, SEGMENTS, 3))
            weak = bits(videos, CLASSES, share=0.6)
            labels = [bits(videos, SEGMENTS, CLASSES, share=0.3) * weak[:, None] for _ in "av"]
            targets = ParserTargets(weak, *(labels if pseudo else ()))
            made.append(Batch(inputs, targets, epoch, index))
    return made


def training_phase(plan: CoLeafPlan) -> Phase:
    return plan.phases()[-1]


def adam(module: nn.Module, recipe: CoLeafRecipe) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=recipe.learning_rate)


def trained(plan: CoLeafPlan, batches: list[Batch]) -> Iterator[dict[str, float]]:
    """Drive a plan as the trainer does; give the terms of each batch."""
    phase = training_phase(plan)
    optimisers = {
        name: adam(plan.get_submodule(part), plan.recipe) for name, part in phase.optimised.items()
    }
    for batch in batches:
        terms: dict[str, float] = {}
        for update in plan.steps(phase, batch):
            assert not set(terms) & set(update.terms)
            terms |= {name: term.item() for name, term in update.terms.items()}
            optimisers[update.optimiser].zero_grad()
            torch.stack(list(update.terms.values())).sum().backward()
            optimisers[update.optimiser].step()
        yield terms


# ---- The slow trainer: every sum is a loop. ----


def clamped(value: Tensor) -> Tensor:
    return value.clamp(1e-7, 1 - 1e-7)


def entropy(p: Tensor, y: Tensor | float) -> Tensor:
    return -(y * clamped(p).log() + (1 - y) * (1 - clamped(p)).log())


def mean_entropy(p: Tensor, y: Tensor) -> Tensor:
    pairs = zip(p.flatten(), y.flatten(), strict=True)
    return torch.stack([entropy(one, label) for one, label in pairs]).mean()


def asymmetric(p: Tensor, y: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for one, label in zip(p.flatten(), y.flatten(), strict=True):
        q = (1 - one + 0.05).clamp(max=1)
        focus = 1 - (label * one + (1 - label) * q).detach()
        total = total - focus * (label * one.log() + (1 - label) * q.log())
    return total


def denoised(p: Tensor, labels: Tensor, positive: Tensor, ratios: Tensor) -> Tensor:
    """JoMoLD's removal; p, labels and positives [B, 2, C]."""
    cleaned = labels.clone()
    for modality in (0, 1):
        other = 1 - modality
        for label in range(CLASSES):
            videos = [v for v in range(len(p)) if positive[v, modality, label]]
            cost = [
                {v: entropy(p[v, m, label], labels[v, m, label]).item() for v in videos}
                for m in (0, 1)
            ]
            number = int(ratios[modality, label].item() * len(videos))
            worst = sorted(videos, key=cost[modality].__getitem__)[len(videos) - number :]
            best = sorted(videos, key=cost[other].__getitem__)[:number]
            for video in set(worst) & set(best):
                cleaned[video, modality, label] = 0
    return cleaned


def contrast(queries: Tensor, keys: Tensor, weights: Tensor | None = None) -> Tensor:
    rows = []
    for video in range(len(queries)):
        for i in range(SEGMENTS):
            query = queries[video, i]
            scores = torch.stack(
                [query @ key / (query.norm() * key.norm()) / 0.2 for key in keys[video]]
            )
            share = scores.exp() / scores.exp().sum()
            mixed = sum(
                share[j] * (0.9 if i == j else 0.1 / (SEGMENTS - 1)) for j in range(SEGMENTS)
            )
            assert isinstance(mixed, Tensor)
            rows.append(-mixed.log() * (1.0 if weights is None else weights[video]))
    return torch.stack(rows).mean()


def mutual(output: EvidenceOutput, weak: Tensor, odd: bool) -> Tensor:
    total = []
    for video in range(len(weak)):
        doubt = output.video_uncertainty[video].clamp(min=0.9)
        for label in range(CLASSES):
            g = clamped(output.video[video, label])
            p = clamped(output.by_modality[video, :, label])
            u = output.uncertainty[video, :, label]
            largest = 0 if p[0] >= p[1] else 1
            q, q_doubt = (p[largest], u[largest]) if weak[video, label] else (p.mean(), u.mean())
            if odd:
                total.append(doubt * (1 - q_doubt) * (g - q.detach()) ** 2)
            else:
                total.append((1 - doubt) * (1 - q_doubt) * (g.detach() - q) ** 2)
    return torch.stack(total).mean()


def relation(p: Tensor, reference: Tensor, y: Tensor, low: float, high: float) -> Tensor:
    p = clamped(p)
    total = torch.zeros((), dtype=torch.float64)
    for video in range(len(p)):
        target = []
        for label in range(CLASSES):
            sure = reference[video, label] <= low or reference[video, label] >= high
            share = y[video, label] if sure else torch.zeros(())
            own = p[video, label].detach()
            target.append(share * reference[video, label] + (1 - share) * own)
        for one in range(CLASSES):
            for other in range(CLASSES):
                own_pair = p[video, one] * p[video, other]
                total = total + (own_pair - target[one] * target[other]) ** 2
    return total / CLASSES * len(p)


def only_share(own: Tensor, other: Tensor) -> Tensor:
    shares = []
    for one, two in zip(own, other, strict=True):
        alone = sum(1 for a, b in zip(one, two, strict=True) if a >= 0.5 and b < 0.5)
        both = sum(1 for a, b in zip(one, two, strict=True) if a >= 0.5 and b >= 0.5)
        shares.append(alone / (alone + both) if alone + both else 0.0)
    return torch.tensor(shares, dtype=torch.float64)


class SlowTrainer:
    def __init__(self, plan: CoLeafPlan) -> None:
        copied = copy.deepcopy(plan)
        self.anchor: CoLeaf = copied.parser
        self.references: list[Reference] = [copied.audio_reference, copied.visual_reference]
        self.ratios = copied.ratios
        networks: list[nn.Module] = [*self.references, self.anchor]
        self.optimisers = [adam(network, plan.recipe) for network in networks]

    def step(self, place: int, terms: list[Tensor]) -> list[float]:
        self.optimisers[place].zero_grad()
        torch.stack(terms).sum().backward()
        self.optimisers[place].step()
        return [term.item() for term in terms]

    def labels(self, batch: Batch) -> Tensor:
        weak = batch.targets.weak
        hard = torch.stack([weak, weak], dim=1)
        return self.cleaned(batch, hard)

    def cleaned(self, batch: Batch, hard: Tensor) -> Tensor:
        labels = torch.stack([hard[:, 0], 0.9 * hard[:, 1] + 0.05], dim=1)
        with torch.no_grad():
            p = self.anchor(batch.inputs, crosses=False).by_modality
        return denoised(p, labels, hard > 0.5, self.ratios) if batch.epoch > 1 else labels

    def run(self, batch: Batch) -> list[float]:
        labels = self.labels(batch)
        with torch.no_grad():
            seen = self.anchor(batch.inputs).by_modality
        found = []
        # Factors on labels, tokens and agreed labels.
        factors = (
            [(1, 1.2, 0), (1, 1, 0)] if batch.epoch <= 3 else [(0.5, 1e-3, 0.5), (0.5, 0, 0.5)]
        )
        for place, threshold in enumerate((0.5, 0.6)):
            output: ReferenceOutput = self.references[place](batch.inputs)
            own = labels[:, place]
            agreed = torch.where(seen[:, place] >= threshold, own, 0.0)
            costs = [
                asymmetric(output.video, own),
                asymmetric(output.tokens, own),
                asymmetric(output.video, agreed),
            ]
            terms = [factor * cost for factor, cost in zip(factors[place], costs, strict=True)]
            found += self.step(place, terms)
        with torch.no_grad():
            opinions = [reference(batch.inputs) for reference in self.references]
        return found + self.step(2, self.anchor_terms(batch, labels, opinions))

    def anchor_terms(
        self, batch: Batch, labels: Tensor, opinions: list[ReferenceOutput]
    ) -> list[Tensor]:
        output = self.anchor(batch.inputs)
        p, features = output.by_modality, (output.audio_features, output.visual_features)
        heard, seen = (opinion.video for opinion in opinions)
        guided = 1.0 if batch.epoch > 1 else 0.0
        terms = [
            2 * mean_entropy(output.video, batch.targets.weak),
            2 * mean_entropy(p[:, 0], labels[:, 0]),
            mean_entropy(p[:, 1], labels[:, 1]),
            contrast(*features),
            mutual(output, batch.targets.weak, batch.index % 2 == 1),
            guided * 1e-4 * relation(p[:, 0], heard, labels[:, 0], 0.1, 0.8),
            guided * 1e-4 * relation(p[:, 1], seen, labels[:, 1], 0.4, 0.6),
            guided * 0.009 * contrast(opinions[0].features, features[0], only_share(heard, seen)),
            guided * contrast(opinions[1].features, features[1], only_share(seen, heard)),
        ]
        return terms


TERMS = [
    *("audio_reference", "audio_reference_tokens", "audio_reference_agreed"),
    *("visual_reference", "visual_reference_tokens", "visual_reference_agreed"),
    *("video", "audio_video", "visual_video", "nce", "mutual"),
    *("audio_relation", "visual_relation", "audio_contrast", "visual_contrast"),
]


def test_all_kinds_of_epochs_equal_the_slow_trainer() -> None:
    """The anchor is guided from epoch 2, and guides from epoch 4; in even and odd batches."""
    plan = small_plan()
    slow, batches = SlowTrainer(plan), random_batches(epochs=(1, 2, 3, 4), batches=2)[1:]
    for batch, terms in zip(batches, trained(plan, batches), strict=True):
        assert list(terms) == TERMS
        expected = dict(zip(TERMS, slow.run(batch), strict=True))
        assert terms == pytest.approx(expected, rel=1e-9, abs=1e-12), (batch.epoch, batch.index)
    networks = (plan.audio_reference, plan.visual_reference, plan.parser)
    for fast, other in zip(networks, [*slow.references, slow.anchor], strict=True):
        for name, weight in fast.state_dict().items():
            torch.testing.assert_close(weight, other.state_dict()[name], rtol=1e-7, atol=1e-8)


def test_the_comparison_reaches_every_rule() -> None:
    """Labels are removed, references are sure and unsure, and videos weigh differently."""
    plan = small_plan()
    removed = 0
    for batch, _ in zip(batches := random_batches((1, 2), 2), trained(plan, batches), strict=True):
        labels = plan.denoised(batch)
        removed += int(((labels == 0) & (plan.parser.labels(batch.targets.weak) > 0.5)).sum())
    assert removed > 2
    videos = [plan.audio_reference(batch.inputs).video, plan.visual_reference(batch.inputs).video]
    sure = [(videos[0] <= 0.1) | (videos[0] >= 0.8), (videos[1] <= 0.4) | (videos[1] >= 0.6)]
    assert all(0 < each.double().mean() < 1 for each in sure)
    shares = only_share(*videos), only_share(*reversed(videos))
    assert all(len(each.unique()) > 1 for each in shares)


def test_every_optimiser_trains_its_own_part() -> None:
    plan = small_plan()
    phase = training_phase(plan)
    assert dict(phase.optimised) == {
        name: name for name in ("parser", "audio_reference", "visual_reference")
    }
    batch = random_batches((4,), 1)[0]
    for update in plan.steps(phase, batch):
        plan.zero_grad()
        torch.stack(list(update.terms.values())).sum().backward()
        touched = {
            name.partition(".")[0] for name, w in plan.named_parameters() if w.grad is not None
        }
        assert touched == {phase.optimised[update.optimiser]}


def test_all_used_parameters_of_the_anchor_learn_and_none_is_unused() -> None:
    plan = small_plan()
    *_, update = plan.steps(training_phase(plan), random_batches((2,), 1)[0])
    torch.stack(list(update.terms.values())).sum().backward()
    assert all(weight.grad is not None for weight in plan.parser.parameters())


def test_relations_can_be_the_mean_over_videos() -> None:
    batch = random_batches((2,), 1)[0]
    terms = [
        next(trained(small_plan(relation_sum=kind), [batch])) for kind in ("times_batch", "mean")
    ]
    for name in ("audio_relation", "visual_relation"):
        assert terms[0][name] == pytest.approx(VIDEOS**2 * terms[1][name])


# 5.69 M in the released class, of which 303 129 are unused.
@pytest.mark.parametrize(
    ("dimensions", "parameters"),
    [
        (Dimensions(128, 2048, 512, 0, 0, 10, 25), 5_686_422 - 303_129),
        (Dimensions(768, 768, 512, 0, 0, 10, 25), 5_383_293 - 327_680),
        (Dimensions(768, 768, 0, 0, 0, 10, 25), 5_383_293 - 1_115_136),
    ],
)
def test_anchor_has_the_released_number_of_used_parameters(
    dimensions: Dimensions, parameters: int
) -> None:
    assert build_network("coleaf", dimensions, CoLeafRecipe()).parameter_count() == parameters


# ---- CoLeaF+ ----


class SlowPlusTrainer(SlowTrainer):
    def __init__(self, plan: CoLeafPlan, reading: str) -> None:
        super().__init__(plan)
        self.reading = reading

    def labels(self, batch: Batch) -> Tensor:
        if self.reading == "segment":
            return super().labels(batch)
        pseudo = batch.targets.pseudo
        hard = torch.zeros(len(batch.inputs), 2, CLASSES, dtype=torch.float64)
        for video, modality, label in torch.cartesian_prod(
            torch.arange(len(hard)), torch.arange(2), torch.arange(CLASSES)
        ):
            if any(pseudo[modality][video, t, label] for t in range(SEGMENTS)):
                hard[video, modality, label] = 1
        return self.cleaned(batch, hard)

    def anchor_terms(
        self, batch: Batch, labels: Tensor, opinions: list[ReferenceOutput]
    ) -> list[Tensor]:
        terms = super().anchor_terms(batch, labels, opinions)
        if self.reading != "video":
            segments = self.anchor(batch.inputs).prediction().segments
            for modality in (0, 1):
                pseudo = batch.targets.pseudo[modality]
                terms.append(mean_entropy(segments[:, :, modality], pseudo))
        return terms


@pytest.mark.parametrize("reading", ["video", "segment", "both"])
def test_plus_equals_the_slow_trainer(reading: str) -> None:
    plan = small_plan("coleaf_plus", pseudo_labels=reading)
    assert isinstance(plan, CoLeafPlusPlan)
    assert plan.recipe.uses_pseudo_labels
    slow, batches = SlowPlusTrainer(plan, reading), random_batches((1, 2), 1, pseudo=True)
    names = TERMS if reading == "video" else [*TERMS, "audio_segment", "visual_segment"]
    for batch, terms in zip(batches, trained(plan, batches), strict=True):
        expected = dict(zip(names, slow.run(batch), strict=True))
        assert terms == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_plus_estimates_noise_among_its_own_labels() -> None:
    plan = small_plan("coleaf_plus")
    batch = random_batches((1,), 1, pseudo=True)[0]
    first = plan.phases()[0]
    terms = dict(next(iter(plan.steps(first, batch))).terms)
    output = plan.estimator(batch.inputs)
    heard = batch.targets.pseudo[0].amax(dim=1)
    torch.testing.assert_close(terms["audio_video"], mean_entropy(output.audio_video, heard))


def test_plus_needs_pseudo_labels_and_coleaf_does_not() -> None:
    assert not CoLeafRecipe().uses_pseudo_labels
    with pytest.raises(ValueError, match="needs segment pseudo-labels"):
        next(trained(small_plan("coleaf_plus"), random_batches((1,), 1)))
