"""Export cached features in the layout of VALOR or HAN, for use with the authors' code."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.shards import LABELS_FILE, PROMPTS_FILE, Shard, read_array, read_shard
from pipeline.core.vocabulary import Vocabulary
from pipeline.features.npy_layouts import (
    ENCODERS,
    LAYOUTS,
    TEXT_FILES,
    check_unique_ids,
    write_npy,
    write_npy_rows,
)
from pipeline.training.sources import encoder_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSource:
    """What to export.

    Attributes
    ----------
    features
        Folder that contains one ``clip-*``, one ``clap-*`` and optionally one ``motion-*`` folder.
    pseudo_labels
        Folder of labels.safetensors; None exports features only.
    clip, clap, motion
        Name of the encoder's folder; needed only if there are several.
    audio_array
        CLAP array to export: ``map`` (VALOR++'s input) or ``embedding``.
    """

    features: Path
    pseudo_labels: Path | None = None
    clip: str | None = None
    clap: str | None = None
    motion: str | None = None
    audio_array: str = "map"

    def folders(self) -> dict[str, Path]:
        """Return the feature folder of ``audio``, ``visual`` and, if there is one, ``motion``."""
        found = {
            "audio": encoder_folder(self.features, "clap", self.clap),
            "visual": encoder_folder(self.features, "clip", self.clip),
        }
        if self.motion or any(self.features.glob("motion-*")):
            found["motion"] = encoder_folder(self.features, "motion", self.motion)
        return found


def export(source: ExportSource, layout: str, vocabulary: Vocabulary, out: Path) -> int:
    """Write ``.npy`` files in a layout (see ``npy_layouts``); return the number of videos.

    Only videos that have all features and pseudo-labels are exported. If a layout has several
    frames per second, the segment's feature is repeated.

    Raises
    ------
    PipelineError
        ``out`` is not empty, labels are missing or have other classes, or two videos share the id
        that the layout uses as the file name.
    """
    if out.exists() and any(out.iterdir()):
        raise PipelineError(f"'{out}' is not empty; export into a new or empty folder.")
    labels = _read_labels(source.pseudo_labels, layout, vocabulary)
    folders = source.folders()
    keys = {"audio": source.audio_array, "visual": "embedding", "motion": "embedding"}
    features = {kind: read_array(folder, keys[kind]) for kind, folder in folders.items()}
    _warn_of_loaders(source, layout, features)
    shards = [*features.values()] if labels is None else [*features.values(), labels]
    names = sorted(set.intersection(*(set(shard.names) for shard in shards)))
    check_unique_ids(names)
    paths = LAYOUTS[layout]
    subfolders = {"audio": paths.audio, "visual": paths.visual, "motion": paths.motion[0]}
    for kind, shard in features.items():
        rows = shard.select(names)[keys[kind]]
        rows = rows.repeat(paths.frames, axis=1) if kind == "visual" else rows
        write_npy_rows(out / subfolders[kind], names, rows)
    if labels is not None:
        _write_labels(labels.select(names), vocabulary, out)
        for modality, file in TEXT_FILES.items():
            write_npy(out / file, read_shard(folders[modality] / PROMPTS_FILE)["text"])
    return len(names)


def _read_labels(folder: Path | None, layout: str, vocabulary: Vocabulary) -> Shard | None:
    if folder is None:
        if layout == "valor":
            raise PipelineError(
                "--layout valor includes pseudo-labels, but none were given; pass the folder of "
                "labels.safetensors with --pseudo-labels."
            )
        return None
    labels = read_shard(folder / LABELS_FILE)
    if labels["audio"].shape[2] != len(vocabulary):
        raise PipelineError(
            f"the pseudo-labels have {labels['audio'].shape[2]} classes, but the vocabulary has "
            f"{len(vocabulary)}; pass the vocabulary they were made with."
        )
    return labels


def _warn_of_loaders(source: ExportSource, layout: str, features: Mapping[str, Shard]) -> None:
    """Warn about features that the authors' code cannot load as they are."""
    if "motion" not in features:
        logger.warning(
            "'%s' has no motion-* folder, but the code of HAN and VALOR reads 3-D features of"
            " every video; configure encoders.motion, or remove that input from their code",
            source.features,
        )
    if layout == "valor" and source.audio_array == "embedding":
        logger.warning(
            "VALOR's code expects CLAP features with 768 dimensions (input_a_dim), but these"
            " embeddings have %d; change input_a_dim, or export the map",
            features["audio"]["embedding"].shape[2],
        )


def _write_labels(labels: Shard, vocabulary: Vocabulary, out: Path) -> None:
    for modality, encoder in ENCODERS.items():
        _warn_of_thresholds(labels, modality, vocabulary)
        folder = out / encoder
        write_npy_rows(folder / "segment_logits", labels.names, labels[f"{modality}_logits"])
        write_npy_rows(folder / "segment_pseudo_labels", labels.names, labels[f"{modality}_masked"])


def _warn_of_thresholds(labels: Shard, modality: str, vocabulary: Vocabulary) -> None:
    """Warn if labels recomputed from the logits with the vocabulary's thresholds would differ."""
    fixed = labels[f"{modality}_logits"] > np.array(vocabulary.thresholds(modality))
    differing = float((fixed != labels[modality].astype(bool)).mean()) if fixed.size else 0.0
    if differing:
        logger.warning(
            "%s: %.2f%% of the unmasked labels differ from the logits cut at the vocabulary's"
            " thresholds; PLSIM and soft labels of the exported data will use the latter",
            modality,
            100 * differing,
        )
