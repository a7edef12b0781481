"""The decode stage: one shard's videos to frames and sound of 1-second segments."""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ItemError, PipelineError, Status
from pipeline.files import fingerprint
from pipeline.manifest import Row
from pipeline.progress import track
from pipeline.store import Shard, StatusRow, write_shard, write_status

if TYPE_CHECKING:  # the workflow imports this module where no decoder is installed
    from pipeline.media.window import Window

logger = logging.getLogger(__name__)

# Raise it whenever the numbers of a shard may change.
SEGMENTS_VERSION = 3

SAMPLE_RATE = 48_000
# A window that lacks less than half a segment is not called short: cutters end on frame borders.
SHORT_SECONDS = 0.5
# Padding below a frame's length is not worth a word.
NOTED_SECONDS = 0.1


# What a shard holds; the motion encoder's hold no sound.
ARRAYS = ("frames", "audio")

# What may be done with a video that lacks something, and the parameter that says so.
POLICIES = ("pad", "drop", "fail")
POLICY_OF = {
    Status.NO_VIDEO_STREAM: "missing_video",
    Status.NO_AUDIO_STREAM: "missing_audio",
    Status.TOO_SHORT: "short",
}


@dataclass(frozen=True)
class Decoding:
    """Everything that decides a segment shard's numbers and which videos it keeps.

    Attributes
    ----------
    segments
        T, segments of one second from the window's start.
    sampling
        ``center``: the frames on the screen in the middle of K equal parts of each segment;
        ``valor``: VALOR's T frames, stretched over the window (methods.md 6.1), K = 1.
    frames_per_segment
        K.
    frame_size
        Side of the square frames, in pixels.
    frame_transform
        ``clip`` (short side, bicubic, middle square) or ``valor`` (squash, bilinear).
    missing_audio, missing_video, short
        ``pad`` (silence, black frames, the last frame held), ``drop`` or ``fail`` (the shard is
        not written), for videos without a stream and for those that lack half a second of the
        window or more.
    untrimmed
        Whether files named by the id are full videos.
    decoder
        Which library is asked first for frames, ``pyav`` or ``decord``.
    audio_slicing
        ``exact``: second t of the window is segment t's sound; ``valor``: sound that ends before
        its window is stretched over the T segments (methods.md 6.2).
    """

    segments: int = 10
    sampling: str = "center"
    frames_per_segment: int = 1
    frame_size: int = 224
    frame_transform: str = "clip"
    missing_audio: str = "pad"
    missing_video: str = "drop"
    short: str = "pad"
    untrimmed: bool = False
    decoder: str = "pyav"
    audio_slicing: str = "exact"

    def __post_init__(self) -> None:
        if self.sampling == "valor" and self.frames_per_segment != 1:
            raise PipelineError(
                f"sampling 'valor' takes 1 frame a segment, not {self.frames_per_segment}; "
                "set frames_per_segment to 1 or sampling to 'center'."
            )
        for name in POLICY_OF.values():
            if getattr(self, name) not in POLICIES:
                raise PipelineError(
                    f"{name} is '{getattr(self, name)}'; allowed are {', '.join(POLICIES)}."
                )
        for name in ("segments", "frames_per_segment", "frame_size"):
            if getattr(self, name) < 1:
                raise PipelineError(f"{name} is {getattr(self, name)}; allowed is 1 or more.")

    def policy(self, status: Status) -> str:
        """Return what to do with a video of this status; others than the policies' are dropped."""
        return str(getattr(self, POLICY_OF[status])) if status in POLICY_OF else "drop"

    def meta(self) -> dict[str, str]:
        """Return the header of a shard made this way."""
        values = {key: str(value) for key, value in asdict(self).items()}
        return values | {
            "sample_rate": str(SAMPLE_RATE),
            "version": str(SEGMENTS_VERSION),
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """Return 10 hex digits that name these numbers."""
        return fingerprint([asdict(self), SAMPLE_RATE, SEGMENTS_VERSION])


def decoding_fingerprint(**parameters: Any) -> str:
    """Return the fingerprint of ``Decoding(**parameters)``; nothing is decoded or looked for."""
    return Decoding(**parameters).fingerprint()


@dataclass(frozen=True)
class Decoded:
    """One video's segments.

    Attributes
    ----------
    frames
        ``[T, K, H, W, 3]`` uint8 RGB.
    audio
        ``[T * 48000]`` int16, mono, 48 kHz.
    row
        Its status row.
    seconds
        How long decoding took.
    """

    frames: NDArray[np.uint8]
    audio: NDArray[np.int16]
    row: StatusRow
    seconds: float


@dataclass(frozen=True)
class _Stream:
    """One stream's part of a video: its array, length in seconds and what was wrong with it."""

    array: NDArray[Any]
    seconds: float
    status: Status = Status.OK
    detail: str = ""
    backend: str = ""


def decode_video(row: Row, decoding: Decoding) -> Decoded:
    """Decode one video's window; meant for a worker process (``media.worker``).

    Raises
    ------
    ItemError
        The video cannot be used, or a policy does not say to pad it.
    """
    from pipeline.media.probe import describe, open_media
    from pipeline.media.window import read_window

    began = time.perf_counter()
    path = Path(row.path)
    with open_media(path) as container:
        media = describe(container, path)
        window = read_window(container, media, row.start, decoding.segments)
        pictures, sound = _pictures(window, decoding), _sound(window, decoding)
    for stream in (pictures, sound):
        if stream.status != Status.OK and decoding.policy(stream.status) != "pad":
            raise ItemError(stream.status, stream.detail)
    if not pictures.seconds and not sound.seconds:
        detail = f"the file has neither pictures nor sound from {row.start:g} s on"
        raise ItemError(Status.TOO_SHORT, detail)
    troubles = [stream.status for stream in (pictures, sound) if stream.status != Status.OK]
    status_row = StatusRow(
        row.filename,
        kept=True,
        status=troubles[0] if troubles else Status.OK,
        detail="; ".join(stream.detail for stream in (pictures, sound) if stream.detail),
        backend=pictures.backend,
        video_seconds=pictures.seconds,
        audio_seconds=sound.seconds,
    )
    return Decoded(pictures.array, sound.array, status_row, time.perf_counter() - began)


def _pictures(window: Window, decoding: Decoding) -> _Stream:
    from pipeline.media.frames import read_frames
    from pipeline.media.sampling import SAMPLERS
    from pipeline.media.transforms import TRANSFORMS

    segments, per_segment, size = (
        decoding.segments,
        decoding.frames_per_segment,
        decoding.frame_size,
    )
    if window.video is None:
        black = np.zeros((segments, per_segment, size, size, 3), dtype=np.uint8)
        return _Stream(black, 0.0, Status.NO_VIDEO_STREAM, "the file has no pictures")
    transform = TRANSFORMS[decoding.frame_transform]
    frames = read_frames(
        window,
        per_segment,
        sampler=SAMPLERS[decoding.sampling],
        shape=lambda picture: transform(picture, size),
        decoder=decoding.decoder,
    )
    array = frames.pictures.reshape(segments, per_segment, size, size, 3)
    status, detail = _faults("pictures", frames.first, frames.end, segments, frames.damaged)
    seconds = max(min(frames.end, segments) - max(frames.first, 0.0), 0.0)
    return _Stream(array, seconds, status, detail, frames.backend)


def _sound(window: Window, decoding: Decoding) -> _Stream:
    from pipeline.media.audio import read_audio

    silence = np.zeros(decoding.segments * SAMPLE_RATE, dtype=np.int16)
    if window.audio is None:
        return _Stream(silence, 0.0, Status.NO_AUDIO_STREAM, "the file has no sound")
    sound = read_audio(window, decoding.audio_slicing)
    if not sound.end:
        return _Stream(silence, 0.0, Status.NO_AUDIO_STREAM, "its sound has no samples here")
    faults = _faults("sound", 0.0, sound.end, decoding.segments, sound.damaged)
    return _Stream(sound.samples, sound.end, *faults)


def _faults(what: str, first: float, end: float, segments: int, damaged: int) -> tuple[Status, str]:
    """Return whether what a stream lacks of the window makes it short, and its faults in words."""
    missing = max(first, 0.0) + max(segments - end, 0.0)
    notes = []
    if first > NOTED_SECONDS:
        notes.append(f"{what} begin at {first:.2f} s")
    if segments - end > NOTED_SECONDS:
        notes.append(f"{what} end at {end:.2f} of {segments} s")
    if damaged:
        notes.append(f"damaged packets of {what}: {damaged}")
    return Status.TOO_SHORT if missing >= SHORT_SECONDS else Status.OK, "; ".join(notes)


def run_shard(
    rows: Sequence[Row],
    decoding: Decoding,
    workers: int,
    timeout_seconds: float,
    out: Path,
    status: Path,
    kinds: Sequence[str] = ARRAYS,
) -> None:
    """Decode a shard's videos and write its arrays and its status table.

    Every row becomes a row of the status table; a video that cannot be used costs nothing else.

    Parameters
    ----------
    rows
        The shard's videos.
    decoding
        How to decode.
    workers
        Decode processes at a time.
    timeout_seconds
        Longest time for one video.
    out, status
        The shard file and its status table.
    kinds
        Which of ``ARRAYS`` are written; which videos are kept does not depend on it.

    Raises
    ------
    PipelineError
        Decode processes do not start, or a video lacks what a policy ``fail`` insists on.
    """
    from pipeline.media.worker import run_isolated

    began = time.perf_counter()
    present = sorted((row for row in rows if row.path), key=lambda row: row.filename)
    statuses = [
        StatusRow(row.filename, False, Status.MISSING, "no file has this name or its id")
        for row in rows
        if not row.path
    ]
    arrays = _allocate(len(present), decoding, kinds)
    kept: list[int] = []
    decode_seconds = 0.0
    decode = functools.partial(decode_video, decoding=decoding)
    outcomes = run_isolated(decode, present, workers, timeout_seconds)
    for place, outcome in track(outcomes, len(present), "segments"):
        if isinstance(outcome, ItemError):
            name = present[place].filename
            _stop_on_policy(name, outcome, decoding)
            statuses.append(StatusRow(name, False, outcome.status, outcome.detail))
            continue
        kept.append(place)
        statuses.append(outcome.row)
        decode_seconds += outcome.seconds
        for kind, array in arrays.items():
            array[place] = getattr(outcome, kind)
    kept.sort()
    names = tuple(present[place].filename for place in kept)
    write_shard(out, Shard(names, _compact(arrays, kept), decoding.meta()))
    write_status(status, statuses)
    _report(statuses, decode_seconds, time.perf_counter() - began)


def _stop_on_policy(name: str, error: ItemError, decoding: Decoding) -> None:
    if decoding.policy(error.status) == "fail":
        key = POLICY_OF[error.status]
        raise PipelineError(
            f"'{name}' is {error.status} ({error.detail}) and decode.{key} is 'fail'; mend or"
            " remove the video, or set pad or drop."
        )


def _allocate(count: int, decoding: Decoding, kinds: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the shard's arrays, one row for every video that has a file."""
    size = decoding.frame_size
    frames = (count, decoding.segments, decoding.frames_per_segment, size, size, 3)
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.empty(frames, dtype=np.uint8),
        "audio": np.empty((count, decoding.segments * SAMPLE_RATE), dtype=np.int16),
    }
    return {kind: arrays[kind] for kind in kinds}


def _compact(arrays: dict[str, NDArray[Any]], kept: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Move the kept rows to the front, in place, and return them: a shard is held only once."""
    for array in arrays.values():
        for target, source in enumerate(kept):
            if target != source:
                array[target] = array[source]
    return {key: array[: len(kept)] for key, array in arrays.items()}


def _report(statuses: Sequence[StatusRow], decode_seconds: float, seconds: float) -> None:
    kept = Counter(str(row.status) for row in statuses if row.kept)
    left_out = Counter(str(row.status) for row in statuses if not row.kept)
    logger.info(
        "segments: %d of %d videos kept (%s), left out: %s; decode %.1f s, %.1f videos/s",
        kept.total(),
        len(statuses),
        _counts(kept),
        _counts(left_out),
        decode_seconds,
        len(statuses) / max(seconds, 1e-9),
    )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{code} {count}" for code, count in counts.most_common()) or "none"
