"""The decode stage: one shard's videos to frames and sound of 1-second segments."""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.progress import track
from pipeline.core.shards import Shard, StatusRow, write_shard, write_status
from pipeline.media import SAMPLE_RATE
from pipeline.media.options import Decoding
from pipeline.media.video_window import VideoWindow

if TYPE_CHECKING:  # the workflow imports this module where no decoder is installed
    from pipeline.media.window import Window

logger = logging.getLogger(__name__)

# A window that lacks less than half a segment is not called short: cutters end on frame borders.
SHORT_SECONDS = 0.5
# Padding below a frame's length is not worth a word.
NOTED_SECONDS = 0.1
# Nor is what a clip has after its window, as long as it may be a cutter's carelessness.
SURPLUS_SECONDS = 1.0

# What makes a stream more than padded: it is there and cannot be used.
UNUSABLE = {Status.DECODE_ERROR, Status.NOT_FINITE}

# What a shard holds; the motion encoder's hold no sound.
ARRAYS = ("frames", "audio")


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
    surplus
        How long the file goes on after the window, in seconds, by its header.
    status, damage
        What was wrong with it besides padding; ``ok`` where only packets are damaged.
    """

    frames: NDArray[np.uint8]
    audio: NDArray[np.int16]
    row: StatusRow
    seconds: float
    surplus: float
    status: Status
    damage: str


@dataclass(frozen=True)
class _Stream:
    """One stream's part of a video: its array, length in seconds and what was wrong with it.

    ``missing`` names the policy for when there is nothing of it; ``padding`` says what it lacks of
    the window, ``damage`` what is there and is not as it should be.
    """

    missing: str
    array: NDArray[Any]
    seconds: float
    status: Status = Status.OK
    padding: str = ""
    damage: str = ""
    backend: str = ""

    @property
    def detail(self) -> str:
        """All that was wrong."""
        return _joined(self.padding, self.damage)


def decode_video(video: VideoWindow, decoding: Decoding) -> Decoded:
    """Decode one video's window; meant for a worker process (``media.worker``).

    A stream that cannot be decoded is as good as missing, and so is what the file has after the
    window's end.

    Raises
    ------
    ItemError
        The video cannot be used, or a policy does not say to pad it.
    PipelineError
        A policy says that this stops the shard.
    """
    from pipeline.media.probe import describe, open_media
    from pipeline.media.window import read_window

    began = time.perf_counter()
    path, length = Path(video.path), round(video.end - video.start, 6)
    with open_media(path) as container:
        media = describe(container, path)
        window = read_window(container, media, video.start, decoding.segments, length)
        pictures, sound = _pictures(window, decoding), _sound(window, decoding)
    for stream in (pictures, sound):
        _apply_policy(video.name, stream, decoding)
    if not pictures.seconds and not sound.seconds:
        raise _nothing(pictures, sound, video.start)
    unusable = _unusable(pictures, sound)
    return Decoded(
        pictures.array,
        sound.array,
        _status_row(video.name, pictures, sound, _odd_length(length, decoding.segments)),
        time.perf_counter() - began,
        surplus=max(media.seconds - video.start - window.seconds, 0.0),
        status=unusable.status if unusable else Status.OK,
        damage=_joined(pictures.damage, sound.damage),
    )


def _apply_policy(name: str, stream: _Stream, decoding: Decoding) -> None:
    key = "short" if stream.status == Status.TOO_SHORT else stream.missing
    policy = getattr(decoding, key)
    if stream.status == Status.OK or policy == "pad":
        return
    if policy == "fail":
        raise PipelineError(
            f"'{name}' is {stream.status} ({stream.detail}) and decode.{key} is 'fail'; mend or"
            " remove the video, or set pad or drop."
        )
    raise ItemError(stream.status, stream.detail)


def _nothing(pictures: _Stream, sound: _Stream, start: float) -> ItemError:
    """Return why there is nothing: what cannot be decoded, else that the window is empty."""
    if unusable := _unusable(pictures, sound):
        return ItemError(unusable.status, unusable.detail)
    detail = f"the file has neither pictures nor sound from {start:g} s on"
    return ItemError(Status.TOO_SHORT, detail)


def _unusable(*streams: _Stream) -> _Stream | None:
    return next((stream for stream in streams if stream.status in UNUSABLE), None)


def _odd_length(length: float, segments: int) -> str:
    is_odd = abs(length - segments) > NOTED_SECONDS
    return f"its window is {length:g} s, not {segments}" if is_odd else ""


def _status_row(name: str, pictures: _Stream, sound: _Stream, note: str) -> StatusRow:
    troubles = [stream.status for stream in (pictures, sound) if stream.status != Status.OK]
    return StatusRow(
        name,
        kept=True,
        status=troubles[0] if troubles else Status.OK,
        detail=_joined(note, pictures.detail, sound.detail),
        backend=pictures.backend,
        video_seconds=pictures.seconds,
        audio_seconds=sound.seconds,
    )


def _pictures(window: Window, decoding: Decoding) -> _Stream:
    from pipeline.media.frames import read_frames
    from pipeline.media.sampling import SAMPLERS
    from pipeline.media.transforms import TRANSFORMS

    segments, per_segment, size = (
        decoding.segments,
        decoding.frames_per_segment,
        decoding.frame_size,
    )
    shape = (segments, per_segment, size, size, 3)
    transform = TRANSFORMS[decoding.frame_transform]
    try:
        frames = read_frames(
            window,
            per_segment,
            sampler=SAMPLERS[decoding.sampling],
            shape=lambda picture: transform(picture, size),
            decoder=decoding.decoder,
        )
    except ItemError as error:
        black = np.zeros(shape, dtype=np.uint8)
        return _Stream("missing_video", black, 0.0, error.status, **_error_words(error))
    status, padding = _lacking("pictures", frames.first, frames.end, segments)
    seconds = max(min(frames.end, segments) - max(frames.first, 0.0), 0.0)
    array = frames.pictures.reshape(shape)
    damage = _damaged("pictures", frames.damaged)
    return _Stream("missing_video", array, seconds, status, padding, damage, frames.backend)


def _sound(window: Window, decoding: Decoding) -> _Stream:
    from pipeline.media.audio import read_audio

    silence = np.zeros(decoding.segments * SAMPLE_RATE, dtype=np.int16)
    missing = functools.partial(_Stream, "missing_audio", silence, 0.0)
    try:
        sound = read_audio(window, decoding.audio_slicing)
    except ItemError as error:
        return missing(error.status, **_error_words(error))
    if not sound.end:
        return missing(Status.NO_AUDIO_STREAM, "its sound has no samples here")
    status, padding = _lacking("sound", 0.0, sound.end, decoding.segments)
    damage = _damaged("sound", sound.damaged)
    return _Stream("missing_audio", sound.samples, sound.end, status, padding, damage)


def _error_words(error: ItemError) -> dict[str, str]:
    """Return what a stream that gave nothing lacks: it is broken, or not there."""
    return {"damage" if error.status in UNUSABLE else "padding": error.detail}


def _damaged(what: str, packets: int) -> str:
    return f"damaged packets of {what}: {packets}" if packets else ""


def _lacking(what: str, first: float, end: float, segments: int) -> tuple[Status, str]:
    """Return whether what a stream lacks of the window makes it short, and that in words."""
    missing = max(first, 0.0) + max(segments - end, 0.0)
    notes = []
    if first > NOTED_SECONDS:
        notes.append(f"{what} begin at {first:.2f} s")
    if segments - end > NOTED_SECONDS:
        notes.append(f"{what} end at {end:.2f} of {segments} s")
    return Status.TOO_SHORT if missing >= SHORT_SECONDS else Status.OK, _joined(*notes)


def _joined(*details: str) -> str:
    return "; ".join(filter(None, details))


def run_shard(
    videos: Sequence[VideoWindow],
    decoding: Decoding,
    workers: int,
    out: Path,
    status: Path,
    kinds: Sequence[str] = ARRAYS,
) -> None:
    """Decode a shard's videos and write its arrays and its status table.

    Every video gets a row in the status table; one that cannot be used costs nothing else.

    Parameters
    ----------
    videos
        The shard's videos.
    decoding
        How to decode, and the longest time for one video.
    workers
        Decode processes at a time.
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
    present = sorted((video for video in videos if video.path), key=lambda video: video.name)
    names = [video.name for video in present]
    arrays = _allocate(len(present), decoding, kinds)
    decode = functools.partial(decode_video, decoding=decoding)
    outcomes = run_isolated(decode, present, workers, decoding.timeout_seconds)
    tracked = track(outcomes, len(present), "segments")
    statuses, decode_seconds = _collect(tracked, names, arrays, decoding.untrimmed)
    kept = [place for place, row in enumerate(statuses) if row.kept]
    statuses += [
        StatusRow(video.name, False, Status.MISSING, "no file has this name or its id")
        for video in videos
        if not video.path
    ]
    writing = time.perf_counter()
    kept_names = tuple(names[place] for place in kept)
    write_shard(out, Shard(kept_names, _compact(arrays, kept), decoding.meta()))
    write_status(status, statuses)
    done = time.perf_counter()
    _report(statuses, decode_seconds, done - writing, done - began)


