"""Simulated releases: archives and folders of exactly the form in which VALOR's, UWAV's and HAN's
authors released theirs, with arrays in which the events of given videos can be found again."""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.vocabulary import Vocabulary, read_vocabulary
from pipeline.data.annotations import (
    EVENT_TABLES,
    SPLIT_TABLES,
    segments_to_events,
    write_events,
)

Array = NDArray[np.float32]
SEGMENTS = 10
CLIP_SIZE, CLAP_SIZE = 768, 512
# Cosine of a segment with the text of a class that occurs in it, and, as CLIP's are, that of any.
PRESENT, ABSENT = 0.3, 0.1


def npy(array: NDArray[np.generic]) -> bytes:
    """Return the content of an .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def unit(array: Array) -> Array:
    return np.asarray(array / np.linalg.norm(array, axis=-1, keepdims=True), dtype=np.float32)


@dataclass
class Release:
    """Simulated features of some videos.

    Attributes
    ----------
    truth
        Video name to annotated segments ``[2, T, C]``, audio before visual.
    vocabulary
        The classes.
    seed
        Of the arrays.
    """

    truth: Mapping[str, NDArray[np.uint8]]
    vocabulary: Vocabulary = field(default_factory=read_vocabulary)
    seed: int = 0

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        classes = len(self.vocabulary)
        self.texts = {
            "clip": unit(random.standard_normal((classes, CLIP_SIZE), np.float32)),
            "clap": unit(random.standard_normal((classes, CLAP_SIZE), np.float32)),
        }
        self.map_texts = unit(random.standard_normal((classes, CLIP_SIZE), np.float32))

    def embedding(self, name: str, texts: Array, modality: int, salt: int = 0) -> Array:
        """Return unit rows [T, D] near the texts of the classes that occur in a segment."""
        random = np.random.default_rng([self.seed, salt, modality, *name.encode()])
        noise = unit(random.standard_normal((SEGMENTS, texts.shape[1]), np.float32))
        return unit(0.5 * self.truth[name][modality] @ texts + noise)

    def map(self, name: str) -> Array:
        """Return a map [64, 768]: 2 frequency rows of 32 steps."""
        seconds = self.embedding(name, self.map_texts, 0, salt=1)
        steps = seconds[np.arange(32) * SEGMENTS // 32]
        return np.concatenate([steps, steps])

    def masked(self, name: str, modality: int) -> NDArray[np.float64]:
        """Return masked labels [T, C]: the truth with some segments missing."""
        random = np.random.default_rng([self.seed, 2, modality, *name.encode()])
        return self.truth[name][modality] * (random.random((SEGMENTS, len(self.vocabulary))) < 0.9)

    def valor(self) -> dict[str, dict[str, bytes]]:
        """Return archive to member to content, as in VALOR's release."""
        members: dict[str, dict[str, bytes]] = {"CLIP": {}, "CLAP": {}}
        for name in self.truth:
            file = f"{name[:11]}.npy"
            visual = self.embedding(name, self.texts["clip"], 1)
            members["CLIP"] |= {
                f"CLIP/features/{file}": npy(visual),
                f"CLIP/segment_pseudo_labels/{file}": npy(self.masked(name, 1)),
            }
            members["CLAP"] |= {
                f"CLAP/features/{file}": npy(self.map(name)),
                f"CLAP/segment_pseudo_labels/{file}": npy(self.masked(name, 0)),
            }
        return members

    def uwav(self, folder: str = "clip_feats") -> dict[str, dict[str, bytes]]:
        """Return archive to member to content, as in UWAV's release."""
        members: dict[str, dict[str, bytes]] = {}
        for modality, kind in enumerate(("clap", "clip")):
            archive = f"LLP_{kind.upper()}"
            texts = self.texts[kind]
            rows = {
                f"{folder}/segment_feats/{name[:11]}.npy": npy(
                    self.embedding(name, texts, modality, salt=3)
                )
                for name in self.truth
            }
            members[archive] = rows | {f"{folder}/event_feats/all_event_feats.npy": npy(texts)}
        return members

    def han(self) -> dict[str, dict[str, bytes]]:
        """Return folder to member to content, as in HAN's release."""
        shapes = {"vggish": (10, 128), "res152": (80, 2048), "r2plus1d_18": (10, 512)}
        random = np.random.default_rng([self.seed, 4])
        return {
            folder: {
                f"{folder}/{name[:11]}.npy": npy(random.standard_normal(shape, np.float32))
                for name in self.truth
            }
            for folder, shape in shapes.items()
        }

    def write_tables(self, folder: Path, splits: Mapping[str, Sequence[str]]) -> None:
        """Write the annotation tables; a video's weak labels are the classes that occur in it."""
        folder.mkdir(parents=True, exist_ok=True)
        for split, table in SPLIT_TABLES.items():
            lines = ["filename\tevent_labels"]
            for name in splits[split]:
                present = self.truth[name].any(axis=(0, 1))
                labels = [
                    each
                    for each, is_in in zip(self.vocabulary.names, present, strict=True)
                    if is_in
                ]
                lines.append(f"{name}\t{','.join(labels)}")
            (folder / table).write_text("\n".join(lines) + "\n")
        scored = [name for split in ("val", "test") for name in splits[split]]
        for modality, table in enumerate(EVENT_TABLES.values()):
            labels = np.stack([self.truth[name][modality] for name in scored])
            rows = segments_to_events(labels, scored)
            write_events(folder / table, rows, self.vocabulary)


def simulated_truth(
    names: Iterable[str], classes: int = 25, seed: int = 0
) -> dict[str, NDArray[np.uint8]]:
    """Return one or two events per video, most of them heard and seen."""
    random = np.random.default_rng(seed)
    truth = {}
    for name in names:
        labels = np.zeros((2, SEGMENTS, classes), np.uint8)
        for index in random.choice(classes, size=random.integers(1, 3), replace=False):
            start = random.integers(0, SEGMENTS - 2)
            for modality in random.permutation(2)[: 1 + (random.random() < 0.7)]:
                labels[modality, start : start + random.integers(2, SEGMENTS), index] = 1
        truth[name] = labels
    return truth


def simulated_names(count: int) -> list[str]:
    return [f"video{index:06d}_{index}_{index + 10}" for index in range(count)]


def write_zips(folder: Path, members: Mapping[str, Mapping[str, bytes]]) -> None:
    """Write ``{archive}.zip``; as zip programs do, with an entry for each folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for archive, files in members.items():
        with zipfile.ZipFile(folder / f"{archive}.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for parent in dict.fromkeys(name.rpartition("/")[0] for name in files):
                file.mkdir(parent)
            for name, content in files.items():
                file.writestr(name, content)


def write_folders(folder: Path, members: Mapping[str, Mapping[str, bytes]]) -> None:
    """Write what the archives unpack to, each in a folder of its name."""
    for archive, files in members.items():
        for name, content in files.items():
            inside = name if name.startswith(f"{archive}/") else f"{archive}/{name}"
            path = folder / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
