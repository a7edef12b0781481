"""Densely labelled videos of any length, for training UWAV's temporal label network.

Axes: N videos, T seconds, C classes, D embedding.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pipeline.core.arrays import number_problem, unit_rows
from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint
from pipeline.core.progress import track
from pipeline.core.shards import (
    PROMPTS_FILE,
    SHARD_NAME,
    Array,
    ShardReader,
    read_array,
    read_shard,
    shard_paths,
)
from pipeline.data.archives import open_arrays
from pipeline.data.unav import DenseAnnotations, class_name, read_unav
from pipeline.features.import_options import similarity_array
from pipeline.features.imported import WIDEST, members_by_id, read_texts

logger = logging.getLogger(__name__)

# Where UWAV's archives keep one array of embeddings per video.
EMBEDDINGS_FOLDER = "segment_feats"
# Bounds of what is read of an archive: no encoder has larger embeddings,
LARGEST_EMBEDDING = 4096
# and no video more rows (four hours of seconds).
MOST_ROWS = 14_400


@dataclass(frozen=True)
class DenseBatch:
    """Videos padded with zeros to the longest.

    Attributes
    ----------
    embeddings
        Audio and visual [B, T, D].
    labels
        Classes that are heard and seen [B, T, C] in {0, 1}.
    valid
        Seconds that are not padding [B, T], bool.
    """

    embeddings: tuple[Tensor, Tensor]
    labels: Tensor
    valid: Tensor


@dataclass(frozen=True)
class DenseVideos:
    """N videos of their own lengths.

    Attributes
    ----------
    names
        Names of the videos.
    audio, visual
        Embeddings [T, D] of each video.
    labels
        Labels of seconds [T, C] of each video.
    """

    names: tuple[str, ...]
    audio: Sequence[Tensor]
    visual: Sequence[Tensor]
    labels: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, rows: Sequence[int], device: torch.device) -> DenseBatch:
        """Return some videos, padded, on a device."""
        audio, visual, labels = (
            pad_sequence([tensors[row] for row in rows], batch_first=True).to(device)
            for tensors in (self.audio, self.visual, self.labels)
        )
        seconds = torch.tensor([len(self.labels[row]) for row in rows], device=device)
        valid = torch.arange(labels.shape[1], device=device) < seconds[:, None]
        return DenseBatch((audio, visual), labels, valid)


@dataclass(frozen=True)
class DenseData:
    """A densely labelled dataset.

    Attributes
    ----------
    train, val
        Its training and validation videos.
    texts
        L2-normalised class texts [C, D] of audio and visual.
    classes
        The C classes.
    fingerprints
        Fingerprints of the features of ``clip`` and ``clap``, if the pipeline extracted them.
    """

    train: DenseVideos
    val: DenseVideos
    texts: tuple[Tensor, Tensor]
    classes: tuple[str, ...]
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hash of everything that training reads."""
        content = hashlib.sha256()
        for videos in (self.train, self.val):
            content.update("\n".join(videos.names).encode())
            for tensors in (videos.audio, videos.visual, videos.labels):
                for tensor in tensors:
                    content.update(tensor.numpy().tobytes())
        for texts in self.texts:
            content.update(texts.numpy().tobytes())
        return fingerprint([content.hexdigest(), self.classes])


@dataclass(frozen=True)
class _Embeddings:
    """One encoder's embeddings of videos, and its class texts.

    Attributes
    ----------
    rows
        Video name to array [T, D]; T need not be the video's seconds.
    texts
        Array [C, D].
    classes
        Names of the C classes.
    fingerprint
        Fingerprint of the features; empty if others released them.
    """

    rows: Mapping[str, Array]
    texts: Array
    classes: tuple[str, ...]
    fingerprint: str = ""


def read_dense_data(clip: Path, clap: Path, annotations: Path) -> DenseData:
    """Read embeddings of both encoders and the annotations.

    Embeddings are averaged or repeated to one per second (adaptive average pooling, as in UWAV's
    code). Videos without embeddings of both are left out.

    Parameters
    ----------
    clip, clap
        Each a feature folder of the pipeline with prompts, or what UWAV released: a folder or zip
        archive with ``segment_feats/{id}.npy`` and ``event_feats/all_event_feats.npy``.
    annotations
        JSON file, see ``read_unav``.

    Raises
    ------
    PipelineError
        Something is missing or malformed, or the classes do not match.
    """
    dense = read_unav(annotations)
    audio, visual = (_read_embeddings(path, dense) for path in (clap, clip))
    if len(audio.classes) != len(visual.classes):
        raise PipelineError(
            f"'{clap}' has {len(audio.classes)} class texts, but '{clip}' has"
            f" {len(visual.classes)}; use those of the same dataset."
        )
    found = {"clap": audio.fingerprint, "clip": visual.fingerprint}
    return DenseData(
        train=_videos(dense, "train", audio, visual),
        val=_videos(dense, "validation", audio, visual),
        texts=(torch.from_numpy(audio.texts), torch.from_numpy(visual.texts)),
        classes=visual.classes,
        fingerprints={kind: made for kind, made in found.items() if made},
    )


