"""The segments stage: decode a shard's videos into frames and audio of 1-second segments."""

from __future__ import annotations

import functools
import logging
import time
from bisect import bisect_right
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
from pipeline.media.video_window import VideoWindow, following_starts

if TYPE_CHECKING:  # the workflow imports this module without any decoder installed
    from pipeline.media.frames import Frames, Shape
    from pipeline.media.window import Window

logger = logging.getLogger(__name__)

# Shortest gap that makes a window too short: cutting tools end clips on frame boundaries.
SHORT_SECONDS = 0.5
# Smallest share of samples beyond full scale to report; fewer are single peaks.
CLIPPED_SHARE = 0.002
# Shortest padding to report; less is below a frame's duration.
NOTED_SECONDS = 0.1
# Shortest surplus after the window to report; less is imprecise cutting.
SURPLUS_SECONDS = 1.0

# Statuses of a stream that exists but cannot be used.
UNUSABLE = {Status.DECODE_ERROR, Status.NOT_FINITE, Status.TIMEOUT}

# Share of the time limit after which frames are given up, so that the audio is kept.
VIDEO_SHARE = 0.8

# The arrays of a shard; shards for the motion encoder have no audio.
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
        Row of the status table.
    seconds
        Decoding time.
    surplus
        Duration of the file after the window, in seconds, according to the header.
    status, damage
        Problems other than padding; ``ok`` if only some packets are damaged.
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
    """The video or audio of one clip: its array, length in seconds and problems.

    ``missing`` names the policy for a stream without any content; ``padding`` describes the part
    of the window that it lacks, ``damage`` the part that is broken.
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
        """All problems in one sentence."""
        return _joined(self.padding, self.damage)


def decode_video(video: VideoWindow, decoding: Decoding) -> Decoded:
    """Decode one video's window; runs in a worker process (``media.worker``).

    A stream that cannot be decoded counts as missing; content after the window's end is ignored.

    Raises
    ------
    ItemError
        The video cannot be used, or no policy allows padding it.
    PipelineError
        A policy is ``fail``, which stops the shard.
    """
    from pipeline.media.one_pass import is_reached
    from pipeline.media.probe import describe, open_media
    from pipeline.media.window import read_window

    began = time.perf_counter()
    deadline = time.monotonic() + VIDEO_SHARE * decoding.timeout_seconds
    path, length = Path(video.path), round(video.end - video.start, 6)
    with open_media(path) as container:
        media = describe(container, path)
        in_pass = is_reached(media, video.start, decoding)
        window = read_window(
            container, media, video.start, decoding.segments, length, with_video=not in_pass
        )
        audio = _decode_audio(window, decoding)
        frames = _decode_frames(window, video.following, decoding, deadline)
    for stream in (frames, audio):
        _apply_policy(video.name, stream, decoding)
    if not frames.seconds and not audio.seconds:
        raise _empty_window_error(frames, audio, video)
    unusable = _unusable(frames, audio)
    joins = _joins_note(window)
    note = _joined(media.choice, joins, _length_note(length, decoding.segments))
    return Decoded(
        frames.array,
        audio.array,
        _status_row(video.name, frames, audio, note),
        time.perf_counter() - began,
        surplus=max(media.seconds - video.start - window.seconds, 0.0),
        status=unusable.status if unusable else Status.OK,
        damage=_joined(joins, frames.damage, audio.damage),
    )


def _apply_policy(name: str, stream: _Stream, decoding: Decoding) -> None:
    key = "short" if stream.status == Status.TOO_SHORT else stream.missing
    policy = getattr(decoding, key)
    if stream.status == Status.OK or policy == "pad":
        return
    if policy == "fail":
        raise PipelineError(
            f"'{name}' is {stream.status} ({stream.detail}) and decode.{key} is 'fail'; repair or"
            " remove the video, or set it to pad or drop."
        )
    raise ItemError(stream.status, stream.detail)


def _empty_window_error(frames: _Stream, audio: _Stream, video: VideoWindow) -> ItemError:
    """Return why nothing was decoded: an unusable stream, or else an empty window."""
    if unusable := _unusable(frames, audio):
        return ItemError(unusable.status, unusable.detail)
    detail = f"the file has neither video nor audio from {video.start:g} to {video.end:g} s"
    return ItemError(Status.TOO_SHORT, detail)


def _unusable(*streams: _Stream) -> _Stream | None:
    return next((stream for stream in streams if stream.status in UNUSABLE), None)


def _length_note(length: float, segments: int) -> str:
    is_odd = abs(length - segments) > NOTED_SECONDS
    return f"the window is {length:g} s long, not {segments} s" if is_odd else ""


def _joins_note(window: Window) -> str:
    inside = [join for join in window.joins if 0 <= join < window.seconds]
    return f"packet times start again at {inside[0]:.2f} s, as in joined files" if inside else ""


def _status_row(name: str, frames: _Stream, audio: _Stream, note: str) -> StatusRow:
    problems = [stream.status for stream in (frames, audio) if stream.status != Status.OK]
    return StatusRow(
        name,
        kept=True,
        status=problems[0] if problems else Status.OK,
        detail=_joined(note, frames.detail, audio.detail),
        backend=frames.backend,
        video_seconds=frames.seconds,
        audio_seconds=audio.seconds,
    )


def _decode_frames(
    window: Window, following: Sequence[float], decoding: Decoding, deadline: float
) -> _Stream:
    from pipeline.media.transforms import TRANSFORMS

    segments, per_segment, size = (
        decoding.segments,
        decoding.frames_per_segment,
        decoding.frame_size,
    )
    shape = (segments, per_segment, size, size, 3)
    transform = TRANSFORMS[decoding.frame_transform]
    try:
        frames = _read_frames(
            window, following, decoding, lambda picture: transform(picture, size), deadline
        )
    except ItemError as error:
        black = np.zeros(shape, dtype=np.uint8)
        return _Stream("missing_video", black, 0.0, error.status, **_error_note(error))
    status, padding = _missing_part("video", frames.first, frames.end, segments)
    seconds = max(min(frames.end, segments) - max(frames.first, 0.0), 0.0)
    array = frames.pictures.reshape(shape)
    if frames.is_still:
        padding = _joined("a single picture is shown", padding)
    damage = _damaged("video", frames.damaged)
    return _Stream("missing_video", array, seconds, status, padding, damage, frames.backend)


def _read_frames(
    window: Window, following: Sequence[float], decoding: Decoding, shape: Shape, deadline: float
) -> Frames:
    """Read a window's frames, in one pass with others of the file where that saves decoding."""
    from pipeline.media.frames import read_frames
    from pipeline.media.one_pass import read_in_pass
    from pipeline.media.sampling import SAMPLERS
    from pipeline.media.window import completed

    if frames := read_in_pass(window, following, decoding, shape, deadline):
        return frames
    with completed(window) as whole:
        return read_frames(
            whole,
            decoding.frames_per_segment,
            SAMPLERS[decoding.sampling],
            shape,
            decoding.decoder,
            deadline,
        )


