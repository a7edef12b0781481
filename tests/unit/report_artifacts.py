"""A run's results folder, made up with the project's own writers: what the report reads."""

import csv
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pipeline.core.errors import Status
from pipeline.core.shards import (
    CHECKPOINT_FILE,
    CHECKPOINT_HEADER,
    Shard,
    StatusRow,
    write_shard,
    write_status,
)
from pipeline.core.vocabulary import DEFAULT_PATH, read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, segments_to_events, write_events
from pipeline.evaluation.evaluate import evaluate_arrays
from pipeline.parsers.registry import recipe_for
from pipeline.report.artifacts import ReportInputs

VOCABULARY = read_vocabulary()
SEGMENTS = 10
SIZES = {"train": 60, "val": 12, "test": 24}
PUBLISHED = DEFAULT_PATH.with_name("published.yaml")
# Text that must never become markup: in a video's name, in a reason, in a check row.
HOSTILE = "<img src=x onerror=alert(1)>$x$&"


def write_run(
    root: Path,
    methods: dict[str, float] | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    sizes: dict[str, int] = SIZES,
) -> ReportInputs:
    """Write a run under ``root``; ``methods`` gives each one's share of wrong runs.

    The last video of every split is left out, and has a hostile name in the test split.
    """
    rng = np.random.default_rng(0)
    names = {
        split: [f"{split[:2]}-_{i:07d}_{10 * i}_{10 * i + 10}" for i in range(count)]
        for split, count in sizes.items()
    }
    names["test"][-1] = f"{HOSTILE}_0_10"
    truth = {split: _labels(rng, count) for split, count in sizes.items()}
    _write_annotations(root / "annotations", names, truth)
    kept = {split: range(count - 1) for split, count in sizes.items()}
    _write_pseudo_labels(root / "pseudo_labels", rng, names, truth, kept)
    for method, wrong in (methods or {"valorpp": 0.3, "link": 0.22}).items():
        for seed in seeds:
            folder = root / "models" / method / f"seed{seed}"
            _write_model(folder, np.random.default_rng(seed), names, truth, kept, wrong)
    statuses = _write_statuses(root / "features" / "clap-0123456789", names)
    return ReportInputs(
        models=(root / "models",),
        pseudo_labels=root / "pseudo_labels",
        annotations=root / "annotations",
        statuses=tuple(statuses),
        vocabulary=DEFAULT_PATH,
        published=PUBLISHED,
        check=_write_check(root / "annotations" / "check.tsv"),
        benchmarks=(_write_benchmarks(root / "benchmarks"),),
    )