def to_seconds(rows: Array, seconds: int) -> Tensor:
    """Return features of seconds [T, D] from rows in time order, by adaptive average pooling."""
    tensor = torch.from_numpy(rows).float()
    return nn.functional.adaptive_avg_pool1d(tensor.T[None], seconds)[0].T.contiguous()


def _videos(
    dense: DenseAnnotations, subset: str, audio: _Embeddings, visual: _Embeddings
) -> DenseVideos:
    wanted = sorted(name for name, video in dense.videos.items() if video.subset == subset)
    names = tuple(name for name in wanted if name in audio.rows and name in visual.rows)
    if not names:
        raise PipelineError(
            f"none of the {len(wanted)} {subset} videos of the dense annotations has embeddings of"
            " both encoders; check that they belong to the same dataset."
        )
    if len(names) < len(wanted):
        logger.warning(
            "%s: skipping %d of %d videos without embeddings",
            *(subset, len(wanted) - len(names), len(wanted)),
        )
    videos = [dense.videos[name] for name in names]
    classes = len(audio.classes)
    heard, seen = (
        [
            to_seconds(each.rows[name], video.seconds)
            for name, video in zip(names, videos, strict=True)
        ]
        for each in (audio, visual)
    )
    labels = [torch.from_numpy(video.labels(classes)).float() for video in videos]
    return DenseVideos(names, heard, seen, labels)


def _read_embeddings(path: Path, dense: DenseAnnotations) -> _Embeddings:
    has_shards = path.is_dir() and any(SHARD_NAME.match(each.name) for each in path.iterdir())
    read = _read_shards(path, dense) if has_shards else _read_released(path, dense)
    largest = max(dense.labels, default=0)
    if largest >= len(read.texts):
        raise PipelineError(
            f"'{path}' has {len(read.texts)} class texts, but the dense annotations have a class"
            f" {largest}; use those of the same dataset."
        )
    return read


def _read_shards(folder: Path, dense: DenseAnnotations) -> _Embeddings:
    """Read a feature folder of the pipeline."""
    with ShardReader(shard_paths(folder)[0]) as reader:
        key = similarity_array(reader.keys)
    shard = read_array(folder, key)
    prompts = read_shard(folder / PROMPTS_FILE)
    for index, label in sorted(dense.labels.items()):
        if index < len(prompts.names) and prompts.names[index] != class_name(label):
            raise PipelineError(
                f"class {index} is '{label}' in the dense annotations, but '{prompts.names[index]}'"
                f" in the prompts of '{folder}'; run the prompts stage with a vocabulary of these"
                " classes in order of label_id, with _ for spaces and commas."
            )
    rows = dict(zip(shard.names, shard[key], strict=True))
    made = "" if "imported" in shard.meta else shard.meta["fingerprint"]
    return _Embeddings(rows, prompts["text"], prompts.names, made)


def _read_released(path: Path, dense: DenseAnnotations) -> _Embeddings:
    """Read a folder or archive in UWAV's layout.

    differs: rows are scaled to length 1, as the pipeline's own embeddings are; the released code
    takes them as they are stored.
    """
    rows = {}
    with open_arrays(path) as source:
        members = members_by_id(source, EMBEDDINGS_FOLDER)
        wanted = sorted(members.keys() & dense.videos.keys())
        largest = MOST_ROWS * LARGEST_EMBEDDING * WIDEST
        for name in track(wanted, len(wanted), f"read {path.name}"):
            rows[name] = _checked(source.read(members[name], largest), f"{path}: {members[name]}")
        of_classes = _checked(*read_texts(source, largest))
    for name, array in rows.items():
        if array.shape[1] != of_classes.shape[1]:
            raise PipelineError(
                f"'{path}: {members[name]}' has embeddings of {array.shape[1]} dimensions, but the"
                f" class texts have {of_classes.shape[1]}; use those of one encoder."
            )
    names = tuple(dense.labels.get(index, f"class {index}") for index in range(len(of_classes)))
    return _Embeddings(rows, of_classes, names)


def _checked(array: Array, what: str) -> Array:
    """Return unit rows as float32; raise PipelineError if they are no table of finite numbers."""
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiub":
        shape = "x".join(map(str, array.shape)) or "single"
        raise PipelineError(
            f"'{what}' is a {shape} array of {array.dtype}; it must be TxD numbers."
        )
    rows = array.astype(np.float32)
    if problem := number_problem(rows):
        raise PipelineError(f"'{what}' {problem}; download it again.")
    return unit_rows(rows)
