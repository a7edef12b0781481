"""Which ingredients of UWAV, MUG and NREP help VALOR++ and LINK, in the worlds of ``study_link``.

Run from the repository, as ``study_link``, whose options it has:
``PYTHONPATH=.:tests/unit:tests/benchmarks python tests/benchmarks/study_ingredients.py OUT.csv
--worlds NAME ... --seeds N ... --variants NAME ...``. A variant is a base and what is added to it,
"LINK + soft + balance"; any such sum of ``INGREDIENTS`` may be asked for. All runs that the docs
report are in ``study_ingredients.csv`` beside this file; with that as OUT.csv only the tables are
printed.
"""

from collections import defaultdict
from dataclasses import replace
from statistics import mean
from typing import Any, cast

import study_link
from pydantic import Field
from study_link import CHOSEN, SCORES, WORLDS, cell
from torch import Tensor, nn

from pipeline.parsers.interface import Dimensions, ParserOutput, ParserTargets
from pipeline.parsers.layers import HanEncoder
from pipeline.parsers.link import Link
from pipeline.parsers.losses import segment_nce
from pipeline.parsers.recipes import LinkRecipe, ValorPlusPlusRecipe
from pipeline.parsers.registry import METHODS, Method
from pipeline.parsers.valor import Valor

# More videos to evaluate than elsewhere, as many as LLP has, so that one seed tells more.
REDUCED = "like LLP, 1,600 videos"
WORLDS[REDUCED] = replace(
    WORLDS["like LLP"],
    train=1600,
    schedule=study_link.MANY | {"batch_size": 32},
    evaluated={"val": 649, "test": 1200},
)

BASES: dict[str, tuple[str, dict[str, object]]] = {
    "VALOR++": ("valorpp", {}),
    # LINK's defaults, with the L_label that the LLP preset sets.
    "LINK": ("link", CHOSEN | {"text_dropout": 0.5, "label_loss": "either"}),
}
INGREDIENTS: dict[str, dict[str, object]] = {
    # UWAV
    "soft": {"labels": "soft"},
    "soft, temperature 1": {"labels": "soft", "temperature": 1.0},
    "soft, temperature 0.5": {"labels": "soft", "temperature": 0.5},
    "balance": {"balance": 0.5},
    "balance 0.25": {"balance": 0.25},
    "balance 0.1": {"balance": 0.1},
    "mixup": {"mixup": 1.7},
    "UWAV's optimiser": {"beta1": 0.9, "weight_decay": 1e-4},
    "wide": {"width": 128, "feedforward": 256},
    "deep": {"layers": 2},
    "16 epochs": {"epochs": 16, "warmup_epochs": 4},
    "32 epochs": {"epochs": 32, "warmup_epochs": 6},
    # MUG
    "recombined 0.5": {"recombined": 0.5},
    "recombined": {"recombined": 1.0},
    "recombined 2": {"recombined": 2.0},
    # NREP
    "nce": {"nce_weight": 1.0},
    "nce 0.1": {"nce_weight": 0.1},
    "intra": {"intra_share": 0.8},
    "visual dropout": {"visual_dropout": 0.5},
    "simultaneous": {"order": "simultaneous"},
    "gate modality": {"gate": "modality"},
    "label pooled, gate modality": {"label_loss": "pooled", "gate": "modality"},
    # Controls
    "slow": {"learning_rate": 2e-3},
    "dropout 0.3": {"dropout": 0.3},
    "segment weight 3": {"segment_weight": 3.0},
    "no norm": {"norm": "none"},
    "no TSAM": {"tsam": False},
    "no CMIM": {"cmim": False},
    "no PLSIM": {"plsim": False},
    "no S-LOSS": {"label_loss": "none", "avss_weight": 0.0},
}


