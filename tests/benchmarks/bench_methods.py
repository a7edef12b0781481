"""Scores, CPU time and memory of every method of a run, as a Markdown table.

    python tests/benchmarks/bench_methods.py RUN [--seeds N]

Reads RUN/results/compare/compare.csv and RUN/benchmarks/train_parser/models/*.tsv, which
`snakemake --config preset=demo_methods -- compare` writes. N is the number of seeds that each
training job trained, by which its time is divided (default: 3). The last row is the empty
prediction.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, read_names
from pipeline.evaluation.evaluate import read_labels
from pipeline.evaluation.metrics import score
from pipeline.parsers.registry import METHODS

SCORES = {
    "seg. Type": "segment_type",
    "seg. Event": "segment_event",
    "ev. Type": "event_type",
    "ev. Event": "event_event",
}


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder with results/ and benchmarks/")
    parser.add_argument("--seeds", type=int, default=3, help="seeds per training job")
    arguments = parser.parse_args()
    keys = {method.display_name: key for key, method in METHODS.items()}
    columns = ["Method", *SCORES, "Parameters", "CPU s a seed", "Memory, MB", "Labels"]
    print("| " + " | ".join(columns) + " |")
    print("|---" + "|---:" * (len(columns) - 2) + "|---|")
    for row in rows_of(arguments.run / "results/compare/compare.csv", ","):
        tables = arguments.run / "benchmarks/train_parser/models"
        cost = rows_of(tables / f"{keys[row['method']]}.tsv", "\t")[0]
        cells = [row["method"], *(formatted(row, metric) for metric in SCORES.values())]
        cells += [f"{int(float(row['parameters'])):,}"]
        cells += [f"{float(cost['cpu_time']) / arguments.seeds:.0f}"]
        cells += [f"{float(cost['max_rss']):.0f}", row["labels"]]
        print("| " + " | ".join(cells) + " |")
    empty = ["nothing predicted", *empty_scores(arguments.run), "", "", "", ""]
    print("| " + " | ".join(empty) + " |")


if __name__ == "__main__":
    main()
