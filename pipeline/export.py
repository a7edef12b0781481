"""The cache in VALOR's or HAN's layout, for their authors' code and what was built on it."""

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
from pipeline.interop import ENCODERS, ID_LENGTH, LAYOUTS, TEXT_FILES
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
        Folder that holds one ``clip-*`` and one ``clap-*`` folder, and perhaps ``motion-*``.
    pseudo_labels
        Folder of labels.safetensors.
    clip, clap, motion
        Which folder, where there are several.
    audio_array
        Which of CLAP's arrays is exported, ``map`` (VALOR++'s input) or ``embedding``.
    """

    features: Path
    pseudo_labels: Path
    clip: str | None = None
    clap: str | None = None
    motion: str | None = None
    audio_array: str = "map"

    def folders(self) -> dict[str, Path]:
        """Return the encoders' folders by what they are features of."""
        found = {
            "audio": encoder_folder(self.features, "clap", self.clap),
            "visual": encoder_folder(self.features, "clip", self.clip),
        }
        if self.motion or any(self.features.glob("motion-*")):
            found["motion"] = encoder_folder(self.features, "motion", self.motion)
        return found


def export(source: ExportSource, layout: str, vocabulary: Vocabulary, out: Path) -> int:
    """Write ``.npy`` files as ``pipeline.interop`` describes them, and return how many videos.

    A video is in the export when every encoder and the pseudo-labels have it. Where a layout has
    several frames a second, each is the segment's one feature.

    Raises
    ------
    PipelineError
        ``out`` holds something, the labels are of other classes, or two videos share an id, by
        which the layout names its files.
    """
    if out.exists() and any(out.iterdir()):
        raise PipelineError(f"'{out}' is not empty; export into a new folder.")
    folders = source.folders()
    keys = {"audio": source.audio_array, "visual": "embedding", "motion": "embedding"}
    features = {kind: read_array(folder, keys[kind]) for kind, folder in folders.items()}
    labels = _read_labels(source.pseudo_labels / LABELS_FILE, vocabulary)
    names = sorted(set(labels.names).intersection(*(shard.names for shard in features.values())))
    _check_ids(names)
    places = LAYOUTS[layout]
    for kind, shard in features.items():
        rows = shard.select(names)[keys[kind]]
        rows = rows.repeat(places.frames, axis=1) if kind == "visual" else rows
        _write_rows(out / getattr(places, kind), names, rows)
    _write_labels(labels.select(names), vocabulary, out)
    for modality, file in TEXT_FILES.items():
        _write(out / file, read_shard(folders[modality] / PROMPTS_FILE)["text"])
    return len(names)


def _read_labels(path: Path, vocabulary: Vocabulary) -> Shard:
    labels = read_shard(path)
    if labels["audio"].shape[2] != len(vocabulary):
        raise PipelineError(
            f"the pseudo-labels are of {labels['audio'].shape[2]} classes, the vocabulary has"
            f" {len(vocabulary)}; give the vocabulary they were made with."
        )
    return labels


def _write_labels(labels: Shard, vocabulary: Vocabulary, out: Path) -> None:
    for modality, encoder in ENCODERS.items():
        _warn_of_thresholds(labels, modality, vocabulary)
        folder = out / encoder
        _write_rows(folder / "segment_logits", labels.names, labels[f"{modality}_logits"])
        _write_rows(folder / "segment_pseudo_labels", labels.names, labels[f"{modality}_masked"])


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
