"""Which of LINK's options earn their place, on simulated features.

Run from the repository: ``PYTHONPATH=.:tests/unit python tests/benchmarks/study_link.py OUT.csv``
(one thread, some ten minutes); rows that OUT.csv already has are not run again. The table goes to
standard output.

What happens in a video is drawn from LLP's own counts (``pipeline.demo.statistics``: which labels
together, heard, seen or both, when, and how often at the same time); a segment's feature is the
sum of its classes' prototypes plus noise; pseudo-labels come from a noisier view of the same
features, compared with captions that are not quite the prototypes. Networks are small (width 64,
one layer), so the numbers say which choice is better here, not how good LINK is on LLP.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from simulated import Array, Videos, World, assemble, make_world, observe

from pipeline.demo import statistics
from pipeline.demo.scripts import SEGMENTS, VideoScript, write_scripts
from pipeline.metrics import score
from pipeline.parsers.components import link_variants
from pipeline.parsers.registry import recipe_for
from pipeline.prediction import decide, parse_videos
from pipeline.training import Job, Trainer

SEEDS = range(5)
NOISES = (1.0, 1.5)  # of features, relative to one prototype's length
VIEW_NOISE, CAPTION_ERROR = 0.5, 0.5
COUNTS = {"train": 240, "val": 120, "test": 240}
SMALL = {
    "width": 64,
    "layers": 1,
    "heads": 4,
    "feedforward": 128,
    "batch_size": 16,
    "epochs": 16,
    "warmup_epochs": 3,
    "learning_rate": 5e-3,
}
# What "LINK" is in this study, whatever the recipe's defaults have become since.
REFERENCE: dict[str, object] = {
    "encoder": "after",
    "norm": "rms",
    "cmim_alpha": 0.0,
    "train_prior": "unmasked",
    "text_dropout": 0.0,
    "avss_weight": 1.0,
}
COMPONENTS = link_variants()
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "VALOR++": ("valorpp", {}),
    "VALOR++, soft labels": ("valorpp", {"labels": "soft"}),
    "VALOR++, balance 0.5": ("valorpp", {"balance": 0.5}),
    "VALOR++, soft and balance 0.5": ("valorpp", {"labels": "soft", "balance": 0.5}),
    "VALOR++ with LINK's norm and decay": ("link", COMPONENTS["normalised"]),
    "LINK": ("link", {}),
    "LINK, encoder: before": ("link", {"encoder": "before"}),
    "LINK, encoder: none": ("link", {"encoder": "none"}),
    "LINK, norm: layer": ("link", {"norm": "layer"}),
    "LINK, norm: none": ("link", {"norm": "none"}),
    "LINK without TSAM": ("link", COMPONENTS["no_tsam"]),
    "LINK, tsam_residual": ("link", {"tsam_residual": True}),
    "LINK without CMIM": ("link", COMPONENTS["no_cmim"]),
    "LINK, cmim_alpha: 1": ("link", {"cmim_alpha": 1.0}),
    "LINK without PLSIM": ("link", COMPONENTS["no_plsim"]),
    "LINK, train_prior: masked": ("link", {"train_prior": "masked"}),
    "LINK, text_dropout: 0.2": ("link", {"text_dropout": 0.2}),
    "LINK without S-LOSS": ("link", COMPONENTS["no_s_loss"]),
    "LINK without L_label": ("link", {"label_loss": "none"}),
    "LINK without L_avss": ("link", {"avss_weight": 0.0}),
    "LINK, avss_weight: 0.1": ("link", {"avss_weight": 0.1}),
    "LINK, balance 0.5": ("link", {"balance": 0.5}),
    "LINK, encoder: before, without L_avss": ("link", {"encoder": "before", "avss_weight": 0.0}),
}
ALONE = "unmasked pseudo-labels alone"
COLUMNS = ("noise", "seed", "variant", "segment_type", "event_type")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = {row[:3] for row in read_rows(arguments.out)}
    with arguments.out.open("a", newline="") as file:
        writer = csv.writer(file)
        for seed, noise in product(arguments.seeds, NOISES):
            world = make_world(len(statistics.SINGLES), seed, CAPTION_ERROR)
            videos = make_videos(world, seed, noise)
            for variant in (ALONE, *arguments.variants):
                if (str(noise), str(seed), variant) in done:
                    continue
                if variant == ALONE:
                    scores = type_at_av(videos["test"].truth, videos["test"].pseudo)
                else:
                    scores = result(variant, world, videos, seed)
                writer.writerow((noise, seed, variant, *scores))
                file.flush()
    print(table(read_rows(arguments.out)))


def read_rows(path: Path) -> list[tuple[str, ...]]:
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n")
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def make_videos(world: World, seed: int, noise: float) -> dict[str, Videos]:
    """Simulate the three splits."""
    scripts = write_scripts(seed, COUNTS)
    videos = {}
    for number, split in enumerate(COUNTS):
        truth = truth_of([script for script in scripts if script.split == split])
        random = np.random.default_rng([seed, number])
        videos[split] = observe(world, truth, random, noise, VIEW_NOISE)
    return videos


def truth_of(scripts: list[VideoScript]) -> np.ndarray:
    """Return what happens, [2, N, T, C], audio first."""
    classes = list(statistics.SINGLES)
    truth = np.zeros((2, len(scripts), SEGMENTS, len(classes)), np.float32)
    for row, script in enumerate(scripts):
        for event in script.events:
            for index, modality in enumerate(("audio", "visual")):
                for onset, offset in event.runs(modality):
                    truth[index, row, onset:offset, classes.index(event.label)] = 1
    return truth


def result(variant: str, world: World, videos: dict[str, Videos], seed: int) -> tuple[float, float]:
    """Train a variant and return both levels' Type@AV on the test videos, in percent."""
    method, options = VARIANTS[variant]
    reference = REFERENCE if method == "link" else {}
    recipe = recipe_for(method, SMALL | reference | options)
    dataset = assemble(world, videos, recipe)
    trainer = Trainer(Job(method, recipe, dataset, seed, torch.device("cpu")))
    trainer.run(Path("no such state"), save_every_seconds=np.inf)
    test = dataset.evaluated["test"]
    parser = trainer.checkpoint().build()
    return type_at_av(test.truth, decide(parse_videos(parser, test.inputs, recipe), recipe))


