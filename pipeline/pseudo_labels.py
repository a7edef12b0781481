"""Segment pseudo-labels: what CLIP sees and CLAP hears in each second, by its likeness to captions.

A segment's logit of a class is ``exp(logit_scale) * cosine(segment, caption)``; it gets the label
when the logit is strictly above the class's threshold. Unmasked labels are that and nothing more;
they are all a new video can have. Masked labels are besides restricted to the video's weak label;
they are only fit as training targets and for measuring, since the weak label of a video to parse
is unknown. Source: VALOR (Lai et al., NeurIPS 2023); unmasked labels: LINK (arXiv 2412.20872).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.annotations import (
    EVENT_TABLES,
    SCORED_SPLITS,
    SPLIT_TABLES,
    Labels,
    events_to_segments,
    read_events,
    read_weak_labels,
    weak_matrix,
)
from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate_arrays
from pipeline.files import fingerprint, write_json, write_tsv
from pipeline.store import LABELS_FILE, PROMPTS_FILE, Shard, read_array, read_shard, write_shard
from pipeline.vocabulary import MODALITIES, Vocabulary

logger = logging.getLogger(__name__)

# Raised whenever the same features may get other labels.
LABELS_VERSION = 3

ThresholdKind = Literal["fixed", "calibrated"]


@dataclass(frozen=True)
class Thresholds:
    """Logits above which a segment gets a label, per modality (0 audio, 1 visual) and class.

    Attributes
    ----------
    unmasked, masked : ``[2, C]``
        For unmasked and for masked labels.
    """

    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]


@dataclass(frozen=True)
class Videos:
    """The videos that have features of both encoders, and what is known of them.

    Attributes
    ----------
    names
        N names, sorted.
    logits : ``[2, N, T, C]``
        Audio, then visual.
    weak : ``[N, C]``
        Weak labels of each video's split.
    rows
        Split to the rows of its videos.
    """

    names: tuple[str, ...]
    logits: NDArray[np.float32]
    weak: Labels
    rows: Mapping[str, NDArray[np.int64]]


def read_logits(encoder: str, folder: Path, vocabulary: Vocabulary) -> Shard:
    """Compare an encoder's cached segments with its captions.

    Parameters
    ----------
    encoder
        ``clip`` or ``clap``, which the features must be of.
    folder
        Has ``K-of-N.safetensors`` with ``embedding [N, T, D]`` and ``prompts.safetensors`` with
        ``text [C, D]``, both L2-normalised, and ``logit_scale`` (exponentiated) in its header.
    vocabulary
        The classes that the prompts must be of.

    Returns
    -------
    Shard
        ``logits [N, T, C]`` float32, in ``[-logit_scale, logit_scale]``; the shards' meta.

    Raises
    ------
    PipelineError
        A file is missing, the shards were made differently or hold no video, they are of another
        encoder, or the prompts are of other classes or belong to other features.
    """
    prompts = read_shard(folder / PROMPTS_FILE)
    if prompts.names != vocabulary.names:
        raise PipelineError(
            f"the prompts in '{folder}' are of {len(prompts.names)} classes that differ from the "
            f"vocabulary's {len(vocabulary)}; run the prompts stage with this vocabulary."
        )
    text = float(prompts.meta["logit_scale"]) * prompts["text"].T
    joined = read_array(folder, "embedding")
    if joined.meta["encoder"] != encoder:
        raise PipelineError(
            f"'{folder}' has features of {joined.meta['encoder']}; give a folder of {encoder}'s."
        )
    if joined.meta["fingerprint"] != prompts.meta["fingerprint"]:
        raise PipelineError(
            f"in '{folder}' the features ({joined.meta['fingerprint']}) and the prompts "
            f"({prompts.meta['fingerprint']}) were made differently; run the prompts stage again."
        )
    if not joined.names:
        raise PipelineError(f"no shard in '{folder}' holds a video; see its status tables.")
    return Shard(joined.names, {"logits": joined["embedding"] @ text}, joined.meta)


def gather_videos(
    clip: Shard, clap: Shard, weak_labels: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> Videos:
    """Join both encoders' logits with the weak labels.

    Parameters
    ----------
    clip, clap
        ``logits [N, T, C]`` of each encoder; videos that only one of them kept are left out.
    weak_labels
        Split to video name to class indices.

    Raises
    ------
    PipelineError
        No video is in both, they disagree on T, or a video is in no split.
    """
    names = tuple(sorted(set(clip.names) & set(clap.names)))
    if not names:
        raise PipelineError("no video has both CLIP and CLAP features; see their status tables.")
    audio, visual = clap.select(names)["logits"], clip.select(names)["logits"]
    if audio.shape != visual.shape:
        raise PipelineError(
            f"CLAP has {audio.shape[1]} segments a video and CLIP {visual.shape[1]}; "
            "run both on the same segments."
        )
    splits = {name: split for split, labels in weak_labels.items() for name in labels}
    known = {name: indices for labels in weak_labels.values() for name, indices in labels.items()}
    weak = weak_matrix(known, names, audio.shape[2])
    rows = {
        split: np.array([row for row, name in enumerate(names) if splits[name] == split], np.int64)
        for split in weak_labels
    }
    return Videos(names, np.stack([audio, visual]), weak, rows)


def best_threshold(logits: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the threshold with the highest F1 of ``logits > threshold``.

    Equal logits always fall on the same side. Of thresholds with the same F1 the highest is
    taken, and it lies midway between the two logits that it separates.

    Parameters
    ----------
    logits, truth : ``[M]``
        Logits of some segments, and whether each is positive (not 0); at least one is.
    """
    order = np.argsort(-logits, kind="stable")
    ranked = logits[order].astype(np.float64)
    hits = np.cumsum(truth[order] != 0)
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    below = np.append(ranked[1:], ranked[-1] - 1)
    last = int(np.argmax(np.where(ranked > below, f1, -1)))
    return float(ranked[last] + below[last]) / 2