def _collect(
    outcomes: Iterable[tuple[int, Decoded | ItemError]],
    names: Sequence[str],
    arrays: dict[str, NDArray[Any]],
    untrimmed: bool,
) -> tuple[list[StatusRow], float]:
    """Put every decoded video into its row of the arrays.

    Returns
    -------
    A status row for every name, in order, and the seconds of decoding, of all workers together.
    """
    statuses: dict[int, StatusRow] = {}
    seconds = 0.0
    for place, outcome in outcomes:
        if isinstance(outcome, ItemError):
            statuses[place] = StatusRow(names[place], False, outcome.status, outcome.detail)
            continue
        statuses[place] = outcome.row if untrimmed else _with_surplus(outcome)
        seconds += outcome.seconds
        for kind, array in arrays.items():
            array[place] = getattr(outcome, kind)
    return [statuses[place] for place in sorted(statuses)], seconds


def _with_surplus(clip: Decoded) -> StatusRow:
    """Return a clip's row, which says so where the file is more than the window."""
    if clip.surplus <= SURPLUS_SECONDS:
        return clip.row
    note = f"the file is {clip.surplus:.1f} s longer than its window"
    return replace(clip.row, detail=_joined(clip.row.detail, note))


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


def _report(
    statuses: Sequence[StatusRow], decode_seconds: float, write_seconds: float, seconds: float
) -> None:
    kept = Counter(str(row.status) for row in statuses if row.kept)
    left_out = Counter(str(row.status) for row in statuses if not row.kept)
    logger.info(
        "segments: %d of %d videos kept (%s), left out: %s; decode %.1f s, write %.1f s,"
        " %.1f videos/s",
        kept.total(),
        len(statuses),
        _counts(kept),
        _counts(left_out),
        decode_seconds,
        write_seconds,
        len(statuses) / max(seconds, 1e-9),
    )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{code} {count}" for code, count in counts.most_common()) or "none"
