"""The cache in VALOR's layout, for its authors' code and what was built on it."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache import encoder_folder
from pipeline.errors import PipelineError
from pipeline.files import atomic_path, child_path
from pipeline.interop import ENCODERS, ID_LENGTH, TEXT_FILES
from pipeline.progress import track
from pipeline.store import LABELS_FILE, PROMPTS_FILE, Shard, read_array, read_shard
from pipeline.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Array = NDArray[Any]


@dataclass(frozen=True)
class ExportSource:
    """What is exported.

    Attributes
    ----------
    features
        Folder that holds one ``clip-*`` and one ``clap-*`` folder.
    pseudo_labels
        Folder of labels.safetensors.
    clip, clap
        Which folder, where there are several.
    audio_array
        Which of CLAP's arrays is exported, ``map`` (VALOR++'s input) or ``embedding``.
    """

    features: Path
    pseudo_labels: Path
    clip: str | None = None
    clap: str | None = None
    audio_array: str = "map"


def export_valor(source: ExportSource, vocabulary: Vocabulary, out: Path) -> int:
    """Write ``.npy`` files as ``pipeline.interop`` describes them, and return how many videos.

    A video is in the export when both encoders and the pseudo-labels have it.

    Raises
    ------
    PipelineError
        ``out`` holds something, the labels are of other classes, or two videos share an id, by
        which the layout names its files.
    """
    if out.exists() and any(out.iterdir()):
        raise PipelineError(f"'{out}' is not empty; export into a new folder.")
    folders = {
        "visual": encoder_folder(source.features, "clip", source.clip),
        "audio": encoder_folder(source.features, "clap", source.clap),
    }
    keys = {"visual": "embedding", "audio": source.audio_array}
    features = {name: read_array(folder, keys[name]) for name, folder in folders.items()}
    labels = read_shard(source.pseudo_labels / LABELS_FILE)
    if labels["audio"].shape[2] != len(vocabulary):
        raise PipelineError(
            f"the pseudo-labels are of {labels['audio'].shape[2]} classes, the vocabulary has"
            f" {len(vocabulary)}; give the vocabulary they were made with."
        )
    shared = set(labels.names).intersection(*(shard.names for shard in features.values()))
    names = sorted(shared)
    _check_ids(names)
    labels = labels.select(names)
    for modality, encoder in ENCODERS.items():
        _warn_of_thresholds(labels, modality, vocabulary)
        kinds = {
            "features": features[modality].select(names)[keys[modality]],
            "segment_logits": labels[f"{modality}_logits"],
            "segment_pseudo_labels": labels[f"{modality}_masked"],
        }
        for kind, array in kinds.items():
            _write_rows(out / encoder / kind, names, array)
        _write(out / TEXT_FILES[modality], read_shard(folders[modality] / PROMPTS_FILE)["text"])
    return len(names)


def _check_ids(names: Sequence[str]) -> None:
    counts = Counter(name[:ID_LENGTH] for name in names)
    shared = [identity for identity, count in counts.items() if count > 1]
    if shared:
        raise PipelineError(
            f"{len(shared)} ids stand for several videos, the first '{shared[0]}', and this layout"
            f" names files by the first {ID_LENGTH} characters alone; export them separately."
        )


def _warn_of_thresholds(labels: Shard, modality: str, vocabulary: Vocabulary) -> None:
    """Say when a reader of the layout, who has logits and fixed thresholds, gets other labels."""
    fixed = labels[f"{modality}_logits"] > np.array(vocabulary.thresholds(modality))
    differing = float((fixed != labels[modality].astype(bool)).mean()) if fixed.size else 0.0
    if differing:
        logger.warning(
            "%s: %.2f%% of the unmasked labels were made with other thresholds than the"
            " vocabulary's; PLSIM and soft labels are remade from the logits with those",
            modality,
            100 * differing,
        )


def _write_rows(folder: Path, names: Sequence[str], array: Array) -> None:
    for name, row in track(zip(names, array, strict=True), len(names), str(folder)):
        _write(child_path(folder, f"{name[:ID_LENGTH]}.npy"), row)


def _write(path: Path, array: Array) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array.astype(np.float32), allow_pickle=False)
