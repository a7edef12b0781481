"""Import features that others released into the pipeline's own shards, each array checked.

A video is kept if every array that is imported has its file, of the right shape and finite. So all
methods train and are scored on the same videos, whichever arrays they read.
Axes: N videos, T segments, D features, C classes.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.arrays import label_problem, number_problem, unit_rows
from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.progress import track
from pipeline.core.shards import (
    PROMPTS_FILE,
    SHARD_NAME,
    Array,
    Shard,
    StatusRow,
    write_shard,
    write_status,
)
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.data.annotations import read_splits
from pipeline.data.archives import ArraySource, open_arrays
from pipeline.data.manifest import shard_of
from pipeline.features.import_options import (
    CLIP_LOGIT_SCALE,
    IMPORT_VERSION,
    IMPORTED_SEGMENTS,
    UNIT_ARRAYS,
    ImportedArray,
    ReleasedFeatures,
    origin_of,
)
from pipeline.features.npy_layouts import ID_LENGTH, check_unique_ids, seconds_of_rows

logger = logging.getLogger(__name__)

# The released masked labels of every kept video, beside the feature folders.
MASKED_LABELS_FILE = "masked_labels.safetensors"
# Where the class texts are in UWAV's archives.
TEXTS_FOLDER, TEXTS_NAME = "event_feats", "all_event_feats"
MASKED_FOLDER = "segment_pseudo_labels"
# Bytes of the widest number that is accepted.
WIDEST = 8


@dataclass(frozen=True)
class ArrayReader:
    """Reads one array of any video.

    Attributes
    ----------
    array
        Which array.
    source
        The open archive or folder.
    members
        Id to name in the source.
    """

    array: ImportedArray
    source: ArraySource
    members: Mapping[str, str]

    def read(self, identity: str) -> Array:
        """Return a video's checked array ``[T, D]``, float32.

        Raises
        ------
        ItemError
            The file is missing, or has another shape or type, or values that are not finite.
        PipelineError
            The file is corrupt, or not a plain array.
        """
        where = f"{self.source.path.name}: {self.array.folder or '.'}/{identity}.npy"
        name = self.members.get(identity)
        if name is None:
            raise ItemError(Status.MISSING, f"'{where}' is missing")
        largest = max(rows * columns for rows, columns in self.array.shapes) * WIDEST
        rows = self.source.read(name, largest)
        if rows.shape not in self.array.shapes or rows.dtype.kind not in "fiub":
            expected = " or ".join("x".join(map(str, shape)) for shape in self.array.shapes)
            found = "x".join(map(str, rows.shape)) or "single"
            raise ItemError(
                Status.BAD_ARRAY,
                f"'{where}' is a {found} array of {rows.dtype}; it must be {expected} numbers",
            )
        rows = seconds_of_rows(_as_float32(rows, where))
        return _unit_rows(rows, where) if self.array.is_unit else rows


def import_features(
    features: ReleasedFeatures,
    annotations: Path,
    vocabulary: Vocabulary,
    shards: int,
    out: Path,
) -> None:
    """Write the shards of every video of the tables; the ``import-features`` stage.

    Writes ``{kind}-{fingerprint}/K-of-N.safetensors`` and status tables for every kind of the
    features, ``prompts.safetensors`` beside those of CLIP and CLAP if there are class texts, and
    ``masked_labels.safetensors`` if there are released labels. One shard's videos are in memory at
    a time.

    Parameters
    ----------
    features
        What is imported.
    annotations, vocabulary
        Folder of the split tables, and the classes.
    shards
        Number of shards.
    out
        Folder of the feature folders.

    Raises
    ------
    PipelineError
        An archive is missing, corrupt or hostile, or not a single video can be imported.
    """
    names = sorted(name for listed in read_splits(annotations).values() for name in listed)
    check_unique_ids(names)
    metas = _metas(features)
    with ExitStack() as stack:
        readers = _open_readers(features, len(vocabulary), stack)
        _log_extra_ids(readers, names)
        _write_texts(features, vocabulary, metas, out)
        by_shard: dict[int, list[str]] = {shard: [] for shard in range(1, shards + 1)}
        for name in names:
            by_shard[shard_of(name, shards)].append(name)
        labels: list[Shard] = []
        rows: list[StatusRow] = []
        for shard, of_shard in track(by_shard.items(), shards, "import", unit="shards"):
            arrays, statuses = _read_videos(readers, of_shard)
            kept = tuple(row.filename for row in statuses if row.kept)
            rows += statuses
            for kind, meta in metas.items():
                path = out / f"{kind}-{meta['fingerprint']}" / f"{shard}-of-{shards}.safetensors"
                keyed = {key: array for (of, key), array in arrays.items() if of == kind}
                write_shard(path, Shard(kept, keyed, meta))
                write_status(path.with_suffix(".status.tsv"), statuses)
            masked = {key: array for (of, key), array in arrays.items() if of == MASKED_FOLDER}
            labels.append(Shard(kept, masked))
    for kind, meta in metas.items():
        _remove_other_shards(out / f"{kind}-{meta['fingerprint']}", shards)
    _check_kept(rows)
    if features.has_masked_labels:
        _write_masked_labels(labels, features, out)


def members_by_id(source: ArraySource, folder: str) -> dict[str, str]:
    """Return id to name of the arrays in one folder of a source, wherever that folder lies.

    Parameters
    ----------
    source
        An open archive or folder.
    folder
        Name of the folder; empty for the top.

    Raises
    ------
    PipelineError
        There is no such folder with arrays, or there are several.
    """
    found: dict[str, dict[str, str]] = {}
    for name in source.names():
        parent, _, file = name.rpartition("/")
        if parent.rpartition("/")[2] == folder:
            found.setdefault(parent, {})[file.removesuffix(".npy")] = name
    if len(found) != 1:
        problem = f"{len(found)} folders {folder}/" if found else f"no folder {folder}/"
        raise PipelineError(
            f"'{source.path}' has {problem if folder else 'no files'} with .npy files; it must"
            " have one, as its authors released it."
        )
    return found.popitem()[1]


def read_texts(source: ArraySource, largest: int) -> tuple[Array, str]:
    """Return the class texts of released embeddings, and where they are, for messages.

    Parameters
    ----------
    source
        An open archive or folder.
    largest
        Bytes that the texts may take.

    Raises
    ------
    PipelineError
        There are none.
    """
    name = members_by_id(source, TEXTS_FOLDER).get(TEXTS_NAME)
    if name is None:
        raise PipelineError(
            f"'{source.path}' has no {TEXTS_FOLDER}/{TEXTS_NAME}.npy, the class texts; download it"
            " again."
        )
    return source.read(name, largest), f"{source.path}: {name}"


def _open_readers(features: ReleasedFeatures, classes: int, stack: ExitStack) -> list[ArrayReader]:
    """Open every archive once, and find the arrays in it."""
    arrays = features.arrays()
    arrays += [
        ImportedArray(
            MASKED_FOLDER,
            f"{modality}_masked",
            path,
            MASKED_FOLDER,
            ((IMPORTED_SEGMENTS, classes),),
        )
        for modality, path in features.masked_labels().items()
    ]
    sources: dict[Path, ArraySource] = {}
    for path in dict.fromkeys(array.archive for array in arrays):
        sources[path] = stack.enter_context(open_arrays(path))
    return [
        ArrayReader(
            array, sources[array.archive], members_by_id(sources[array.archive], array.folder)
        )
        for array in arrays
    ]


def _read_videos(
    readers: Sequence[ArrayReader], names: Sequence[str]
) -> tuple[dict[tuple[str, str], Array], list[StatusRow]]:
    """Return kind and key to array ``[N, T, D]`` of the videos that are kept, and all statuses."""
    rows: dict[tuple[str, str], list[Array]] = {
        (reader.array.kind, reader.array.key): [] for reader in readers
    }
    statuses = []
    for name in names:
        try:
            video = [_read_checked(reader, name[:ID_LENGTH]) for reader in readers]
        except ItemError as error:
            statuses.append(StatusRow(name, False, error.status, error.detail))
            continue
        for of_key, row in zip(rows.values(), video, strict=True):
            of_key.append(row)
        statuses.append(StatusRow(name, True, Status.OK))
    stacked: dict[tuple[str, str], Array] = {}
    for reader in readers:
        key = reader.array.kind, reader.array.key
        shape = (IMPORTED_SEGMENTS, reader.array.shapes[0][1])
        dtype = np.uint8 if reader.array.kind == MASKED_FOLDER else np.float32
        stacked[key] = np.stack(rows.pop(key)) if rows[key] else np.empty((0, *shape), dtype)
    return stacked, statuses


def _read_checked(reader: ArrayReader, identity: str) -> Array:
    """Return a video's array; labels as 0 and 1, uint8."""
    rows = reader.read(identity)
    if reader.array.kind != MASKED_FOLDER:
        return rows
    if problem := label_problem(rows):
        where = f"{reader.source.path.name}: {MASKED_FOLDER}/{identity}.npy"
        raise ItemError(Status.BAD_ARRAY, f"'{where}' {problem}")
    return rows.astype(np.uint8)