class NrepEncoder(HanEncoder):
    """Mixes the passes without and with cross-modal attention, then drops visual features."""

    def __init__(self, recipe: Any) -> None:
        super().__init__(recipe)
        self.share = recipe.intra_share
        self.drop = nn.Dropout(recipe.visual_dropout)

    def forward(self, audio: Tensor, visual: Tensor, crosses: bool = True) -> tuple[Tensor, Tensor]:
        streams = super().forward(audio, visual, crosses)
        if self.share:
            within = super().forward(audio, visual, crosses=False)
            streams = cast(
                tuple[Tensor, Tensor],
                tuple(
                    self.share * own + (1 - self.share) * mixed
                    for own, mixed in zip(within, streams, strict=True)
                ),
            )
        return streams[0], self.drop(streams[1])


def nrep_terms(output: ParserOutput, recipe: Any) -> dict[str, Tensor]:
    if not recipe.nce_weight:
        return {}
    loss = segment_nce(output.audio_features, output.visual_features)
    return {"nce": recipe.nce_weight * loss}


class NrepValorRecipe(ValorPlusPlusRecipe):
    """VALOR++ with what of NREP can be added to it."""

    nce_weight: float = Field(0.0, description="factor on the contrastive loss")
    intra_share: float = Field(0.0, description="share of the pass without cross-modal attention")
    visual_dropout: float = Field(0.0, description="dropout of the encoder's visual features")


class NrepLinkRecipe(LinkRecipe):
    """LINK with what of NREP can be added to it."""

    nce_weight: float = Field(0.0, description="factor on the contrastive loss")
    intra_share: float = Field(0.0, description="share of the pass without cross-modal attention")
    visual_dropout: float = Field(0.0, description="dropout of the encoder's visual features")


class NrepValor(Valor):
    def __init__(self, dimensions: Dimensions, recipe: NrepValorRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.encoder = NrepEncoder(recipe)

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        return super().loss_terms(output, targets) | nrep_terms(output, self.recipe)


class NrepLink(Link):
    def __init__(self, dimensions: Dimensions, recipe: NrepLinkRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.encoder = NrepEncoder(recipe)

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        return super().loss_terms(output, targets) | nrep_terms(output, self.recipe)


METHODS["valorpp with nrep"] = Method("", NrepValorRecipe, "study_ingredients:NrepValor")
METHODS["link with nrep"] = Method("", NrepLinkRecipe, "study_ingredients:NrepLink")
NREP = {"nce_weight", "intra_share", "visual_dropout"}


class Sums(dict[str, tuple[str, dict[str, object]]]):
    """Sums of a base and ingredients, made when asked for."""

    def __missing__(self, name: str) -> tuple[str, dict[str, object]]:
        base, *added = name.split(" + ")
        method, options = BASES[base]
        for ingredient in added:
            options = options | INGREDIENTS[ingredient]
        if NREP & set(options):
            method = f"{method} with nrep"
        self[name] = method, options
        return self[name]


def main() -> None:
    study_link.VARIANTS = Sums()
    rows = study_link.run()
    for world in dict.fromkeys(row[0] for row in rows):
        print(f"{world}\n\n{table([row for row in rows if row[0] == world])}\n")


def table(rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table of one world: VALOR++'s means, and each variant's mean paired
    difference from it with its standard error, over the seeds that it has."""
    scores: dict[str, list[dict[str, float]]] = defaultdict(lambda: [{} for _ in SCORES])
    for _, seed, variant, *values in rows:
        for column, value in zip(scores[variant], values, strict=True):
            column[seed] = float(value)
    base = scores.pop("VALOR++")
    means = [f"{mean(column.values()):.1f}" for column in base]
    lines = [
        f"| Variant | Seeds | {' | '.join(SCORES)} |",
        "|---|---:|" + "---:|" * len(SCORES),
        f"| VALOR++ itself | {len(base[0])} | {' | '.join(means)} |",
    ]
    for variant, own in scores.items():
        cells = [cell(column, reference) for column, reference in zip(own, base, strict=True)]
        lines.append(f"| {variant} | {len(own[0])} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
