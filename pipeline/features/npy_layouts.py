"""Published feature layouts: folders with one ``.npy`` file per video.

Files are named by the 11 characters of the video's YouTube id. VALOR's layout::

    CLIP/features/{id}.npy                10x768, L2-normalised
    CLAP/features/{id}.npy                64x768 (map), 10x768 (map, pooled) or 10x512 (embedding)
    st/{id}.npy, or                       10x512, R(2+1)D-18, optional
    feats/r2plus1d_18/{id}.npy

HAN's layout, which most later methods use::

    vggish/{id}.npy                       10x128
    res152/{id}.npy                       80x2048, eight frames per second
    r2plus1d_18/{id}.npy                  10x512

UWAV's layout::

    LLP_CLIP/segment_feats/{id}.npy       10x768
    LLP_CLAP/segment_feats/{id}.npy       10x512 (embedding)
    LLP_{CLIP,CLAP}/event_feats/all_event_feats.npy    Cx768, Cx512: the class texts

Methods that train on pseudo-labels also need files made with CLIP and CLAP. They are looked for in
that folder, in its parent (VALOR's authors keep HAN's folders in ``feats/`` beside ``CLIP/`` and
``CLAP/``), or in a folder that is given::

    {CLIP,CLAP}/segment_pseudo_labels/    10xC, masked with weak labels
    {CLIP,CLAP}/segment_logits/           10xC, optional
    text_clip.npy, text_clap.npy          Cx768, Cx512, optional
    text_words.npy                        CxD word vectors (GloVe: D = 300), for LEAP, optional

PLSIM needs unmasked labels, and soft labels need probabilities. Both are computed from the logits,
or from segment and text embeddings of the same space, which HAN's features lack.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from pipeline.core.arrays import number_problem
from pipeline.core.errors import PipelineError
from pipeline.core.files import atomic_path, child_path
from pipeline.core.progress import track
from pipeline.core.shards import Array
from pipeline.core.wording import counted
from pipeline.features.encoders.pooling import pool_seconds

# Converts the rows of a file to one per second.
PerSecond = Callable[[Array], Array]
ID_LENGTH = 11
ENCODERS = {"audio": "CLAP", "visual": "CLIP"}
TEXT_FILES = {"audio": "text_clap.npy", "visual": "text_clip.npy"}
WORDS_FILE = "text_words.npy"


@dataclass(frozen=True)
class Layout:
    """The feature folders of a layout.

    Attributes
    ----------
    audio, visual
        Folders of ``.npy`` files.
    motion
        The same; the first one that exists is used.
    frames
        Rows of a visual file per segment. They are averaged, as HAN's network does after its first
        layer, which is linear, unless a method has an activation there and needs every frame.
    texts
        Files of the class texts, where the layout has its own; ``TEXT_FILES`` come first.
    """

    audio: str
    visual: str
    motion: tuple[str, ...]
    frames: int = 1
    texts: Mapping[str, str] = field(default_factory=dict)


LAYOUTS = {
    # Source: VALOR's README, with HAN's folders in feats/.
    "valor": Layout("CLAP/features", "CLIP/features", ("st", "feats/r2plus1d_18")),
    # Source: the default folders of HAN's code, which averages 80 frames in groups of 8.
    "han": Layout("vggish", "res152", ("r2plus1d_18",), frames=8),
    # Source: UWAV's README and the archives that its authors released.
    "uwav": Layout(
        "LLP_CLAP/segment_feats",
        "LLP_CLIP/segment_feats",
        ("r2plus1d_18",),
        texts={
            "audio": "LLP_CLAP/event_feats/all_event_feats.npy",
            "visual": "LLP_CLIP/event_feats/all_event_feats.npy",
        },
    ),
}
# Rows of a file of HAN's frames: eight per second of a 10-second video.
FRAME_ROWS = 80
# What to do about a file whose numbers cannot be used.
OTHERWISE = "make the file again, or delete it to leave its video out"
# Cells of CLAP's map: 2 frequency rows x 32 time steps, index f * 32 + t (VALOR's code).
MAP_SHAPE = (2, 32)


def read_npy_folder(folder: Path) -> dict[str, Array]:
    """Read a folder with one ``.npy`` feature file per video: id to ``[T, D]``.

    CLAP maps are pooled to seconds, and files of 80 rows are averaged in groups of 8.

    Raises
    ------
    PipelineError
        A file is not a plain two-dimensional array, or the shapes differ.
    """
    paths = sorted(folder.glob("*.npy"))
    return dict(
        zip((path.stem for path in paths), read_stacked(paths, seconds_of_rows), strict=True)
    )


def npy_paths(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the path of each video's file in a folder."""
    return [child_path(folder, f"{name[:ID_LENGTH]}.npy") for name in names]