def _as_float32(rows: Array, where: str) -> Array:
    """Return numbers as float32; those that are infinite then may have been finite before."""
    if problem := number_problem(rows):
        raise ItemError(Status.NOT_FINITE, f"'{where}' {problem}")
    with np.errstate(over="ignore"):
        converted: Array = rows.astype(np.float32)
    if not np.isfinite(converted).all():
        largest = np.abs(rows).max()
        raise ItemError(
            Status.BAD_ARRAY, f"'{where}' has values up to {largest:.3g}, too large for float32"
        )
    return converted


def _unit_rows(rows: Array, where: str) -> Array:
    """Scale rows to length 1."""
    if not rows.any(axis=-1).all():
        raise ItemError(Status.BAD_ARRAY, f"'{where}' has a row of zeros")
    return unit_rows(rows)


def _metas(features: ReleasedFeatures) -> dict[str, dict[str, str]]:
    """Return the meta of each kind's shards: what they were imported from."""
    arrays = features.arrays()
    metas = {}
    for kind, made in features.fingerprints().items():
        of_kind = [array for array in arrays if array.kind == kind]
        metas[kind] = {
            "encoder": kind,
            "segments": str(IMPORTED_SEGMENTS),
            "version": str(IMPORT_VERSION),
            "fingerprint": made,
            "imported": ", ".join(f"{each.key}: {origin_of(each.archive)}" for each in of_kind),
            "inputs": features.inputs,
            UNIT_ARRAYS: ",".join(each.key for each in of_kind if each.is_unit),
        }
    return metas


