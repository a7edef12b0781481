"""Segment pseudo-labels from CLIP and CLAP similarity to class captions.

A segment's logit for a class is ``exp(logit_scale) * cosine(segment, caption)``. A segment gets the
label if its logit is strictly above the class's threshold. Unmasked labels apply only this rule, so
new videos can have them. Masked labels are also restricted to the video's weak label, which is
unknown for new videos; they serve only for training and evaluation.
Source: VALOR (Lai et al., NeurIPS 2023); unmasked labels: LINK (arXiv 2412.20872).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint, sha256_of, write_json
from pipeline.core.shards import (
    LABELS_FILE,
    PROMPTS_FILE,
    TEACHER_FILE,
    Shard,
    ShardReader,
    read_array,
    read_shard,
    shard_paths,
    write_shard,
)
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.data.annotations import (
    EVENT_TABLES,
    SCORED_SPLITS,
    SPLIT_TABLES,
    Labels,
    read_names,
    read_splits,
    read_weak_labels,
    weak_matrix,
)
from pipeline.evaluation.tables import read_labels
from pipeline.features.import_options import similarity_array
from pipeline.labels.quality import label_quality
from pipeline.labels.similarity import read_logits
from pipeline.labels.thresholds import (
    LabelThresholds,
    ThresholdKind,
    calibrated_thresholds,
    f1_thresholds,
    finite_thresholds,
    fixed_thresholds,
    write_thresholds,
)
from pipeline.parsers.recipes.base import SOFT_LABEL_TEMPERATURE

logger = logging.getLogger(__name__)

# Increase it when the same features may give other labels.
LABELS_VERSION = 4
# Increase it when the same features may give other unmasked labels, which checkpoints depend on.
UNMASKED_LABELS_VERSION = 3
# Key of the labels' meta: where masked labels were taken from, if they were released.
RELEASED_LABELS = "masked"
# Key of the meta of masked and soft labels that a teacher made: the digest of its checkpoint.
TEACHER_LABELS = "teacher"


@dataclass(frozen=True)
class LabelledVideos:
    """The videos with features of both encoders, their logits and weak labels.

    Attributes
    ----------
    names
        N names, sorted.
    logits : ``[2, N, T, C]``
        Audio, then visual.
    weak : ``[N, C]``
        Weak labels of each video's split.
    rows
        Split to the indices of its videos.
    """

    names: tuple[str, ...]
    logits: NDArray[np.float32]
    weak: Labels
    rows: Mapping[str, NDArray[np.int64]]


def gather_videos(
    clip: Shard, clap: Shard, weak_labels: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> LabelledVideos:
    """Join both encoders' logits with the weak labels.

    Parameters
    ----------
    clip, clap
        ``logits [N, T, C]`` of each encoder; videos that are in only one are ignored.
    weak_labels
        Split to video name to class indices.

    Raises
    ------
    PipelineError
        No video is in both, they disagree on T, or a video is in no split.
    """
    names = tuple(sorted(set(clip.names) & set(clap.names)))
    if not names:
        raise PipelineError("no video has both CLIP and CLAP features; check their status tables.")
    audio, visual = clap.select(names)["logits"], clip.select(names)["logits"]
    if audio.shape != visual.shape:
        raise PipelineError(
            f"CLAP has {audio.shape[1]} segments per video and CLIP {visual.shape[1]}; "
            "encode the same segments with both."
        )
    splits = {name: split for split, labels in weak_labels.items() for name in labels}
    known = {name: indices for labels in weak_labels.values() for name, indices in labels.items()}
    weak = weak_matrix(known, names, audio.shape[2])
    rows = {
        split: np.array([row for row, name in enumerate(names) if splits[name] == split], np.int64)
        for split in weak_labels
    }
    return LabelledVideos(names, np.stack([audio, visual]), weak, rows)


def unmasked_labels(videos: LabelledVideos, thresholds: LabelThresholds) -> Labels:
    """Return labels ``[2, N, T, C]`` of 0 and 1 from logits alone."""
    return (videos.logits > thresholds.unmasked[:, None, None]).astype(np.uint8)


def masked_labels(videos: LabelledVideos, thresholds: LabelThresholds) -> Labels:
    """Return labels ``[2, N, T, C]`` of 0 and 1 of the classes in the weak label."""
    present = videos.logits > thresholds.masked[:, None, None]
    return (present & (videos.weak[:, None] > 0)).astype(np.uint8)


def soften(logits: NDArray[np.float32], thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return soft labels σ((logit - threshold)/2) in [0, 1], where 0.5 is undecided.

    They are not masked with weak labels. Source: UWAV (Lai et al., CVPR 2025), released code.
    differs: eq. 12 of its paper has no division by 2.

    Parameters
    ----------
    logits : ``[..., C]``
        Logits of segments.
    thresholds : ``[C]``
        Finite thresholds of masked labels.
    """
    # Computed with tanh, which does not overflow for logits far below the threshold.
    halved = (logits - thresholds) / SOFT_LABEL_TEMPERATURE
    soft: NDArray[np.float32] = (0.5 + 0.5 * np.tanh(halved / 2)).astype(np.float32)
    return soft


