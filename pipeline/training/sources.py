"""Read cached features and labels of videos.

``CachedFeatures`` does not depend on the layout on disk: the pipeline's shards (``ShardSource``)
or folders of ``.npy`` files (``npy_source.NpySource``).
Axes: N videos, T segments, C classes, D features.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import equal_rows, label_problem, share_problem
from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.core.shards import (
    LABELS_FILE,
    PROMPTS_FILE,
    Array,
    Shard,
    ShardReader,
    read_array,
    read_shard,
    shard_paths,
)
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.features.encoders.identity import Identity, identity_in
from pipeline.features.npy_layouts import WORDS_FILE, read_word_vectors
from pipeline.labels.pseudo_labels import TEACHER_LABELS
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.recipes import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedFeatures:
    """Cached features and labels of N videos.

    Attributes
    ----------
    names
        Names of the N videos, in row order.
    audio, visual, motion
        Features [N, T, D]; motion is None if the recipe does not use it. ``visual`` is
        [N, T, F, D], F frames per segment, if the recipe keeps frames and the files have them.
    labels
        Labels [N, T, C] of ``label_keys``: unmasked ``audio``, ``visual`` and ``audio_masked``,
        ``visual_masked`` in {0, 1}; unmasked ``audio_soft``, ``visual_soft`` in [0, 1].
    texts
        Class texts ``audio``, ``visual`` [C, D]; empty if the recipe does not use them.
    fingerprints
        Fingerprint of each encoder's features and, if the recipe uses a prior, of ``labels``, or,
        if it uses class texts only, of ``texts``. A checkpoint only accepts inputs with the
        fingerprints it was trained on.
    encoders
        Identity of each encoder, as far as the features' metadata has it.
    """

    names: tuple[str, ...]
    audio: Array
    visual: Array
    motion: Array | None = None
    labels: Mapping[str, Array] = field(default_factory=dict)
    texts: Mapping[str, Array] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, Identity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that all arrays have the same number of segments."""
        arrays = {"audio": self.audio, "visual": self.visual}
        arrays |= {f"{key} labels": array for key, array in self.labels.items()}
        if self.motion is not None:
            arrays["motion"] = self.motion
        segments = {key: array.shape[1] for key, array in arrays.items()}
        if len(set(segments.values())) > 1:
            counts = ", ".join(f"{key} {count}" for key, count in segments.items())
            raise PipelineError(
                f"features and labels have different numbers of segments per video ({counts}); "
                "use features and pseudo-labels, or .npy folders, with the same number."
            )

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the cached videos among ``names``, in the order of ``names``."""
        row_of = {name: row for row, name in enumerate(self.names)}
        return np.array([row_of[name] for name in names if name in row_of], dtype=np.int64)

    def dimensions(self, classes: int) -> Dimensions:
        """Return the sizes of a parser for these features."""
        return Dimensions(
            audio=self.audio.shape[-1],
            visual=self.visual.shape[-1],
            motion=0 if self.motion is None else self.motion.shape[2],
            text_audio=self.texts["audio"].shape[1] if self.texts else 0,
            text_visual=self.texts["visual"].shape[1] if self.texts else 0,
            segments=self.audio.shape[1],
            classes=classes,
        )


def label_keys(recipe: Recipe, for_training: bool) -> tuple[str, ...]:
    """Return the keys of the labels a recipe needs.

    Masked and soft labels are for training only. Masked labels contain weak labels, so they are
    not even read for videos to parse.
    """
    kinds = set()
    if recipe.uses_prior:
        kinds.add("_masked" if for_training and recipe.masks_training_prior else "")
    if for_training and recipe.uses_pseudo_labels:
        kinds.add("_soft" if recipe.uses_soft_labels else "_masked")
    return tuple(modality + kind for modality in MODALITIES for kind in sorted(kinds))


class FeatureSource(Protocol):
    """A source of cached features and labels."""

    def check_names(self, names: Sequence[str]) -> None:
        """Check that the source can tell all videos of a dataset apart."""

    def read(
        self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary, for_training: bool
    ) -> CachedFeatures:
        """Return what a recipe needs, for the available videos among ``names``.

        Masked and soft labels are read only if ``for_training``.
        """


@dataclass(frozen=True)
class ShardSource:
    """Source that reads the pipeline's shards.

    Attributes
    ----------
    features
        Folder that contains one ``clip-*``, one ``clap-*`` and optionally one ``motion-*`` folder.
    pseudo_labels
        Folder of labels.safetensors.
    clip, clap, motion
        Name of the encoder's folder; needed only if there are several.
    """

    features: Path
    pseudo_labels: Path
    clip: str | None = None
    clap: str | None = None
    motion: str | None = None

    def check_names(self, names: Sequence[str]) -> None:
        """Accept all names: shards hold them in full."""

    def read(
        self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary, for_training: bool
    ) -> CachedFeatures:
        """Return what a recipe needs, for those of ``names`` that have features and labels.

        Raises
        ------
        PipelineError
            A folder or file is missing or ambiguous, or belongs to other classes or features.
        """
        folders = self._folders(recipe)
        audio_input = _audio_array(folders["clap"], recipe)
        arrays = {"clap": audio_input, "clip": "embedding", "motion": "embedding"}
        shards = {kind: read_array(folder, arrays[kind]) for kind, folder in folders.items()}
        fingerprints = {key: shard.meta.get("fingerprint", "") for key, shard in shards.items()}
        encoders = {key: identity_in(shard.meta) for key, shard in shards.items()}
        if shards["clap"].meta.get("inputs") == "classic":
            fingerprints["layout"] = "han"
            if recipe.keeps_frames:
                logger.info(
                    "%s holds means of 8 frames, but this method's activation acts on every frame;"
                    " its results differ a little from those with --layout han",
                    folders["clip"],
                )
        if keys := label_keys(recipe, for_training):
            shards["labels"] = self._read_labels(keys, vocabulary, fingerprints)
        if for_training and recipe.uses_teacher_labels:
            self._check_teacher(shards["labels"])
        texts = {}
        if recipe.uses_word_vectors:
            texts = dict.fromkeys(MODALITIES, read_word_vectors(self.features, len(vocabulary)))
            fingerprints["texts"] = sha256_of(self.features / WORDS_FILE)
        elif recipe.uses_texts:
            for modality, kind in (("audio", "clap"), ("visual", "clip")):
                texts[modality] = _texts(folders[kind], vocabulary, fingerprints[kind])
            # The fingerprint of a prior covers the captions.
            if not recipe.uses_prior:
                fingerprints["texts"] = vocabulary.captions_fingerprint()
        # Labels of older versions have no fingerprint; their checkpoints require none.
        if recipe.uses_prior and (made := shards["labels"].meta.get("fingerprint")):
            fingerprints["labels"] = made
        kept = set.intersection(*(set(shard.names) for shard in shards.values()))
        names = [name for name in names if name in kept]
        chosen = {key: shard.select(names) for key, shard in shards.items()}
        return CachedFeatures(
            names=tuple(names),
            audio=chosen["clap"][audio_input],
            visual=chosen["clip"]["embedding"],
            motion=chosen["motion"]["embedding"] if recipe.motion else None,
            labels=chosen["labels"].arrays if keys else {},
            texts=texts,
            fingerprints=fingerprints,
            encoders={key: identity for key, identity in encoders.items() if identity},
        )

    def _folders(self, recipe: Recipe) -> dict[str, Path]:
        """Return the feature folder of each encoder a recipe needs."""
        named = {"clap": self.clap, "clip": self.clip}
        named |= {"motion": self.motion} if recipe.motion else {}
        return {kind: encoder_folder(self.features, kind, name) for kind, name in named.items()}

    def _read_labels(
        self, keys: Sequence[str], vocabulary: Vocabulary, fingerprints: Mapping[str, str]
    ) -> Shard:
        """Read pseudo-labels and check that they belong to these classes and features."""
        path = self.pseudo_labels / LABELS_FILE
        if not path.is_file():
            raise PipelineError(
                f"this method needs pseudo-labels, but '{path}' does not exist; pass its folder "
                "with --pseudo-labels, or run the pseudo-labels stage."
            )
        with ShardReader(path) as reader:
            if absent := set(keys) - set(reader.keys):
                raise PipelineError(
                    f"'{path}' has no array '{min(absent)}'; run pseudo-labels again."
                )
            shard = Shard(reader.names, {key: reader.array(key) for key in keys}, reader.meta)
        for key in keys:
            problem = (share_problem if key.endswith("_soft") else label_problem)(shard[key])
            if problem:
                raise PipelineError(f"'{path}' {problem} in '{key}'; run pseudo-labels again.")
        classes = shard[keys[0]].shape[2]
        if classes != len(vocabulary):
            raise PipelineError(
                f"'{path}' has {classes} classes, but the vocabulary has {len(vocabulary)}; "
                "run pseudo-labels with this vocabulary."
            )
        for kind, fingerprint in fingerprints.items():
            if shard.meta.get(kind, fingerprint) != fingerprint:
                raise PipelineError(
                    f"'{path}' was made from {kind} features '{shard.meta[kind]}', not "
                    f"'{fingerprint}'; run pseudo-labels on these features."
                )
        return shard

    def _check_teacher(self, labels: Shard) -> None:
        """Check that a teacher made the masked and soft labels."""
        if TEACHER_LABELS not in labels.meta:
            raise PipelineError(
                f"'{self.pseudo_labels / LABELS_FILE}' has no labels of a teacher; train one with"
                " the teacher stage and run pseudo-labels with --teacher, or set labels: soft."
            )


def encoder_folder(features: Path, kind: str, name: str | None) -> Path:
    """Return the only folder ``{kind}-*`` in a features folder, or the folder ``name``.

    Raises
    ------
    PipelineError
        ``name`` is None and there is not exactly one folder.
    """
    if name is not None:
        return features / name
    found = sorted(path for path in features.glob(f"{kind}-*") if path.is_dir())
    if not found:
        raise PipelineError(
            f"'{features}' has no {kind}-* folder; check the path, or run "
            "`snakemake --cores all features`."
        )
    if len(found) > 1:
        raise PipelineError(
            f"'{features}' has {len(found)} {kind}-* folders: "
            f"{', '.join(path.name for path in found)}; choose one with --{kind}."
        )
    return found[0]


def _audio_array(folder: Path, recipe: Recipe) -> str:
    """Return the array that the recipe hears; of VGGish's imported features the only one."""
    with ShardReader(shard_paths(folder)[0]) as reader:
        return "embedding" if reader.meta.get("inputs") == "classic" else recipe.audio_input


def _texts(folder: Path, vocabulary: Vocabulary, fingerprint: str) -> Array:
    """Read the class texts of a feature folder; check that they belong to it and the vocabulary."""
    path = folder / PROMPTS_FILE
    shard = read_shard(path)
    if shard.names != vocabulary.names:
        raise PipelineError(
            f"'{path}' has captions of {len(shard.names)} classes that differ from the "
            f"{len(vocabulary)} classes of the vocabulary; run the prompts again."
        )
    expected = shard.meta.get("fingerprint", fingerprint)
    if expected != fingerprint:
        raise PipelineError(
            f"'{path}' belongs to features '{expected}', but its folder has features "
            f"'{fingerprint}'; run the prompts again."
        )
    return check_texts(shard["text"], path, vocabulary)


def check_texts(texts: Array, path: Path, vocabulary: Vocabulary) -> Array:
    """Return class texts [C, D] if no two classes have the same.

    Raises
    ------
    PipelineError
        Two have, so that no method could tell these classes apart by their texts.
    """
    if found := equal_rows(texts):
        first, second = (vocabulary.names[index] for index in found)
        raise PipelineError(
            f"'{path}' has the same text embedding for '{first}' and '{second}'; give every class"
            " a text of its own."
        )
    return texts