def _write_texts(
    features: ReleasedFeatures,
    vocabulary: Vocabulary,
    metas: Mapping[str, Mapping[str, str]],
    out: Path,
) -> None:
    """Write the released class texts of CLIP and CLAP as prompts."""
    scales = {"clip": CLIP_LOGIT_SCALE, "clap": features.clap_logit_scale}
    sizes = {array.kind: array.shapes[0][1] for array in features.arrays() if array.is_unit}
    for kind, path in features.texts().items():
        with open_arrays(path) as source:
            largest = 2 * len(vocabulary) * sizes[kind] * WIDEST
            texts, where = read_texts(source, largest)
        unit = _unit_texts(texts, where, (len(vocabulary), sizes[kind]))
        meta = {
            "encoder": kind,
            "imported": origin_of(path),
            "version": str(IMPORT_VERSION),
            "logit_scale": repr(scales[kind]),
            "fingerprint": metas[kind]["fingerprint"],
        }
        folder = out / f"{kind}-{metas[kind]['fingerprint']}"
        write_shard(folder / PROMPTS_FILE, Shard(vocabulary.names, {"text": unit}, meta))


def _unit_texts(texts: Array, where: str, expected: tuple[int, int]) -> Array:
    """Return the class texts with rows of length 1, each of its own."""
    if texts.shape != expected or texts.dtype.kind not in "fiu":
        found = "x".join(map(str, texts.shape)) or "single"
        raise PipelineError(
            f"'{where}' is a {found} array of {texts.dtype}; it must be {expected[0]}x{expected[1]}"
            " finite numbers, one row per class."
        )
    try:
        unit = _unit_rows(_as_float32(texts, where), where)
    except ItemError as error:
        raise PipelineError(f"{error.detail}; it must have a text for every class.") from None
    if len(np.unique(unit, axis=0)) < len(unit):
        raise PipelineError(f"'{where}' has the same text for two classes; they must differ.")
    return unit


def _remove_other_shards(folder: Path, shards: int) -> None:
    """Remove what an earlier import into another number of shards has left."""
    for path in folder.glob("*.safetensors"):
        match = SHARD_NAME.match(path.name)
        if match and int(match["count"]) != shards:
            path.unlink()
            path.with_suffix(".status.tsv").unlink(missing_ok=True)


def _write_masked_labels(labels: Sequence[Shard], features: ReleasedFeatures, out: Path) -> None:
    names = [name for shard in labels for name in shard.names]
    keys = [f"{modality}_masked" for modality in MODALITIES]
    arrays = {key: np.concatenate([shard[key] for shard in labels]) for key in keys}
    origins = [origin_of(path) for path in features.masked_labels().values()]
    joined = Shard(tuple(names), arrays, {"imported": ", ".join(origins)})
    write_shard(out / MASKED_LABELS_FILE, joined.select(sorted(names)))


def _log_extra_ids(readers: Iterable[ArrayReader], names: Sequence[str]) -> None:
    known = {name[:ID_LENGTH] for name in names}
    for reader in readers:
        extra = sorted(set(reader.members) - known)
        if extra:
            logger.info(
                "%s: %d of %d files in %s belong to no video of the tables, such as %s; they are"
                " ignored",
                *(reader.source.path, len(extra), len(reader.members)),
                *(f"{reader.array.folder or '.'}/", f"{extra[0]}.npy"),
            )


def _check_kept(rows: Sequence[StatusRow]) -> None:
    """Log how many videos were kept; raise PipelineError if none was."""
    left_out = [row for row in rows if not row.kept]
    if left_out and len(left_out) == len(rows):
        raise PipelineError(
            f"imported 0 of {len(rows)} videos: {left_out[0].detail}; check"
            " dataset.features and the archives."
        )
    for status in dict.fromkeys(row.status for row in left_out):
        alike = [row for row in left_out if row.status == status]
        logger.warning(
            "%d of %d videos are left out as %s, such as '%s': %s",
            *(len(alike), len(rows), status, alike[0].filename, alike[0].detail),
        )
    logger.info("imported %d of %d videos", len(rows) - len(left_out), len(rows))