def fixed_thresholds(vocabulary: Vocabulary) -> Thresholds:
    """Return the vocabulary's thresholds, for unmasked and masked labels alike (as VALOR)."""
    fixed = np.array([vocabulary.thresholds(modality) for modality in MODALITIES], np.float64)
    return Thresholds(unmasked=fixed, masked=fixed)


def calibrated_thresholds(
    logits: NDArray[Any], truth: NDArray[Any], weak: NDArray[Any], vocabulary: Vocabulary
) -> Thresholds:
    """Choose each class's thresholds by segment-level F1 on validation videos.

    Unmasked labels are calibrated on all videos, masked labels on those whose weak label has the
    class. A class is frequent in the latter and rare among all, so the two thresholds are far
    apart: with one for both, masked labels would miss most events. Masked labels are therefore
    not always a subset of unmasked ones.

    A class without positive segments gets the highest logit of all as unmasked threshold, which
    keeps it silent there, and the vocabulary's as masked threshold.

    Parameters
    ----------
    logits, truth : ``[2, N, T, C]``
        Of validation videos; audio, then visual.
    weak : ``[N, C]``
        Their weak labels.
    vocabulary
        The classes.

    Raises
    ------
    PipelineError
        There is no validation video.
    """
    if not len(weak):
        raise PipelineError(
            "calibrated thresholds need validation videos with features; use fixed thresholds."
        )
    fixed = fixed_thresholds(vocabulary).masked
    unmasked, masked = np.empty_like(fixed), np.empty_like(fixed)
    for modality, index in np.ndindex(fixed.shape):
        of_class = logits[modality, :, :, index]
        positive = truth[modality, :, :, index]
        labelled = weak[:, index] != 0
        unmasked[modality, index] = (
            best_threshold(of_class.ravel(), positive.ravel()) if positive.any() else of_class.max()
        )
        masked[modality, index] = (
            best_threshold(of_class[labelled].ravel(), positive[labelled].ravel())
            if positive[labelled].any()
            else fixed[modality, index]
        )
    return Thresholds(unmasked, masked)


def label(videos: Videos, thresholds: Thresholds) -> tuple[Labels, Labels]:
    """Return unmasked and masked labels, each ``[2, N, T, C]`` of 0 and 1."""
    unmasked = videos.logits > thresholds.unmasked[:, None, None]
    masked = (videos.logits > thresholds.masked[:, None, None]) & (videos.weak[:, None] > 0)
    return unmasked.astype(np.uint8), masked.astype(np.uint8)


