"""The features stage: encode one shard's segments with a frozen encoder, batch by batch."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.background import run_ahead
from pipeline.core.errors import PipelineError, Status
from pipeline.core.progress import track
from pipeline.core.shards import (
    Shard,
    ShardReader,
    StatusRow,
    read_status,
    write_shard,
    write_status,
)
from pipeline.core.wording import counted
from pipeline.features.encoders.base import Encoder
from pipeline.features.encoders.options import FEATURES_VERSION, EncoderOptions

logger = logging.getLogger(__name__)

# Batches held in memory while one is encoded.
READ_AHEAD = 2


@dataclass
class Timing:
    """Time spent on a shard.

    Attributes
    ----------
    read, waited, encode, write
        Seconds spent reading, waiting for the reader, encoding and writing.
    """

    read: float = 0.0
    waited: float = 0.0
    encode: float = 0.0
    write: float = 0.0

    def line(self, videos: int) -> str:
        """Return the shard's log line."""
        total = max(self.waited + self.encode + self.write, 1e-9)
        share = self.waited / max(self.waited + self.encode, 1e-9)
        return (
            f"{counted(videos, 'video')}: read {self.read:.1f} s, encode {self.encode:.1f} s,"
            f" write {self.write:.1f} s, {videos / total:.2f} videos/s, device waited {share:.1%}"
        )


@dataclass
class Prefetcher:
    """Iterator over a shard's batches that reads ahead in a thread.

    Attributes
    ----------
    reader
        The open segments shard.
    key
        Array to read.
    videos
        Videos per batch.
    stage
        Moves a batch to memory that the device can copy from.
    timing
        Receives the seconds spent reading and waiting.
    """

    reader: ShardReader
    key: str
    videos: int
    stage: Callable[[NDArray[Any]], NDArray[Any]]
    timing: Timing

    def __iter__(self) -> Iterator[NDArray[Any]]:
        starts = range(0, len(self.reader.names), self.videos)
        batches = run_ahead(self._read, starts, threads=1, ahead=READ_AHEAD)
        while True:
            clock = time.monotonic()
            batch = next(batches, None)
            self.timing.waited += time.monotonic() - clock
            if batch is None:
                return
            yield batch

    def _read(self, start: int) -> NDArray[Any]:
        clock = time.monotonic()
        stop = min(start + self.videos, len(self.reader.names))
        batch = self.stage(self.reader.rows(self.key, start, stop))
        self.timing.read += time.monotonic() - clock
        return batch


def encode_shard(
    encoder: Encoder,
    segments: Path,
    status_in: Path,
    out: Path,
    status_out: Path,
    fingerprint: str | None = None,
) -> Timing:
    """Encode one shard of segments and write its features and status table.

    A video whose features are not finite is dropped and marked in the status table.

    Parameters
    ----------
    encoder
        The frozen encoder.
    segments, status_in
        The segments shard and its status table.
    out, status_out
        The features shard and its table: arrays ``encoder.dimensions``, ``[N, T, D]``, in the
        spec's storage.
    fingerprint
        Expected fingerprint of the features; None skips the check.

    Raises
    ------
    PipelineError
        The segments do not suit the encoder, or the fingerprint differs.
    """
    timing = Timing()
    with ShardReader(segments) as reader:
        meta = features_meta(encoder, reader.meta)
        check_fingerprint(encoder.spec, meta["fingerprint"], fingerprint)
        arrays = _encode(encoder, reader, timing)
        finite = np.ones(len(reader.names), dtype=bool)
        for array in arrays.values():
            finite &= np.isfinite(array).all(axis=(1, 2))
        kept = tuple(name for name, good in zip(reader.names, finite, strict=True) if good)
        shard = Shard(kept, {key: array[finite] for key, array in arrays.items()}, meta)
        lost = set(reader.names) - set(kept)
    clock = time.monotonic()
    write_shard(out, shard)
    write_status(status_out, _status_rows(read_status(status_in), lost, encoder.spec.encoder))
    timing.write = time.monotonic() - clock
    logger.info("%s %s, %s", encoder.spec.encoder, segments.stem, timing.line(len(finite)))
    return timing


def features_meta(encoder: Encoder, segments_meta: dict[str, str]) -> dict[str, str]:
    """Return the meta of a features shard: how the features are computed.

    Raises
    ------
    PipelineError
        The segments shard does not record how it was decoded.
    """
    if not {"segments", "fingerprint"} <= segments_meta.keys():
        raise PipelineError("the segments shard has no fingerprint in its meta; decode it again.")
    spec = encoder.spec
    return {
        **encoder.notes,
        "encoder": spec.encoder,
        **spec.identity,
        "precision": spec.precision,
        "version": str(FEATURES_VERSION),
        **spec.rounding,
        "segments": segments_meta["segments"],
        "decoding": segments_meta["fingerprint"],
        "fingerprint": spec.fingerprint(segments_meta["fingerprint"]),
    }


def check_fingerprint(spec: EncoderOptions, computed: str, expected: str | None) -> None:
    """Check that the features have the fingerprint that the folder name promises.

    Raises
    ------
    PipelineError
        The fingerprints differ.
    """
    if expected is not None and expected != computed:
        raise PipelineError(
            f"these {spec.encoder} features have fingerprint {computed}, but {expected} was"
            " expected; the encoder or the segments differ from those the workflow planned with."
        )


def _encode(encoder: Encoder, reader: ShardReader, timing: Timing) -> dict[str, NDArray[Any]]:
    segments = int(reader.meta["segments"])
    if encoder.source not in reader.keys:
        raise PipelineError(
            f"'{reader.path}' has no array '{encoder.source}', which {encoder.spec.encoder} needs;"
            f" it has {', '.join(reader.keys)}."
        )
    total = len(reader.names)
    arrays = {
        key: np.empty((total, segments, size), dtype=encoder.spec.storage)
        for key, size in encoder.dimensions.items()
    }
    runner = encoder.runner
    if total and not runner.is_tuned:
        runner.tune(encoder.embed, reader.rows(encoder.source, 0, 1), segments)
    videos = max(1, runner.batch_size // segments)
    batches = Prefetcher(reader, encoder.source, videos, runner.staged, timing)
    done = 0
    count = -(-total // videos)
    threads = runner.in_flight
    encoded = (
        map(encoder.embed, batches)
        if threads == 1
        else run_ahead(encoder.embed, batches, threads, ahead=threads - 1)
    )
    clock = time.monotonic()
    for embedded in track(encoded, count, encoder.spec.encoder, unit="batches"):
        for key, rows in embedded.items():
            arrays[key][done : done + len(rows)] = rows
        done += len(rows)
    timing.encode = time.monotonic() - clock - timing.waited
    return arrays


def _status_rows(rows: Sequence[StatusRow], lost: set[str], encoder: str) -> list[StatusRow]:
    detail = f"{encoder} returned features that are not finite"
    return [
        replace(row, kept=False, status=Status.NOT_FINITE, detail=detail)
        if row.filename in lost
        else row
        for row in rows
    ]