def type_at_av(truth: tuple[Array, ...], predicted: tuple[Array, ...]) -> tuple[float, float]:
    metrics = score(*(array.astype(np.uint8) for array in (*truth, *predicted))).metrics()
    return metrics["segment"]["type"], metrics["event"]["type"]


def table(rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table of both levels' Type@AV: mean and standard deviation over seeds, and
    the mean paired difference to LINK with its standard error."""
    scores: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for noise, seed, variant, segment, event in rows:
        scores[variant, noise][seed] = float(segment), float(event)
    titles = [
        f"noise {noise}: {column}"
        for noise in NOISES
        for column in ("segment", "- LINK", "event", "- LINK")
    ]
    lines = [
        " | ".join(("", "variant", "seeds", *titles, "")),
        "|---|---:|" + "---:|" * len(titles),
    ]
    for variant in (ALONE, *VARIANTS):
        seeds = str(len(scores[variant, str(NOISES[-1])]))
        cells = [cell for noise in NOISES for cell in cells_of(scores, variant, str(noise))]
        lines.append(" | ".join(("", variant, seeds, *cells, "")))
    return "\n".join(line.strip() for line in lines)


def cells_of(
    scores: dict[tuple[str, str], dict[str, tuple[float, float]]], variant: str, noise: str
) -> list[str]:
    of_seeds, links = scores[variant, noise], scores["LINK", noise]
    if not of_seeds:
        return [""] * 4
    cells = []
    for level in (0, 1):
        own = [of_seeds[seed][level] for seed in of_seeds]
        differences = [of_seeds[seed][level] - links[seed][level] for seed in of_seeds]
        error = spread(differences) / len(differences) ** 0.5
        cells += [f"{mean(own):.1f} ± {spread(own):.1f}", f"{mean(differences):+.1f} ± {error:.1f}"]
    return cells


def spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
