"""Standings of the field's methods on simulated scores, for pages and tables with many rows."""

from pathlib import Path

import numpy as np

from pipeline.core.vocabulary import DEFAULT_PATH
from pipeline.report.comparison.leaderboard import board_rows
from pipeline.report.comparison.page import ComparisonTexts, write_compare_page
from pipeline.report.comparison.standings import SCORE_ROWS, Standing, assess_standings
from pipeline.report.published import read_published
from pipeline.report.tables import ResultRow, Score

# Text that must never become markup.
HOSTILE_NAME = "<img src=x onerror=alert(1)>"
WEAK, PSEUDO = "weak labels", "weak labels, segment pseudo-labels"
DENSE = "; also thresholds from validation's dense labels"
# Name, segment-level Type@AV, labels, protocol and selection.
METHODS = (
    ("LINK", 68.1, PSEUDO, "gate g, 0.5", "seg. Type"),
    ("NREP", 68.0, PSEUDO, "gates p, 0.45; segments 0.25", "seg. A, ev. Event"),
    ("UWAV", 67.8, f"{PSEUDO}{DENSE}, UnAV-100's dense labels", "gate g, 0.5", "seg. Type"),
    ("VALOR++", 67.2, PSEUDO, "gate g, 0.5", "seg. Type"),
    ("MM-CSE", 67.0, PSEUDO, "gates g for A, p for V, 0.5", "seg. Type"),
    ("LEAP", 66.8, PSEUDO, "gate max p, 0.5", "seg. Type"),
    ("LEAP (HAN)", 66.1, PSEUDO, "gate max p, 0.5", "seg. Type"),
    ("CoLeaF+", 65.9, PSEUDO, "gates p, 0.52; segments 0.25", "mean of ten"),
    ("VALOR+", 65.0, PSEUDO, "gate g, 0.5", "seg. Type"),
    ("CMPAE", 64.2, f"{WEAK}{DENSE}", "gates p, 0.45; segments 0.25", "mean of ten"),
    ("CoLeaF", 63.9, WEAK, "gates p, 0.52; segments 0.25", "mean of ten"),
    ("JoMoLD", 62.1, WEAK, "gates p, 0.5", "ev. A"),
    ("DG-SCT, temporal part", 58.5, WEAK, "gate g, 0.5", "seg. Type"),
    ("MGN", 58.1, WEAK, "gate g, 0.5", "seg. Type"),
    ("MM-Pyramid", 57.9, WEAK, "gate g, 0.5", "seg. Type"),
    (HOSTILE_NAME, 55.0, WEAK, "gate g, 0.5", "seg. Type"),
)


def simulated_standings(videos: int = 300, seeds: int = 3) -> dict[str, Standing]:
    """Return the standings by name, best first."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 22, (len(SCORE_ROWS), videos))
    standings = [_standing(method, difficulty, seeds, rng) for method in METHODS]
    standings.sort(key=lambda standing: -standing.segment_type)
    return {standing.row.name: standing for standing in standings}


def _standing(method, difficulty: np.ndarray, seeds: int, rng) -> Standing:
    name, percent, labels, protocol, selected_by = method
    metrics, videos = difficulty.shape
    level = percent - np.repeat((0.0, 6.0), metrics // 2)[:, None]
    seed_effect = rng.normal(0, 0.5, (seeds, metrics, 1))
    noise = rng.normal(0, 8, (seeds, metrics, videos))
    scores = np.clip(level + difficulty + seed_effect + noise, 0, 100)
    by_seed = scores.mean(axis=2)
    cells = {level: {} for level, _ in SCORE_ROWS}
    for (level_name, metric), values in zip(SCORE_ROWS, by_seed.T, strict=True):
        cells[level_name][metric] = Score(float(values.mean()), float(values.std(ddof=1)))
    row = ResultRow(
        name,
        "test",
        cells,
        seeds,
        videos,
        videos,
        labels,
        "CLAP, CLIP",
        protocol,
        note="a note" if name == "NREP" else "",
    )
    selected = percent + 1
    best = selected + (0.4 if selected_by != "seg. Type" else 0)
    return Standing(row, scores, int(5e6 * rng.random()), 600.0, selected_by, selected, best)


def write_simulated_page(out: Path, is_llp: bool) -> Path:
    """Write the page of 16 methods, with published results beside or apart from them."""
    standings = simulated_standings()
    published = read_published(DEFAULT_PATH.with_name("published.yaml"))
    works = published if is_llp else ()
    rows = board_rows(standings.values(), assess_standings(standings), works)
    texts = ComparisonTexts("Comparison", "", ["How it was made."], [])
    write_compare_page(rows, works, texts, out)
    return out / "compare.html"
