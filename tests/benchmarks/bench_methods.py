"""Scores, CPU time and memory of every method of a run, as a Markdown table.

    python tests/benchmarks/bench_methods.py RUN

RUN is where `snakemake --config preset=demo_methods -- compare` ran. CPU time is that of the
training job, divided by its epochs and multiplied by those of a seed; it is not shown of a job that
resumed. The last row is the empty prediction.
"""

import argparse
import csv
import re
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, read_names
from pipeline.evaluation.metrics import score
from pipeline.evaluation.tables import read_labels
from pipeline.parsers.registry import METHODS

SCORES = {
    "seg. Type": "segment_type",
    "seg. Event": "segment_event",
    "ev. Type": "event_type",
    "ev. Event": "event_event",
}


# What the column of labels says, shorter.
SHORT = {
    "pseudo-label thresholds from validation's dense labels": "calibrated",
    "thresholds from validation's dense labels": "calibrated",
    "segment pseudo-labels": "pseudo",
    "weak labels": "weak",
    "the teacher's dense labels": "teacher",
    "; also ": ", ",
}


def shortened(labels: str) -> str:
    """Return what a method learns from, in single words."""
    for phrase, word in SHORT.items():
        labels = labels.replace(phrase, word)
    return labels


def rows_of(path: Path, delimiter: str) -> list[dict[str, str]]:
    """Return the rows of a table with a header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def formatted(row: dict[str, str], metric: str) -> str:
    """Return the mean and, if there is one, the standard deviation over seeds."""
    mean, deviation = row[f"{metric}_percent"], row[f"{metric}_std"]
    return f"{float(mean):.1f}" + (f" ± {float(deviation):.1f}" if deviation else "")


def empty_scores(run: Path) -> list[str]:
    """Return the scores on test of predicting nothing."""
    annotations = run / "resources/demo/annotations"
    names = read_names(annotations / SPLIT_TABLES["test"])
    tables = [annotations / table for table in EVENT_TABLES.values()]
    truth = read_labels(tables, names, 10, read_vocabulary())
    nothing = np.zeros_like(truth)
    metrics = score(*truth, *nothing).metrics()
    keys = (name.split("_") for name in SCORES.values())
    return [f"{metrics[level][metric]:.1f}" for level, metric in keys]


def cost(run: Path, method: str) -> tuple[str, str]:
    """Return the CPU seconds of a seed, and the largest resident memory in MB.

    A method that was trained by hand has no benchmark of its job: dashes.
    """
    path = run / f"benchmarks/train_parser/models/{method}.tsv"
    if not path.is_file():
        return "–", "–"
    measured = rows_of(path, "\t")[0]
    log = (run / f"logs/train_parser/models/{method}.log").read_text()
    trained = len(re.findall(r"INFO .* epoch \d+/\d+: lr ", log))
    curve = rows_of(next((run / f"results/models/{method}").glob("seed*/curve.csv")), ",")
    is_whole = trained > 0 and trained % len(curve) == 0
    seconds = float(measured["cpu_time"]) * len(curve) / max(trained, 1)
    return f"{seconds:.0f}" if is_whole else "–", f"{float(measured['max_rss']):.0f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder with results/ and benchmarks/")
    run = parser.parse_args().run
    keys = {method.display_name: key for key, method in METHODS.items()}
    columns = ["Method", *SCORES, "Parameters", "CPU s a seed", "Memory, MB", "Labels"]
    print("| " + " | ".join(columns) + " |")
    print("|---" + "|---:" * (len(columns) - 2) + "|---|")
    for row in rows_of(run / "results/compare/compare.csv", ","):
        seconds, memory = cost(run, keys[row["method"]])
        cells = [row["method"], *(formatted(row, metric) for metric in SCORES.values())]
        cells += [f"{int(float(row['parameters'])):,}"]
        cells += [seconds, memory, shortened(row["labels"])]
        print("| " + " | ".join(cells) + " |")
    empty = ["nothing predicted", *empty_scores(run), "", "", "", ""]
    print("| " + " | ".join(empty) + " |")


if __name__ == "__main__":
    main()
