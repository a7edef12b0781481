"""Folders of one ``.npy`` file a video, as researchers already have them, read as a cache.

Files are named by the 11 characters of the video's YouTube id. VALOR's authors have::

    CLIP/features/{id}.npy                10x768, L2-normalised
    CLAP/features/{id}.npy                64x768 (map), 10x768 (map, pooled) or 10x512 (embedding)
    st/{id}.npy                           10x512, R(2+1)D-18, optional

HAN's, and everybody who took them from there::

    vggish/{id}.npy                       10x128
    res152/{id}.npy                       80x2048, eight frames a second
    r2plus1d_18/{id}.npy                  10x512

and for methods that ask for them either folder has, made by CLIP and CLAP::

    {CLIP,CLAP}/segment_pseudo_labels/    10xC, masked with weak labels
    {CLIP,CLAP}/segment_logits/           10xC, optional
    text_clip.npy, text_clap.npy          Cx768, Cx512, optional

PLSIM needs labels that are not masked, and soft labels are not 0 or 1: both come from the logits,
or from embeddings and texts of one space, which HAN's features are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.cache import Cache
from pipeline.encoders.pooling import pool_seconds
from pipeline.errors import PipelineError
from pipeline.files import child_path
from pipeline.parsers.recipes import Recipe
from pipeline.pseudo_labels import soften
from pipeline.vocabulary import Vocabulary

Array = NDArray[Any]

ID_LENGTH = 11
ENCODERS = {"audio": "CLAP", "visual": "CLIP"}
TEXT_FILES = {"audio": "text_clap.npy", "visual": "text_clip.npy"}


@dataclass(frozen=True)
class Layout:
    """In which folders a layout has its features.

    Attributes
    ----------
    audio, visual, motion
        Folders of ``.npy`` files.
    frames
        Rows of a visual file for each segment; they are averaged, as HAN's network does after its
        first layer, which is linear.
    """

    audio: str
    visual: str
    motion: str
    frames: int = 1


LAYOUTS = {
    "valor": Layout("CLAP/features", "CLIP/features", "st"),
    # Source: the default folders of HAN's code, and its pooling of 80 frames in eights.
    "han": Layout("vggish", "res152", "r2plus1d_18", frames=8),
}
# Steps of CLAP's map: 2 frequency rows of 32 steps, index f·32 + t (VALOR's code).
MAP_SHAPE = (2, 32)
# exp(logit_scale) of CLIP ViT-L/14 (Radford et al., 2021); CLAP's is in its checkpoint only.
CLIP_LOGIT_SCALE = 100.0
POOLED_AT_ONCE = 256
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
    """

    folder: Path
    layout: str
    clap_logit_scale: float | None = None

    @property
    def _folders(self) -> Layout:
        return LAYOUTS[self.layout]

    def read(self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary) -> Cache:
        """Return what a recipe needs of those of ``names`` that have a file of each kind.

        ``audio_input`` has no say: audio features are what the folder has.

        Raises
        ------
        PipelineError
            Something that the recipe needs is missing or has another shape.
        """
        kinds = self._kinds(recipe)
        kept = [name for name in names if all(self._path(kind, name).is_file() for kind in kinds)]
        if not kept:
            raise PipelineError(
                f"none of the {len(names)} videos has a file in each of {', '.join(kinds)} under "
                f"'{self.folder}'; check the layout and what is missing there."
            )
        audio = _seconds(self._stack(self._folders.audio, kept))
        visual = _averaged(self._stack(self._folders.visual, kept), self._folders.frames)
        labels: dict[str, Array] = {}
        texts: dict[str, Array] = {}
        for modality, features in (("audio", audio), ("visual", visual)):
            if recipe.uses_pseudo_labels:
                kind = f"{ENCODERS[modality]}/segment_pseudo_labels"
                labels[f"{modality}_masked"] = _of_classes(self._stack(kind, kept), -1, vocabulary)
            if recipe.uses_prior:
                texts[modality] = _of_classes(self._texts(modality), 0, vocabulary)
            if recipe.uses_prior or recipe.uses_soft_labels:
                logits = _of_classes(self._logits(modality, kept, features), -1, vocabulary)
                thresholds = np.array(vocabulary.thresholds(modality))
                labels[modality] = logits > thresholds
                labels[f"{modality}_soft"] = soften(logits, thresholds)
        return Cache(
            names=tuple(kept),
            audio=audio,
            visual=visual,
            motion=self._stack(self._folders.motion, kept) if recipe.motion else None,
            labels=labels,
            texts=texts,
            fingerprints={"layout": self.layout},
        )

    def _kinds(self, recipe: Recipe) -> list[str]:
        """Return the folders in which every video must have a file."""
        kinds = [self._folders.audio, self._folders.visual]
        if recipe.uses_pseudo_labels:
            kinds += [f"{encoder}/segment_pseudo_labels" for encoder in ENCODERS.values()]
        if recipe.uses_prior or recipe.uses_soft_labels:
            logits = [f"{encoder}/segment_logits" for encoder in ENCODERS.values()]
            kinds += [kind for kind in logits if (self.folder / kind).is_dir()]
        return [*kinds, self._folders.motion] if recipe.motion else kinds

    def _path(self, kind: str, name: str) -> Path:
        return child_path(self.folder / kind, f"{name[:ID_LENGTH]}.npy")

    def _stack(self, kind: str, names: Sequence[str]) -> Array:
        return _stacked([self._path(kind, name) for name in names])

    def _texts(self, modality: str) -> Array:
        path = self.folder / TEXT_FILES[modality]
        if not path.is_file():
            raise PipelineError(
                f"the class texts are needed, but '{path}' is missing; add it (one row a class), "
                f"or train with {WITHOUT_LOGITS}."
            )
        return _load(path)

    def _logits(self, modality: str, names: Sequence[str], features: Array) -> Array:
        """Return logits [N, T, C]: those of the folder, or the scaled cosines."""
        kind = f"{ENCODERS[modality]}/segment_logits"
        if (self.folder / kind).is_dir():
            return self._stack(kind, names)
        texts = self._texts(modality)
        missing = f"labels that are not masked need logits, but '{self.folder / kind}' is missing"
        if features.shape[2] != texts.shape[1]:
            raise PipelineError(
                f"{missing}, and the {modality} features have {features.shape[2]} dimensions and "
                f"its texts {texts.shape[1]}, so they cannot be compared; add the logits, or train "
                f"with {WITHOUT_LOGITS}."
            )
        scale = CLIP_LOGIT_SCALE if modality == "visual" else self.clap_logit_scale
        if scale is None:
            raise PipelineError(
                f"{missing}, and making them of embeddings and texts needs CLAP's logit scale; add "
                f"the logits, give --clap-logit-scale, or train with {WITHOUT_LOGITS}."
            )
        return scale * (_unit(features) @ _unit(texts).T)