def _decode_audio(window: Window, decoding: Decoding) -> _Stream:
    from pipeline.media.audio import read_audio

    silence = np.zeros(decoding.segments * SAMPLE_RATE, dtype=np.int16)
    missing = functools.partial(_Stream, "missing_audio", silence, 0.0)
    try:
        audio = read_audio(window, decoding.audio_slicing)
    except ItemError as error:
        return missing(error.status, **_error_note(error))
    seconds = audio.end - audio.first
    if seconds <= 0:
        return missing(Status.NO_AUDIO_STREAM, "the audio has no samples in the window")
    status, padding = _missing_part("audio", audio.first, audio.end, decoding.segments)
    damage = _joined(_damaged("audio", audio.damaged), _clipped(audio.clipped))
    return _Stream("missing_audio", audio.samples, seconds, status, padding, damage)


def _error_note(error: ItemError) -> dict[str, str]:
    """Return an error's message as ``damage`` if the stream is broken, as ``padding`` if absent."""
    return {"damage" if error.status in UNUSABLE else "padding": error.detail}


def _damaged(what: str, packets: int) -> str:
    return f"damaged {what} packets: {packets}" if packets else ""


def _clipped(share: float) -> str:
    """Return what CLAP does not hear: like laion_clap, it is given samples within full scale."""
    is_much = share >= CLIPPED_SHARE
    return f"{share:.1%} of the audio is beyond full scale and clipped" if is_much else ""