def labels_fingerprint(
    vocabulary: Vocabulary, thresholds: NDArray[np.float64], encoders: Mapping[str, str]
) -> str:
    """Return a hash of everything that determines unmasked labels.

    It covers the vocabulary's captions, the thresholds ``[2, C]``, and the fingerprints of the
    features of ``clip`` and ``clap``. Thresholds are rounded to hundredths, because a calibrated
    one may differ by less between machines.
    """
    return fingerprint(
        {
            "version": UNMASKED_LABELS_VERSION,
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
    released_labels: Path | None = None,
    teacher: Path | None = None,
    device: str = "auto",
) -> None:
    """Label all videos that have features of both encoders; the ``pseudo-labels`` stage.

    Writes ``labels.safetensors``, ``thresholds.tsv`` and ``quality.json``. The first has
    ``{modality}_logits`` and ``{modality}_soft`` float32 (soft labels use the thresholds of masked
    labels but are not masked), ``{modality}`` and ``{modality}_masked`` uint8, all ``[N, T, C]``
    with videos sorted by name, and ``fingerprint`` in its meta (see ``labels_fingerprint``).
    ``quality.json`` maps split to ``unmasked`` and ``masked`` to an evaluation, without splits
    that have no videos. Without class texts there are released masked labels only, and nothing
    that needs logits.

    With a teacher, masked and soft labels come from its logits, ``{modality}_teacher_logits``, and
    thresholds that are chosen on the dense labels of validation videos (UWAV; Lai et al., CVPR
    2025); unmasked labels, which new videos can have, do not change. differs: -inf thresholds get
    soft labels relative to the smallest logit of all training videos, not of each batch, so that a
    label does not depend on the batch.

    Parameters
    ----------
    clip, clap
        Feature folders, see ``read_logits``.
    annotations
        Folder of LLP's annotation tables.
    vocabulary
        The classes.
    kind
        ``fixed``: the vocabulary's thresholds; ``calibrated``: see ``calibrated_thresholds``.
    out
        Output folder.
    released_labels
        Shard of masked labels that were released with the features; they are used as they are.
    teacher
        Folder of ``teacher.safetensors``; its labels replace released ones.
    device
        Where the teacher runs.

    Raises
    ------
    PipelineError
        An input is missing or does not match the others, or a video is in two splits.
    """
    read_splits(annotations)
    folders = {"clip": clip, "clap": clap}
    released = read_shard(released_labels) if released_labels and not teacher else None
    if released and not any((folder / PROMPTS_FILE).is_file() for folder in folders.values()):
        _write_released_labels(released, folders, annotations, vocabulary, out)
        return
    videos, encoders = _read_videos(folders, annotations, vocabulary)
    names, rows, segments = videos.names, videos.rows, videos.logits.shape[2]
    annotated = _read_annotated(annotations, names, rows, segments, vocabulary)
    if kind == "calibrated" or teacher:
        _warn_of_missing_classes(annotated.truth["val"], vocabulary)
    thresholds = _similarity_thresholds(kind, videos, annotated.truth["val"], vocabulary)
    meta = {"version": str(LABELS_VERSION), "thresholds": kind, **encoders}
    meta["fingerprint"] = labels_fingerprint(vocabulary, thresholds.unmasked, encoders)
    unmasked, judged = unmasked_labels(videos, thresholds), videos
    if teacher:
        judged = replace(videos, logits=_teacher_logits(teacher, folders, names, device))
        thresholds = _teacher_thresholds(judged, annotated.truth["val"], thresholds)
        meta[TEACHER_LABELS] = sha256_of(teacher / TEACHER_FILE)[:10]
    masked = masked_labels(judged, thresholds)
    if released:
        masked = stacked(released, names, "_masked")
        meta[RELEASED_LABELS] = released.meta.get("imported", "yes")
    arrays = _label_arrays(videos, judged, thresholds, unmasked, masked)
    write_shard(out / LABELS_FILE, Shard(names, arrays, meta))
    write_thresholds(out / "thresholds.tsv", thresholds, vocabulary)
    _write_quality(out, annotated, {"unmasked": unmasked, "masked": masked}, vocabulary)


def _read_videos(
    folders: Mapping[str, Path], annotations: Path, vocabulary: Vocabulary
) -> tuple[LabelledVideos, dict[str, str]]:
    """Return the videos with features of both encoders, and the features' fingerprints."""
    shards = {
        encoder: read_logits(encoder, folder, vocabulary) for encoder, folder in folders.items()
    }
    weak_labels = {
        split: read_weak_labels(annotations / table, vocabulary)
        for split, table in SPLIT_TABLES.items()
    }
    videos = gather_videos(shards["clip"], shards["clap"], weak_labels)
    return videos, {encoder: shard.meta["fingerprint"] for encoder, shard in shards.items()}


@dataclass(frozen=True)
class AnnotatedVideos:
    """The videos of each scored split, their rows among all videos, and their events' labels."""

    names: Mapping[str, Sequence[str]]
    rows: Mapping[str, NDArray[np.int64]]
    truth: Mapping[str, Labels]


def _read_annotated(
    annotations: Path,
    names: Sequence[str],
    rows: Mapping[str, NDArray[np.int64]],
    segments: int,
    vocabulary: Vocabulary,
) -> AnnotatedVideos:
    """Read the annotated events of the scored splits, whose rows index all N ``names``."""
    tables = [annotations / table for table in EVENT_TABLES.values()]
    of_split = {split: [names[row] for row in rows[split]] for split in SCORED_SPLITS}
    truth = {
        split: read_labels(tables, chosen, segments, vocabulary)
        for split, chosen in of_split.items()
    }
    return AnnotatedVideos(of_split, rows, truth)


def _similarity_thresholds(
    kind: ThresholdKind, videos: LabelledVideos, truth: Labels, vocabulary: Vocabulary
) -> LabelThresholds:
    """Return the thresholds of similarities; ``truth`` is validation's."""
    if kind == "fixed":
        return fixed_thresholds(vocabulary)
    val = videos.rows["val"]
    return calibrated_thresholds(videos.logits[:, val], truth, videos.weak[val], vocabulary)


def _warn_of_missing_classes(truth: Labels, vocabulary: Vocabulary) -> None:
    """Log the classes without a validation event, for which no threshold can be chosen."""
    for modality, labels in zip(MODALITIES, truth, strict=True):
        present = labels.any(axis=(0, 1))
        missing = [name for name, found in zip(vocabulary.names, present, strict=True) if not found]
        if missing:
            logger.warning(
                "no %s threshold can be chosen for %d of %d classes without a validation event: %s",
                *(modality, len(missing), len(vocabulary), ", ".join(missing)),
            )


def _write_released_labels(
    released: Shard,
    folders: Mapping[str, Path],
    annotations: Path,
    vocabulary: Vocabulary,
    out: Path,
) -> None:
    """Write the stage's files for released masked labels without logits.

    The thresholds are the vocabulary's, which VALOR's labels were made with.
    """
    meta = {"version": str(LABELS_VERSION), "thresholds": "fixed"}
    meta[RELEASED_LABELS] = released.meta.get("imported", "yes")
    for encoder, folder in folders.items():
        with ShardReader(shard_paths(folder)[0]) as reader:
            meta[encoder] = reader.meta["fingerprint"]
    write_shard(out / LABELS_FILE, Shard(released.names, released.arrays, meta))
    write_thresholds(out / "thresholds.tsv", fixed_thresholds(vocabulary), vocabulary)
    masked = stacked(released, released.names, "_masked")
    row_of = {name: row for row, name in enumerate(released.names)}
    rows = {}
    for split in SCORED_SPLITS:
        listed = read_names(annotations / SPLIT_TABLES[split])
        kept = sorted(name for name in listed if name in row_of)
        rows[split] = np.array([row_of[name] for name in kept], np.int64)
    segments = masked.shape[2]
    annotated = _read_annotated(annotations, released.names, rows, segments, vocabulary)
    _write_quality(out, annotated, {"masked": masked}, vocabulary)


def stacked(labels: Shard, names: Sequence[str], suffix: str) -> NDArray[Any]:
    """Return labels or logits ``[2, N, T, C]`` of some videos, audio before visual.

    ``suffix`` ends the arrays' names: it is empty, ``_masked`` or ``_logits``.
    """
    chosen = labels.select(names)
    return np.stack([chosen[f"{modality}{suffix}"] for modality in MODALITIES])


def _write_quality(
    out: Path, videos: AnnotatedVideos, labels: Mapping[str, Labels], vocabulary: Vocabulary
) -> None:
    """Write the evaluation of each kind of labels ``[2, N, T, C]`` on validation and test."""
    quality = {
        split: label_quality(
            split,
            names,
            videos.truth[split],
            {kind: of_kind[:, videos.rows[split]] for kind, of_kind in labels.items()},
            vocabulary,
        )
        for split, names in videos.names.items()
        if names
    }
    write_json(out / "quality.json", quality)


def _label_arrays(
    videos: LabelledVideos,
    judged: LabelledVideos,
    thresholds: LabelThresholds,
    unmasked: Labels,
    masked: Labels,
) -> dict[str, NDArray[Any]]:
    """Return the arrays to write; ``judged`` has the logits of masked and soft labels."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, modality in enumerate(MODALITIES):
        arrays[f"{modality}_logits"] = videos.logits[index]
        if judged is not videos:
            arrays[f"{modality}_teacher_logits"] = judged.logits[index]
        learnt = judged.logits[index, judged.rows["train"]]
        finite = finite_thresholds(thresholds.masked[index], learnt)
        arrays[f"{modality}_soft"] = soften(judged.logits[index], finite)
        arrays[modality], arrays[f"{modality}_masked"] = unmasked[index], masked[index]
    return arrays


def _teacher_logits(
    teacher: Path, folders: Mapping[str, Path], names: Sequence[str], device: str
) -> NDArray[np.float32]:
    """Return a teacher's logits of videos, ``[2, N, T, C]``."""
    # Loads PyTorch, which labels from similarities do without.
    from pipeline.core.devices import choose_device
    from pipeline.labels.teacher import read_teacher, teacher_logits

    trained = read_teacher(teacher)
    texts, embeddings, fingerprints = {}, {}, {}
    for kind, folder in folders.items():
        with ShardReader(shard_paths(folder)[0]) as reader:
            key = similarity_array(reader.keys)
        shard = read_array(folder, key)
        embeddings[kind] = shard.select(names)[key]
        texts[kind] = read_shard(folder / PROMPTS_FILE)["text"]
        if "imported" not in shard.meta:
            fingerprints[kind] = shard.meta["fingerprint"]
    sizes = embeddings["clap"].shape[2], embeddings["clip"].shape[2]
    trained.check_features(fingerprints, sizes)
    return teacher_logits(
        trained,
        (embeddings["clap"], embeddings["clip"]),
        (texts["clap"], texts["clip"]),
        choose_device(device),
    )


def _teacher_thresholds(
    videos: LabelledVideos, truth: Labels, thresholds: LabelThresholds
) -> LabelThresholds:
    """Choose the thresholds of masked labels on the validation videos' events."""
    val = videos.rows["val"]
    if not len(val):
        raise PipelineError(
            "the thresholds of a teacher's labels need validation videos with features; add some,"
            " or leave out --teacher."
        )
    chosen = f1_thresholds(videos.logits[:, val], truth, videos.weak[val])
    return replace(thresholds, masked=chosen)