def read_stacked(
    paths: Sequence[Path],
    per_second: PerSecond | None = None,
    problem: Callable[[Array], str] = number_problem,
) -> Array:
    """Read files of one two-dimensional shape into ``[N, T, D]``, converting each as it is read.

    ``problem`` says what is wrong with a file's numbers, see ``pipeline.core.arrays``.

    With ``group_frames`` it is ``[N, T, F, D]``: for LLP, HAN's frames take 7.8 GB in memory and
    their means 1 GB.
    """
    arrays = _read_alike(paths, problem)
    rows = map(per_second, arrays) if per_second else arrays
    first = next(rows)
    stacked = np.empty((len(paths), *first.shape), dtype=np.float32)
    stacked[0] = first
    for index, row in enumerate(rows, start=1):
        stacked[index] = row
    return stacked


def _read_alike(paths: Sequence[Path], problem: Callable[[Array], str]) -> Iterator[Array]:
    """Yield each file's array; all must have the same two-dimensional shape."""
    shape: tuple[int, ...] | None = None
    for path in track(paths, len(paths), str(paths[0].parent)):
        array = load_npy(path, problem)
        shape = shape or array.shape
        if array.shape != shape or array.ndim != 2:
            raise PipelineError(
                f"'{path}' has shape {array.shape}, but the first file {shape}; all files of a"
                " folder must have the same two-dimensional shape."
            )
        yield array


def load_npy(path: Path, problem: Callable[[Array], str] = number_problem) -> Array:
    """Read a file as float32.

    Raises
    ------
    PipelineError
        It is not a plain ``.npy`` array, or its numbers have a problem.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise PipelineError(
            f"'{path}' is not a plain .npy array ({error}); write it again."
        ) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise PipelineError(
            f"'{path}' is an .npz archive, not a plain .npy array; save its array with numpy.save."
        )
    if found := number_problem(array):
        raise PipelineError(f"'{path}' {found}; {OTHERWISE}.")
    with np.errstate(over="ignore"):
        rows = np.asarray(array, dtype=np.float32)
    if found := problem(rows):
        raise PipelineError(f"'{path}' {found}; {OTHERWISE}.")
    return rows


def read_word_vectors(folder: Path, classes: int) -> Array:
    """Read the word vectors [C, D] of the classes from a folder.

    Raises
    ------
    PipelineError
        The file is missing or does not have one row per class.
    """
    path = folder / WORDS_FILE
    if not path.is_file():
        raise PipelineError(
            f"the word vectors '{path}' are missing; add the file (one row per class), or train"
            " with --option label_texts=clip."
        )
    vectors = load_npy(path)
    if vectors.ndim != 2 or len(vectors) != classes:
        raise PipelineError(
            f"'{path}' has shape {vectors.shape}, but the vocabulary has"
            f" {counted(classes, 'class')}; it must have one row per class."
        )
    return vectors


def pool_map(steps: Array) -> Array:
    """Return a video's CLAP features per second: a map of 64 cells is pooled, others pass."""
    if len(steps) != MAP_SHAPE[0] * MAP_SHAPE[1]:
        return steps
    grid = torch.from_numpy(steps.T.reshape(1, -1, *MAP_SHAPE))
    pooled: Array = pool_seconds(grid)[0].numpy()
    return pooled


def average_frames(rows: Array, frames: int) -> Array:
    """Average a video's visual features over ``frames`` rows per second."""
    averaged: Array = group_frames(rows, frames).mean(axis=1)
    return averaged


def group_frames(rows: Array, frames: int) -> Array:
    """Return a video's visual features with ``frames`` rows per second as ``[T, F, D]``."""
    if len(rows) % frames:
        raise PipelineError(
            f"visual features have {len(rows)} rows per video, which must be a multiple of"
            f" {frames}; check the folder and --layout."
        )
    return rows.reshape(-1, frames, rows.shape[1])


def seconds_of_rows(rows: Array) -> Array:
    """Return one row per second: a CLAP map is pooled, eight frames of HAN's are averaged."""
    frames = LAYOUTS["han"].frames if len(rows) == FRAME_ROWS else 1
    return average_frames(pool_map(rows), frames)


def check_unique_ids(names: Sequence[str]) -> None:
    """Check that no two videos share an id.

    Raises
    ------
    PipelineError
        Two do.
    """
    counts = Counter(name[:ID_LENGTH] for name in names)
    shared = [identity for identity, count in counts.items() if count > 1]
    if shared:
        raise PipelineError(
            f"{len(shared)} ids belong to several videos, including '{shared[0]}', but .npy files"
            f" are named by the first {ID_LENGTH} characters only; use folders in which every id"
            " is unique."
        )


def write_npy_rows(folder: Path, names: Sequence[str], array: Array) -> None:
    """Write one file per video, ``{id}.npy``."""
    for name, row in track(zip(names, array, strict=True), len(names), str(folder)):
        write_npy(child_path(folder, f"{name[:ID_LENGTH]}.npy"), row)


def write_npy(path: Path, array: Array) -> None:
    """Write an array as float32, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array.astype(np.float32), allow_pickle=False)