def _missing_part(what: str, first: float, end: float, segments: int) -> tuple[Status, str]:
    """Return whether a stream covers too little of the window, and what is missing in words."""
    missing = max(first, 0.0) + max(segments - end, 0.0)
    notes = []
    if first > NOTED_SECONDS:
        notes.append(f"{what} starts at {first:.2f} s")
    if end <= 0:
        notes.append(f"{what} ended {-end:.2f} s before the window")
    elif segments - end > NOTED_SECONDS:
        notes.append(f"{what} ends at {end:.2f} of {segments} s")
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
    """Decode a shard's videos and write its arrays and status table.

    Every video gets a row in the status table; an unusable one does not affect the others.

    Parameters
    ----------
    videos
        The shard's videos.
    decoding
        Decoding options, with the time limit per video.
    workers
        Number of decode processes.
    out, status
        Paths of the shard file and its status table.
    kinds
        Which of ``ARRAYS`` to write; does not affect which videos are kept.

    Raises
    ------
    PipelineError
        Decode processes cannot start, or a video violates a policy that is ``fail``.
    """
    from pipeline.media.worker import run_isolated

    began = time.perf_counter()
    present = sorted((video for video in videos if video.path), key=lambda video: video.name)
    names = [video.name for video in present]
    arrays = _allocate(len(present), decoding, kinds)
    decode = functools.partial(decode_video, decoding=decoding)
    items, order = _in_file_order(present)
    outcomes = (
        (order[place], outcome)
        for place, outcome in run_isolated(decode, items, workers, decoding.timeout_seconds)
    )
    tracked = track(outcomes, len(present), "segments")
    statuses, decode_seconds = _collect(tracked, names, arrays, decoding.untrimmed)
    kept = [index for index, row in enumerate(statuses) if row.kept]
    statuses += [
        StatusRow(video.name, False, Status.MISSING, video.note)
        for video in videos
        if not video.path
    ]
    writing = time.perf_counter()
    kept_names = tuple(names[index] for index in kept)
    write_shard(out, Shard(kept_names, _compact(arrays, kept), decoding.meta()))
    write_status(status, statuses)
    done = time.perf_counter()
    _report(statuses, decode_seconds, done - writing, done - began)


def _in_file_order(videos: Sequence[VideoWindow]) -> tuple[list[VideoWindow], list[int]]:
    """Return the videos in the order of their files and starts, and the index of each."""
    order = sorted(range(len(videos)), key=lambda index: (videos[index].path, videos[index].start))
    starts: dict[str, list[float]] = {}
    for index in order:
        starts.setdefault(videos[index].path, []).append(videos[index].start)
    items = []
    for index in order:
        video = videos[index]
        own = starts[video.path]
        following = following_starts(own, bisect_right(own, video.start) - 1, video.end)
        items.append(replace(video, following=following))
    return items, order


def _collect(
    outcomes: Iterable[tuple[int, Decoded | ItemError]],
    names: Sequence[str],
    arrays: dict[str, NDArray[Any]],
    untrimmed: bool,
) -> tuple[list[StatusRow], float]:
    """Copy every decoded video into its row of the arrays.

    Returns
    -------
    A status row for every name, in order, and the total decoding time of all workers in seconds.
    """
    statuses: dict[int, StatusRow] = {}
    seconds = 0.0
    for index, outcome in outcomes:
        if isinstance(outcome, ItemError):
            statuses[index] = StatusRow(names[index], False, outcome.status, outcome.detail)
            continue
        statuses[index] = outcome.row if untrimmed else _with_surplus(outcome)
        seconds += outcome.seconds
        for kind, array in arrays.items():
            array[index] = getattr(outcome, kind)
    return [statuses[index] for index in sorted(statuses)], seconds


def _with_surplus(clip: Decoded) -> StatusRow:
    """Return a clip's status row, with a note if the file is longer than the window."""
    if clip.surplus <= SURPLUS_SECONDS:
        return clip.row
    note = f"the file is {clip.surplus:.1f} s longer than its window"
    return replace(clip.row, detail=_joined(clip.row.detail, note))


def _allocate(count: int, decoding: Decoding, kinds: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Allocate the shard's arrays, with one row for every video that has a file."""
    size = decoding.frame_size
    frames = (count, decoding.segments, decoding.frames_per_segment, size, size, 3)
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.empty(frames, dtype=np.uint8),
        "audio": np.empty((count, decoding.segments * SAMPLE_RATE), dtype=np.int16),
    }
    return {kind: arrays[kind] for kind in kinds}


def _compact(arrays: dict[str, NDArray[Any]], kept: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Move the kept rows to the front, in place, so that memory holds the shard only once."""
    for array in arrays.values():
        for target, source in enumerate(kept):
            if target != source:
                array[target] = array[source]
    return {key: array[: len(kept)] for key, array in arrays.items()}


def _report(
    statuses: Sequence[StatusRow], decode_seconds: float, write_seconds: float, seconds: float
) -> None:
    kept = Counter(str(row.status) for row in statuses if row.kept)
    dropped = Counter(str(row.status) for row in statuses if not row.kept)
    logger.info(
        "segments: %d of %d videos kept (%s), dropped: %s; decode %.1f s, write %.1f s,"
        " %.1f videos/s",
        kept.total(),
        len(statuses),
        _counts(kept),
        _counts(dropped),
        decode_seconds,
        write_seconds,
        len(statuses) / max(seconds, 1e-9),
    )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{code} {count}" for code, count in counts.most_common()) or "none"