def _labels(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return truth ``[2, N, T, C]``: one to three events a video, two thirds of them seen too."""
    labels = np.zeros((2, count, SEGMENTS, len(VOCABULARY)), np.uint8)
    for video in range(count):
        for class_index in rng.choice(len(VOCABULARY), rng.integers(1, 4), replace=False):
            onset = int(rng.integers(0, 7))
            offset = onset + int(rng.integers(2, 11 - onset))
            labels[0, video, onset:offset, class_index] = 1
            if rng.random() < 0.67:
                labels[1, video, onset : max(offset - 1, onset + 1), class_index] = 1
    return labels


def _disturbed(rng: np.random.Generator, labels: np.ndarray, wrong: float) -> np.ndarray:
    """Return labels with a share of their events dropped, cut short or given to another class."""
    disturbed = labels.copy()
    for track, video, class_index in np.argwhere(labels.any(axis=2)):
        if rng.random() < wrong:
            other = rng.integers(len(VOCABULARY))
            disturbed[track, video, :, other] |= disturbed[track, video, :, class_index]
            disturbed[track, video, :, class_index] = 0
        elif rng.random() < 2 * wrong:
            disturbed[track, video, int(rng.integers(1, SEGMENTS)) :, class_index] = 0
    return disturbed


def _write_annotations(folder: Path, names: dict[str, list[str]], truth: dict) -> None:
    folder.mkdir(parents=True)
    for split, table in SPLIT_TABLES.items():
        weak = truth[split].any(axis=(0, 2))
        lines = ["filename\tevent_labels"]
        for name, row in zip(names[split], weak, strict=True):
            lines.append(f"{name}\t{','.join(np.array(VOCABULARY.names)[row])}")
        (folder / table).write_text("\n".join(lines) + "\n", encoding="utf-8")
    dense = [split for split in ("val", "test") if split in truth]
    for track, table in enumerate(EVENT_TABLES.values()):
        events = [
            event
            for split in dense
            for event in segments_to_events(truth[split][track], names[split])
        ]
        write_events(folder / table, events, VOCABULARY)


def _write_pseudo_labels(folder: Path, rng, names, truth, kept) -> None:
    labelled = [names[split][i] for split in kept for i in kept[split]]
    true_of = {split: truth[split][:, list(kept[split])] for split in kept}
    disturbed = {split: _disturbed(rng, true, 0.4) for split, true in true_of.items()}
    everything = np.concatenate(list(disturbed.values()), axis=1)
    arrays = {"audio": everything[0], "visual": everything[1]}
    # Logits for which the vocabulary's thresholds are wrong: nothing is above them.
    arrays |= {f"{modality}_logits": arrays[modality] - 50.0 for modality in EVENT_TABLES}
    meta = {"thresholds": "calibrated"}
    write_shard(folder / "labels.safetensors", Shard(tuple(labelled), arrays, meta))
    quality: dict = {}
    for split in ("val", "test"):
        videos = [names[split][i] for i in kept[split]]
        true, labels = true_of[split], disturbed[split]
        masked = labels & true.any(axis=(0, 2))[None, :, None]
        quality[split] = {
            variant: evaluate_arrays(split, videos, true, predicted, VOCABULARY)
            for variant, predicted in (("unmasked", labels), ("masked", masked))
        }
    (folder / "quality.json").write_text(json.dumps(quality))
    lines = ["class\taudio\tvisual\taudio_masked\tvisual_masked"]
    lines += [f"{name}\t3.25\t18\t1.125\t17" for name in VOCABULARY.names]
    (folder / "thresholds.tsv").write_text("\n".join(lines) + "\n")


def _write_model(folder: Path, rng, names, truth, kept, wrong: float) -> None:
    folder.mkdir(parents=True)
    metrics = {}
    for split in ("val", "test"):
        videos = [names[split][i] for i in kept[split]]
        true = truth[split][:, list(kept[split])]
        predicted = _disturbed(rng, true, wrong)
        metrics[split] = evaluate_arrays(split, videos, true, predicted, VOCABULARY)
        for track, modality in enumerate(EVENT_TABLES):
            events = segments_to_events(predicted[track], videos)
            write_events(folder / f"predicted_{split}_{modality}.csv", events, VOCABULARY)
        arrays = _probabilities(predicted)
        if folder.parent.name == "link":  # a segment with an event has the weight 0.75
            has_event = true.any(axis=3).transpose(1, 0, 2)
            arrays["attention"] = (0.25 + 0.5 * has_event).astype(np.float32)
        write_shard(folder / f"probabilities_{split}.safetensors", Shard(tuple(videos), arrays))
    _write_checkpoint(folder)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with (folder / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        header = ["epoch", "lr", "loss", "video", "val_segment_type", "val_event_type", "seconds"]
        writer.writerow(header)
        for epoch in range(1, 31):
            rise = 1 - np.exp(-epoch / 6)
            noise = rng.normal(0, 0.8, 2)
            f1 = (100 * (1 - wrong) * rise + noise[0], 88 * (1 - wrong) * rise + noise[1])
            writer.writerow([epoch, 1e-4, 1.4 * (1.2 - rise), 0.3, *f1, 0.4])


def _probabilities(predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Return probabilities that decide as ``predicted`` at the threshold 0.5, with open gates."""
    rng = np.random.default_rng(0)
    high, low = rng.uniform(0.5, 1, predicted.shape), rng.uniform(0, 0.49, predicted.shape) ** 2
    audio, visual = np.where(predicted, high, low).astype(np.float32)
    gate = np.ones((predicted.shape[1], 2, predicted.shape[3]), np.float32)
    return {"audio": audio, "visual": visual, "gate": gate}


def _write_checkpoint(folder: Path) -> None:
    method, seed = folder.parent.name, int(folder.name.removeprefix("seed"))
    header = {"method": method, "recipe": recipe_for(method, {"width": 64}).model_dump()}
    header |= {"seed": seed, "epoch": 1, "fingerprints": {"clap": "x", "clip": "y"}}
    names = ["audio_cmim.alpha", "audio_cmim.beta", "visual_cmim.alpha", "visual_cmim.beta", "mu"]
    values = zip(names, (0.5, 1.5, -0.25, 1.25, 0.75), strict=True)
    gates = {name: np.array(value, np.float32) for name, value in values}
    weights = gates if method == "link" else {"head.weight": np.zeros(3, np.float32)}
    metadata = {CHECKPOINT_HEADER: json.dumps(header)}
    save_file(weights, folder / CHECKPOINT_FILE, metadata=metadata)


def _write_statuses(folder: Path, names: dict[str, list[str]]) -> list[Path]:
    reasons = {
        "train": (Status.MISSING, "no file of that name is in the folder"),
        "val": (Status.NO_AUDIO_STREAM, "the file has no audio stream"),
        "test": (Status.DECODE_ERROR, HOSTILE),
    }
    rows = []
    for split, videos in names.items():
        rows += [StatusRow(name, True, Status.OK) for name in videos[1:-1]]
        rows.append(StatusRow(videos[0], True, Status.TOO_SHORT, "8.4 s of 10 s; padded"))
        rows.append(StatusRow(videos[-1], False, *reasons[split]))
    paths = [folder / f"{index}-of-2.status.tsv" for index in (1, 2)]
    for index, path in enumerate(paths):
        write_status(path, rows[index::2])
    return paths


def _write_check(path: Path) -> Path:
    rows = [
        "kind\ttable\tfilename\tdetail",
        f"unknown_video\tAVVP_eval_audio.csv\t{HOSTILE}\tin no split",
        "sets_nothing\tAVVP_eval_audio.csv\tabc_0_10\t3 to 3",
        "sets_nothing\tAVVP_eval_audio.csv\tdef_0_10\t0 to 0",
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def _write_benchmarks(folder: Path) -> Path:
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
    jobs = {
        "annotations.tsv": "0.4\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA",
        "segments/1-of-2.tsv": "20.5\t0:00:20\t310.5\t900\t1\t1\t1\t1\t100\t21.5",
        "segments/2-of-2.tsv": "30.0\t0:00:30\t290.0\t900\t1\t1\t1\t1\t100\t31.0",
    }
    for name, row in jobs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{header}\n{row}\n")
    return folder
