"""Cached features and labels from folders of one ``.npy`` file a video, see ``npy_layouts``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint, sha256_of
from pipeline.core.shards import Array
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.features.npy_layouts import (
    ENCODERS,
    LAYOUTS,
    TEXT_FILES,
    PerSecond,
    average_frames,
    load_npy,
    npy_paths,
    pool_map,
    read_stacked,
)
from pipeline.labels.pseudo_labels import soften
from pipeline.labels.similarity import normalise, similarity_logits
from pipeline.parsers.recipes import Recipe
from pipeline.training.sources import CachedFeatures, label_keys

# exp(logit_scale) of CLIP ViT-L/14 (Radford et al., 2021); CLAP's is in its checkpoint only.
CLIP_LOGIT_SCALE = 100.0
# What to train with where there are no logits and none can be made.
WITHOUT_LOGITS = "--option plsim=false (LINK), and hard labels"


@dataclass(frozen=True)
class NpySource:
    """A folder of ``.npy`` files.

    Attributes
    ----------
    folder
        Where the layout's folders are.
    layout
        One of ``LAYOUTS``, by name.
    clap_logit_scale
        CLAP's exp(logit_scale), to make logits of embeddings and texts; None when not known.
    pseudo_labels
        Where the folders of labels and logits, and the texts, are; None: in ``folder``, or in the
        one that it lies in.
    """

    folder: Path
    layout: str
    clap_logit_scale: float | None = None
    pseudo_labels: Path | None = None

    def read(
        self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary, for_training: bool
    ) -> CachedFeatures:
        """Return what a recipe needs of those of ``names`` that have a file of each kind.

        ``audio_input`` has no say: audio features are what the folder has.

        Raises
        ------
        PipelineError
            Something that the recipe needs is missing or has another shape.
        """
        keys = label_keys(recipe, for_training)
        folders = self._feature_folders(recipe)
        labels = _Labels(self._labels_folder, self.clap_logit_scale, vocabulary)
        kept = _in_all(names, [*folders.values(), *labels.folders(keys)])
        fingerprints, texts = {"layout": self.layout}, {}
        if recipe.uses_prior:
            texts = {modality: labels.texts(modality) for modality in MODALITIES}
            fingerprints["labels"] = labels.fingerprint()
        features = self._features(folders, kept)
        return CachedFeatures(
            names=tuple(kept),
            audio=features["audio"],
            visual=features["visual"],
            motion=features.get("motion"),
            labels=labels.read(keys, kept, features),
            texts=texts,
            fingerprints=fingerprints,
        )

    def _feature_folders(self, recipe: Recipe) -> dict[str, Path]:
        layout = LAYOUTS[self.layout]
        folders = {"audio": self.folder / layout.audio, "visual": self.folder / layout.visual}
        if recipe.motion:
            places = [self.folder / place for place in layout.motion]
            folders["motion"] = next((place for place in places if place.is_dir()), places[0])
        return folders

    def _features(self, folders: Mapping[str, Path], names: Sequence[str]) -> dict[str, Array]:
        frames = LAYOUTS[self.layout].frames
        per_second: dict[str, PerSecond] = {
            "audio": pool_map,
            "visual": partial(average_frames, frames=frames),
        }
        return {
            kind: read_stacked(npy_paths(folder, names), per_second.get(kind))
            for kind, folder in folders.items()
        }

    @property
    def _labels_folder(self) -> Path:
        if self.pseudo_labels is not None:
            return self.pseudo_labels
        places = (self.folder, self.folder.absolute().parent)
        have = (place for place in places for name in ENCODERS.values() if (place / name).is_dir())
        return next(have, self.folder)


@dataclass(frozen=True)
class _Labels:
    """Labels and class texts of ``.npy`` files.

    Attributes
    ----------
    folder
        Has ``CLIP/``, ``CLAP/`` and the texts.
    clap_logit_scale
        See ``NpySource``.
    vocabulary
        The classes, and the thresholds of labels that are made of logits.
    """

    folder: Path
    clap_logit_scale: float | None
    vocabulary: Vocabulary

    def folders(self, keys: Sequence[str]) -> list[Path]:
        """Return the folders in which every video must have a file, for some of ``label_keys``."""
        folders = []
        for modality in MODALITIES:
            if f"{modality}_masked" in keys:
                folders.append(self._masked(modality))
            logits = self._logits(modality)
            if {modality, f"{modality}_soft"} & set(keys) and logits.is_dir():
                folders.append(logits)
        return folders

    def read(
        self, keys: Sequence[str], names: Sequence[str], features: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Return labels [N, T, C] by key; ``features`` are for those without logits."""
        labels: dict[str, Array] = {}
        for modality in MODALITIES:
            masked, soft = f"{modality}_masked", f"{modality}_soft"
            if masked in keys:
                array = read_stacked(npy_paths(self._masked(modality), names))
                labels[masked] = self._checked(array, -1)
            if modality not in keys and soft not in keys:
                continue
            logits = self._checked(self._read_logits(modality, names, features[modality]), -1)
            thresholds = np.array(self.vocabulary.thresholds(modality))
            if modality in keys:
                labels[modality] = logits > thresholds
            if soft in keys:
                labels[soft] = soften(logits, thresholds)
        return labels

    def texts(self, modality: str) -> Array:
        """Return a modality's class texts [C, D]."""
        path = self.folder / TEXT_FILES[modality]
        if path.is_file():
            return self._checked(load_npy(path), 0)
        logits = self._logits(modality)
        if logits.is_dir():
            raise PipelineError(
                f"the class texts are needed, but '{path}' is missing; add it (one row a class), "
                f"or train with {WITHOUT_LOGITS}."
            )
        raise PipelineError(
            f"'{logits}' is missing, and so is '{path}', of which logits could be made; add the "
            "logits (10xC a video; PLSIM needs the texts too) or the texts (one row a class), or "
            f"train with {WITHOUT_LOGITS}."
        )

    def fingerprint(self) -> str:
        """Return a hash of what makes unmasked labels and texts, but for the videos' own files."""
        made = {}
        for modality in MODALITIES:
            has_logits = self._logits(modality).is_dir()
            made[modality] = {
                "thresholds": self.vocabulary.thresholds(modality),
                "scale": None if has_logits else self._scale(modality),
                "texts": sha256_of(self.folder / TEXT_FILES[modality]),
            }
        return fingerprint(made)

    def _read_logits(self, modality: str, names: Sequence[str], features: Array) -> Array:
        """Return logits [N, T, C]: those of the folder, or the scaled cosines."""
        folder = self._logits(modality)
        if folder.is_dir():
            return read_stacked(npy_paths(folder, names))
        texts = self.texts(modality)
        missing = f"labels that are not masked need logits, but '{folder}' is missing"
        if features.shape[2] != texts.shape[1]:
            raise PipelineError(
                f"{missing}, and the {modality} features have {features.shape[2]} dimensions and "
                f"its texts {texts.shape[1]}, so they cannot be compared; add the logits, or train "
                f"with {WITHOUT_LOGITS}."
            )
        scale = self._scale(modality)
        if scale is None:
            raise PipelineError(
                f"{missing}, and making them of embeddings and texts needs CLAP's logit scale; add "
                f"the logits, give --clap-logit-scale, or train with {WITHOUT_LOGITS}."
            )
        return similarity_logits(normalise(features), normalise(texts), scale)

    def _masked(self, modality: str) -> Path:
        return self.folder / ENCODERS[modality] / "segment_pseudo_labels"

    def _logits(self, modality: str) -> Path:
        return self.folder / ENCODERS[modality] / "segment_logits"

    def _scale(self, modality: str) -> float | None:
        return CLIP_LOGIT_SCALE if modality == "visual" else self.clap_logit_scale

    def _checked(self, array: Array, axis: int) -> Array:
        if array.shape[axis] != len(self.vocabulary):
            raise PipelineError(
                f"labels or texts there are of {array.shape[axis]} classes, the vocabulary has "
                f"{len(self.vocabulary)}; give the vocabulary they were made with."
            )
        return array


def _in_all(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return those of some videos that have a file in each folder, at least one."""
    found = [[path.is_file() for path in npy_paths(folder, names)] for folder in folders]
    kept = [name for name, *each in zip(names, *found, strict=True) if all(each)]
    if not kept:
        counts = ", ".join(
            f"{folder} {sum(each)}" for folder, each in zip(folders, found, strict=True)
        )
        raise PipelineError(
            f"none of the {len(names)} videos has a file in each folder ({counts}); check the "
            "layout and what is missing there."
        )
    return kept
