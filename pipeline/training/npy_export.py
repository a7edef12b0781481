"""The cache in VALOR's or HAN's layout, for their authors' code and what was built on it."""

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
    """What is exported.

    Attributes
    ----------
    features
        Folder that holds one ``clip-*`` and one ``clap-*`` folder, and perhaps ``motion-*``.
    pseudo_labels
        Folder of labels.safetensors; None to export features alone.
    clip, clap, motion
        Which folder, where there are several.
    audio_array
        Which of CLAP's arrays is exported, ``map`` (VALOR++'s input) or ``embedding``.
    """

    features: Path
    pseudo_labels: Path | None = None
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
    """Write ``.npy`` files in a layout, see ``npy_layouts``; return the number of videos.

    A video is in the export when every encoder and the pseudo-labels have it. Where a layout has
    several frames a second, each is the segment's one feature.

    Raises
    ------
    PipelineError
        ``out`` holds something, labels are missing or of other classes, or two videos share an id,
        by which the layout names its files.
    """
    if out.exists() and any(out.iterdir()):
        raise PipelineError(f"'{out}' is not empty; export into a new folder.")
    labels = _read_labels(source.pseudo_labels, layout, vocabulary)
    folders = source.folders()
    keys = {"audio": source.audio_array, "visual": "embedding", "motion": "embedding"}
    features = {kind: read_array(folder, keys[kind]) for kind, folder in folders.items()}
    _warn_of_loaders(source, layout, features)
    shards = [*features.values()] if labels is None else [*features.values(), labels]
    names = sorted(set.intersection(*(set(shard.names) for shard in shards)))
    check_unique_ids(names)
    place = LAYOUTS[layout]
    places = {"audio": place.audio, "visual": place.visual, "motion": place.motion[0]}
    for kind, shard in features.items():
        rows = shard.select(names)[keys[kind]]
        rows = rows.repeat(place.frames, axis=1) if kind == "visual" else rows
        write_npy_rows(out / places[kind], names, rows)
    if labels is not None:
        _write_labels(labels.select(names), vocabulary, out)
        for modality, file in TEXT_FILES.items():
            write_npy(out / file, read_shard(folders[modality] / PROMPTS_FILE)["text"])
    return len(names)


def _read_labels(folder: Path | None, layout: str, vocabulary: Vocabulary) -> Shard | None:
    if folder is None:
        if layout == "valor":
            raise PipelineError(
                "--layout valor holds labels, which VALOR's code reads of every video; give "
                "--pseudo-labels, the folder of labels.safetensors."
            )
        return None
    labels = read_shard(folder / LABELS_FILE)
    if labels["audio"].shape[2] != len(vocabulary):
        raise PipelineError(
            f"the pseudo-labels are of {labels['audio'].shape[2]} classes, the vocabulary has"
            f" {len(vocabulary)}; give the vocabulary they were made with."
        )
    return labels


def _warn_of_loaders(source: ExportSource, layout: str, features: Mapping[str, Shard]) -> None:
    """Say what the authors' own code will not take."""
    if "motion" not in features:
        logger.warning(
            "'%s' has no motion-* folder, and HAN's and VALOR's own code reads 3-D features of"
            " every video; configure encoders.motion, or take that input out of their code",
            source.features,
        )
    if layout == "valor" and source.audio_array == "embedding":
        logger.warning(
            "VALOR's own code takes CLAP features to have 768 dimensions (input_a_dim), and these"
            " embeddings have %d; change it there, or export the map",
            features["audio"]["embedding"].shape[2],
        )


def _write_labels(labels: Shard, vocabulary: Vocabulary, out: Path) -> None:
    for modality, encoder in ENCODERS.items():
        _warn_of_thresholds(labels, modality, vocabulary)
        folder = out / encoder
        write_npy_rows(folder / "segment_logits", labels.names, labels[f"{modality}_logits"])
        write_npy_rows(folder / "segment_pseudo_labels", labels.names, labels[f"{modality}_masked"])


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