def soften(logits: NDArray[np.float32], thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return σ(logit - threshold), in [0, 1]: how sure a label is, where 0.5 is undecided.

    Source: UWAV (Lai et al., CVPR 2025), with CLIP's and CLAP's logits in place of its own
    temporal network's. A weak label still has to mask it.

    Parameters
    ----------
    logits : ``[..., C]``
        Of segments.
    thresholds : ``[C]``
        Of masked labels.
    """
    # As a tanh, which does not overflow where a logit is far below its threshold.
    soft: NDArray[np.float32] = (0.5 + 0.5 * np.tanh((logits - thresholds) / 2)).astype(np.float32)
    return soft


def labels_fingerprint(
    vocabulary: Vocabulary, thresholds: NDArray[np.float64], encoders: Mapping[str, str]
) -> str:
    """Return what names unmasked labels: a hash of all that they are made of.

    They are the vocabulary's captions, the thresholds ``[2, C]``, and the fingerprints of the
    features of ``clip`` and ``clap``. Hundredths of a threshold count: on another machine the same
    features move a calibrated one by less.
    """
    return fingerprint(
        {
            "version": LABELS_VERSION,
            "captions": [vocabulary.captions(modality) for modality in MODALITIES],
            "thresholds": (np.round(thresholds, 2) + 0.0).tolist(),  # 0.0 for -0.0
            "encoders": dict(encoders),
        }
    )


def make_pseudo_labels(
    clip: Path,
    clap: Path,
    annotations: Path,
    vocabulary: Vocabulary,
    kind: ThresholdKind,
    out: Path,
) -> None:
    """Label every video that both encoders have features of; the ``pseudo-labels`` stage.

    Writes ``labels.safetensors`` (``{modality}_logits`` and ``{modality}_soft`` float32, the
    latter by the thresholds of masked labels but not masked; ``{modality}`` and
    ``{modality}_masked`` uint8; all ``[N, T, C]``, videos sorted by name; ``fingerprint`` in its
    meta, see ``labels_fingerprint``), ``thresholds.tsv`` and ``quality.json`` (split to
    ``unmasked`` and ``masked`` to an evaluation; a split without videos is left out).

    Parameters
    ----------
    clip, clap
        Feature folders, see ``read_logits``.
    annotations
        Folder of LLP's tables.
    vocabulary
        The classes.
    kind
        ``fixed``: the vocabulary's thresholds; ``calibrated``: see ``calibrated_thresholds``.
    out
        Folder to write.

    Raises
    ------
    PipelineError
        An input is missing or does not fit the others.
    """
    shards = {
        encoder: read_logits(encoder, folder, vocabulary)
        for encoder, folder in (("clip", clip), ("clap", clap))
    }
    weak_labels = {
        split: read_weak_labels(annotations / table, vocabulary)
        for split, table in SPLIT_TABLES.items()
    }
    videos = gather_videos(shards["clip"], shards["clap"], weak_labels)
    truth = {split: _truth(annotations, videos, split, vocabulary) for split in SCORED_SPLITS}
    if kind == "calibrated":
        val = videos.rows["val"]
        thresholds = calibrated_thresholds(
            videos.logits[:, val], truth["val"], videos.weak[val], vocabulary
        )
    else:
        thresholds = fixed_thresholds(vocabulary)
    unmasked, masked = label(videos, thresholds)

    encoders = {key: shard.meta["fingerprint"] for key, shard in shards.items()}
    meta = {"version": str(LABELS_VERSION), "thresholds": kind, **encoders}
    meta["fingerprint"] = labels_fingerprint(vocabulary, thresholds.unmasked, encoders)
    arrays = _label_arrays(videos, thresholds, unmasked, masked)
    write_shard(out / LABELS_FILE, Shard(videos.names, arrays, meta))
    write_thresholds(out / "thresholds.tsv", thresholds, vocabulary)
    quality = {
        split: _quality(split, videos, truth[split], unmasked, masked, vocabulary)
        for split in SCORED_SPLITS
        if len(videos.rows[split])
    }
    write_json(out / "quality.json", quality)


def _label_arrays(
    videos: Videos, thresholds: Thresholds, unmasked: Labels, masked: Labels
) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for index, modality in enumerate(MODALITIES):
        arrays[f"{modality}_logits"] = videos.logits[index]
        arrays[f"{modality}_soft"] = soften(videos.logits[index], thresholds.masked[index])
        arrays[modality], arrays[f"{modality}_masked"] = unmasked[index], masked[index]
    return arrays


def write_thresholds(path: Path, thresholds: Thresholds, vocabulary: Vocabulary) -> None:
    """Write a row a class: ``class``, then ``audio``, ``visual`` and the same of masked labels."""
    columns = np.concatenate([thresholds.unmasked, thresholds.masked]).T.tolist()
    names = [*MODALITIES, *(f"{modality}_masked" for modality in MODALITIES)]
    rows = ([name, *row] for name, row in zip(vocabulary.names, columns, strict=True))
    write_tsv(path, ["class", *names], rows)


def _truth(annotations: Path, videos: Videos, split: str, vocabulary: Vocabulary) -> Labels:
    names = [videos.names[row] for row in videos.rows[split]]
    segments, class_count = videos.logits.shape[2:]
    return np.stack(
        [
            events_to_segments(
                read_events(annotations / table, vocabulary), names, segments, class_count
            )
            for table in EVENT_TABLES.values()
        ]
    )


def _quality(
    split: str,
    videos: Videos,
    truth: Labels,
    unmasked: Labels,
    masked: Labels,
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    rows = videos.rows[split]
    names = [videos.names[row] for row in rows]
    quality = {
        kind: evaluate_arrays(split, names, truth, labels[:, rows], vocabulary)
        for kind, labels in (("unmasked", unmasked), ("masked", masked))
    }
    for kind, evaluation in quality.items():
        segment = evaluation["metrics"]["segment"]
        logger.info(
            "%s, %d videos, %s labels: segment Type@AV %.1f, Event@AV %.1f",
            *(split, len(names), kind, segment["type"], segment["event"]),
        )
    return quality