def read_npy_folder(folder: Path) -> dict[str, Array]:
    """Read a folder of features, one ``.npy`` a video: id to ``[T, D]``; CLAP's maps are pooled.

    Raises
    ------
    PipelineError
        A file is no plain array of two axes, or not all have the same shape.
    """
    paths = sorted(folder.glob("*.npy"))
    stacked = _seconds(_stacked(paths))
    return dict(zip((path.stem for path in paths), stacked, strict=True))


def _stacked(paths: Sequence[Path]) -> Array:
    """Read files of one shape with two axes."""
    arrays = [_load(path) for path in paths]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape != arrays[0].shape or array.ndim != 2:
            raise PipelineError(
                f"'{path}' is {array.shape}, the first one {arrays[0].shape}; all files of a"
                " folder must be alike, with two axes."
            )
    return np.stack(arrays)


def _load(path: Path) -> Array:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise PipelineError(
            f"'{path}' is not a plain .npy array ({error}); write it again."
        ) from None
    return np.asarray(array, dtype=np.float32)


def _seconds(features: Array) -> Array:
    """Return CLAP features a second: a map of 64 steps is pooled, others pass."""
    videos, steps, width = features.shape
    if steps != MAP_SHAPE[0] * MAP_SHAPE[1]:
        return features
    maps = torch.from_numpy(features).reshape(videos, *MAP_SHAPE, width).permute(0, 3, 1, 2)
    return np.concatenate([pool_seconds(some).numpy() for some in maps.split(POOLED_AT_ONCE)])


def _averaged(features: Array, frames: int) -> Array:
    """Return visual features a second, of several rows a second."""
    videos, rows, width = features.shape
    if rows % frames:
        raise PipelineError(
            f"visual features have {rows} rows a video, which are not {frames} a second; check the"
            " folder and --layout."
        )
    averaged: Array = features.reshape(videos, -1, frames, width).mean(axis=2)
    return averaged


def _of_classes(array: Array, axis: int, vocabulary: Vocabulary) -> Array:
    if array.shape[axis] != len(vocabulary):
        raise PipelineError(
            f"labels or texts there are of {array.shape[axis]} classes, the vocabulary has "
            f"{len(vocabulary)}; give the vocabulary they were made with."
        )
    return array


def _unit(array: Array) -> Array:
    unit: Array = array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)
    return unit
