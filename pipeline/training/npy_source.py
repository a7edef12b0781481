"""Read features and labels from folders with one ``.npy`` file per video, see ``npy_layouts``.

Axes: N videos, T segments, C classes, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.core.arrays import label_problem, unit_rows
from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file, fingerprint, sha256_of
from pipeline.core.shards import Array
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.features.import_options import CLIP_LOGIT_SCALE
from pipeline.features.npy_layouts import (
    ENCODERS,
    LAYOUTS,
    TEXT_FILES,
    WORDS_FILE,
    PerSecond,
    average_frames,
    check_unique_ids,
    group_frames,
    load_npy,
    npy_paths,
    pool_map,
    read_stacked,
    read_word_vectors,
)
from pipeline.labels.pseudo_labels import soften
from pipeline.labels.similarity import similarity_logits
from pipeline.parsers.recipes import Recipe
from pipeline.training.sources import CachedFeatures, check_texts, label_keys

# How to train without logits.
WITHOUT_LOGITS = "--option plsim=false (LINK), and hard labels"


@dataclass(frozen=True)
class NpySource:
    """Source that reads a folder of ``.npy`` files.

    Attributes
    ----------
    folder
        Folder that contains the layout's subfolders.
    layout
        Name of one of ``LAYOUTS``.
    clap_logit_scale
        CLAP's exp(logit_scale), to compute logits from embeddings and texts; None if unknown.
    pseudo_labels
        Folder of the labels, logits and class texts; None looks in ``folder``, then its parent.
    """

    folder: Path
    layout: str
    clap_logit_scale: float | None = None
    pseudo_labels: Path | None = None

    def read(
        self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary, for_training: bool
    ) -> CachedFeatures:
        """Return what a recipe needs, for those of ``names`` that have all files.

        The recipe's ``audio_input`` is ignored; the folder has only one kind of audio features.

        Raises
        ------
        PipelineError
            Something the recipe needs is missing, has the wrong shape or unusable numbers, or two
            videos share an id.
        """
        self.check_names(names)
        if for_training and recipe.uses_teacher_labels:
            raise PipelineError(
                "labels of a teacher are read from shards only; import the features with"
                " import-features, or set labels: soft."
            )
        keys = label_keys(recipe, for_training)
        folders = self._feature_folders(recipe)
        own_texts = {
            modality: self.folder / path for modality, path in LAYOUTS[self.layout].texts.items()
        }
        labels = _Labels(self._labels_folder, self.clap_logit_scale, vocabulary, own_texts)
        kept = _names_in_all(names, [*folders.values(), *labels.folders(keys)])
        fingerprints, texts = {"layout": self.layout}, {}
        if recipe.uses_texts:
            texts = labels.class_texts(recipe)
        if recipe.uses_prior:
            fingerprints["labels"] = labels.fingerprint()
        elif recipe.uses_texts:
            fingerprints["texts"] = labels.texts_fingerprint(recipe)
        features = self._features(folders, kept, recipe.keeps_frames)
        return CachedFeatures(
            names=tuple(kept),
            audio=features["audio"],
            visual=features["visual"],
            motion=features.get("motion"),
            labels=labels.read(keys, kept, features),
            texts=texts,
            fingerprints=fingerprints,
        )

    def check_names(self, names: Sequence[str]) -> None:
        """Check that no two videos share the id that files are named by."""
        check_unique_ids(names)

    def _feature_folders(self, recipe: Recipe) -> dict[str, Path]:
        layout = LAYOUTS[self.layout]
        folders = {"audio": self.folder / layout.audio, "visual": self.folder / layout.visual}
        if recipe.motion:
            candidates = [self.folder / name for name in layout.motion]
            folders["motion"] = next((path for path in candidates if path.is_dir()), candidates[0])
        return folders

    def _features(
        self, folders: Mapping[str, Path], names: Sequence[str], keeps_frames: bool
    ) -> dict[str, Array]:
        frames = LAYOUTS[self.layout].frames
        to_seconds = group_frames if keeps_frames and frames > 1 else average_frames
        per_second: dict[str, PerSecond] = {
            "audio": pool_map,
            "visual": partial(to_seconds, frames=frames),
        }
        return {
            kind: read_stacked(npy_paths(folder, names), per_second.get(kind))
            for kind, folder in folders.items()
        }

    @property
    def _labels_folder(self) -> Path:
        if self.pseudo_labels is not None:
            return self.pseudo_labels
        candidates = (self.folder, self.folder.absolute().parent)
        found = (
            path for path in candidates for name in ENCODERS.values() if (path / name).is_dir()
        )
        return next(found, self.folder)


@dataclass(frozen=True)
class _Labels:
    """Labels and class texts from ``.npy`` files.

    Attributes
    ----------
    folder
        Folder that contains ``CLIP/``, ``CLAP/`` and the class texts.
    clap_logit_scale
        See ``NpySource``.
    vocabulary
        The classes, and the thresholds that turn logits into labels.
    own_texts
        Files of the class texts that the features' layout has; used if ``folder`` has none.
    """

    folder: Path
    clap_logit_scale: float | None
    vocabulary: Vocabulary
    own_texts: Mapping[str, Path]

    def folders(self, keys: Sequence[str]) -> list[Path]:
        """Return the folders in which every video needs a file, for some of ``label_keys``."""
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
        """Return labels [N, T, C] by key; ``features`` replace missing logits."""
        labels: dict[str, Array] = {}
        for modality in MODALITIES:
            masked, soft = f"{modality}_masked", f"{modality}_soft"
            if masked in keys:
                paths = npy_paths(self._masked(modality), names)
                array = read_stacked(paths, problem=label_problem)
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

    def class_texts(self, recipe: Recipe) -> dict[str, Array]:
        """Return the class texts [C, D] of both modalities; word vectors serve both."""
        if recipe.uses_word_vectors:
            return dict.fromkeys(MODALITIES, read_word_vectors(self.folder, len(self.vocabulary)))
        for path in [] if recipe.uses_prior else self._text_files(recipe):
            existing_file(path, "the class texts (one row per class)")
        return {modality: self.texts(modality) for modality in MODALITIES}

    def texts_fingerprint(self, recipe: Recipe) -> str:
        """Return a hash of the files of the class texts."""
        return fingerprint([sha256_of(path) for path in self._text_files(recipe)])

    def _text_files(self, recipe: Recipe) -> list[Path]:
        if recipe.uses_word_vectors:
            return [self.folder / WORDS_FILE]
        return [self._text_file(modality) for modality in MODALITIES]

    def _text_file(self, modality: str) -> Path:
        path = self.folder / TEXT_FILES[modality]
        return path if path.is_file() else self.own_texts.get(modality, path)

    def texts(self, modality: str) -> Array:
        """Return the class texts [C, D] of a modality."""
        path = self._text_file(modality)
        if path.is_file():
            return check_texts(self._checked(load_npy(path), 0), path, self.vocabulary)
        logits = self._logits(modality)
        if logits.is_dir():
            raise PipelineError(
                f"the class texts '{path}' are missing; add the file (one row per class), "
                f"or train with {WITHOUT_LOGITS}."
            )
        raise PipelineError(
            f"'{logits}' is missing, and the logits cannot be computed because '{path}' is missing "
            "too; add the logits (10xC per video; PLSIM also needs the texts) or the texts (one "
            f"row per class), or train with {WITHOUT_LOGITS}."
        )

    def fingerprint(self) -> str:
        """Return a hash of what determines unmasked labels and texts, except the videos' files."""
        determined_by = {}
        for modality in MODALITIES:
            has_logits = self._logits(modality).is_dir()
            determined_by[modality] = {
                "thresholds": self.vocabulary.thresholds(modality),
                "scale": None if has_logits else self._scale(modality),
                "texts": sha256_of(self._text_file(modality)),
            }
        return fingerprint(determined_by)

    def _read_logits(self, modality: str, names: Sequence[str], features: Array) -> Array:
        """Return logits [N, T, C] from the folder or, without one, scaled cosines."""
        folder = self._logits(modality)
        if folder.is_dir():
            return read_stacked(npy_paths(folder, names))
        texts = self.texts(modality)
        missing = f"unmasked labels need logits, but '{folder}' is missing"
        if features.shape[-1] != texts.shape[1]:
            raise PipelineError(
                f"{missing} and cannot be computed because {modality} features have "
                f"{features.shape[-1]} dimensions but class texts have {texts.shape[1]}; add the "
                f"logits, or train with {WITHOUT_LOGITS}."
            )
        scale = self._scale(modality)
        if scale is None:
            raise PipelineError(
                f"{missing} and computing them from embeddings needs CLAP's logit scale; add the "
                f"logits, set --clap-logit-scale, or train with {WITHOUT_LOGITS}."
            )
        per_second = features.mean(axis=2) if features.ndim > 3 else features
        return similarity_logits(unit_rows(per_second), unit_rows(texts), scale)

    def _masked(self, modality: str) -> Path:
        return self.folder / ENCODERS[modality] / "segment_pseudo_labels"

    def _logits(self, modality: str) -> Path:
        return self.folder / ENCODERS[modality] / "segment_logits"

    def _scale(self, modality: str) -> float | None:
        return CLIP_LOGIT_SCALE if modality == "visual" else self.clap_logit_scale

    def _checked(self, array: Array, axis: int) -> Array:
        if array.shape[axis] != len(self.vocabulary):
            raise PipelineError(
                f"the labels or class texts in '{self.folder}' have {array.shape[axis]} classes, "
                f"but the vocabulary has {len(self.vocabulary)}; pass the vocabulary they were "
                "made with."
            )
        return array


def _names_in_all(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return the videos that have a file in every folder; raise PipelineError if there are none."""
    found = [[path.is_file() for path in npy_paths(folder, names)] for folder in folders]
    kept = [name for name, *each in zip(names, *found, strict=True) if all(each)]
    if not kept:
        counts = ", ".join(
            f"{folder} {sum(each)}" for folder, each in zip(folders, found, strict=True)
        )
        raise PipelineError(
            f"none of the {len(names)} videos has a file in every folder (files found: {counts}); "
            "check --layout and the folders."
        )
    return kept
