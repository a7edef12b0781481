"""The parse stage: videos in, their tables and pages out."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import __version__
from pipeline.encoders.base import CaptionEncoder
from pipeline.errors import ItemError, PipelineError, Status
from pipeline.files import sha256_of
from pipeline.parse.events import Parsed, cut
from pipeline.parse.page import write_index, write_page
from pipeline.parse.playback import make_playable
from pipeline.parse.readers import Reader, Windows
from pipeline.parse.setup import Setup
from pipeline.parse.tables import write_tables
from pipeline.parse.videos import Video, decode_windows, inspect_videos, list_files
from pipeline.parse.windows import merge
from pipeline.segments import Decoded
from pipeline.store import StatusRow, write_status
from pipeline.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

STATUS_FILE = "status.tsv"

# One window's features, or why there are none.
WindowFeatures = tuple[dict[str, dict[str, np.ndarray]], bool, bool]


@dataclass(frozen=True)
class Options:
    """How videos are gone through; nothing here changes a probability but ``overlap``.

    Attributes
    ----------
    overlap
        Seconds that neighbouring windows share.
    workers, timeout_seconds
        Decode processes at a time, and the longest time for a window.
    embed_bytes
        Largest media that a page holds itself.
    """

    overlap: int
    workers: int = 1
    timeout_seconds: float = 60.0
    embed_bytes: int = 24 << 20


def parse_files(
    given: Sequence[Path],
    reader: Reader,
    setup: Setup,
    encoders: Mapping[str, CaptionEncoder],
    options: Options,
    out: Path,
) -> list[Parsed]:
    """Parse files and write what is found.

    Writes ``out/{name}/`` for every video, ``out/status.tsv``, and ``out/index.html`` where there
    are several videos.

    Parameters
    ----------
    given
        Files, or folders of them.
    reader
        What parses.
    setup, encoders
        How videos are decoded, and what embeds them.
    options
        See ``Options``.
    out
        Folder to write.

    Raises
    ------
    PipelineError
        Not one video can be parsed.
    """
    paths = list_files(given)
    videos, failures = inspect_videos(
        paths, setup.segments, options.overlap, options.workers, options.timeout_seconds
    )
    vocabulary = Vocabulary(setup.classes)
    parsed: list[Parsed] = []
    for video, windows in _encoded(videos, setup, encoders, options):
        if isinstance(windows, ItemError):
            failures[video.name] = windows
            continue
        found = read_video(video, windows, reader, setup, options)
        folder = out / video.name
        write_tables(folder, found, video.path, vocabulary)
        found = _write_page(folder, found, video, options)
        logger.info("%s: %d s, %d events", video.name, found.length, len(found.events()))
        parsed.append(found)
    _write_statuses(out, parsed, failures)
    if not parsed:
        raise PipelineError(_no_video(failures))
    if len(parsed) + len(failures) > 1:
        write_index(out, sorted(parsed, key=lambda each: each.name), failures)
    return parsed


def read_video(
    video: Video,
    windows: Sequence[WindowFeatures | ItemError],
    reader: Reader,
    setup: Setup,
    options: Options,
) -> Parsed:
    """Read a video's windows and merge what is said of them into one line of seconds."""
    kept = [place for place, window in enumerate(windows) if not isinstance(window, ItemError)]
    stacked = _stack([window for window in windows if not isinstance(window, ItemError)])
    found = reader.read(stacked)
    starts = [video.starts[place] for place in kept]
    segments = setup.segments
    # A window without sound or without pictures says nothing of what is heard or seen.
    probabilities = [
        merge(values * present[:, None, None], starts, video.facts.length)
        for values, present in ((found.audio, stacked.heard), (found.visual, stacked.seen))
    ]
    gates = [
        merge(np.repeat(found.gate[:, None, index], segments, axis=1), starts, video.facts.length)
        for index in range(2)
    ]
    return Parsed(
        name=video.name,
        title=video.path.name,
        class_names=reader.class_names,
        probabilities=cut(np.stack(probabilities)),
        gates=cut(np.stack(gates)),
        thresholds=reader.thresholds,
        has_sound=bool(stacked.heard.any()),
        has_pictures=bool(stacked.seen.any()),
        notes=tuple(_notes(video, windows, stacked, segments)),
        provenance={
            "pipeline": __version__,
            "video": f"sha256 {sha256_of(video.path)}",
            **reader.provenance,
            **{name: f"features {value}" for name, value in setup.fingerprints().items()},
            "windows": f"{segments} s, {options.overlap} s shared",
        },
    )


def _encoded(
    videos: Sequence[Video],
    setup: Setup,
    encoders: Mapping[str, CaptionEncoder],
    options: Options,
) -> Iterator[tuple[Video, list[WindowFeatures | ItemError] | ItemError]]:
    """Yield each video with its windows' features as soon as all are there, or why there are none.

    Windows come in about their order, so only few videos are held at a time.
    """
    pending: dict[str, dict[int, WindowFeatures | ItemError]] = {}
    decoded = decode_windows(videos, setup.decoding, options.workers, options.timeout_seconds)
    for video, place, outcome in decoded:
        windows = pending.setdefault(video.name, {})
        windows[place] = (
            outcome if isinstance(outcome, ItemError) else _embed(outcome, encoders)
        )
        if len(windows) < len(video.starts):
            continue
        del pending[video.name]
        ordered = [windows[place] for place in range(len(video.starts))]
        failed = [window for window in ordered if isinstance(window, ItemError)]
        yield video, failed[0] if len(failed) == len(ordered) else ordered


def _embed(
    window: Decoded, encoders: Mapping[str, CaptionEncoder]
) -> WindowFeatures | ItemError:
    features = {}
    for name, encoder in encoders.items():
        embedded = encoder.embed(getattr(window, encoder.source)[None])
        # As a feature shard keeps and gives them.
        features[name] = {
            key: array.astype(encoder.spec.storage).astype(np.float32)
            for key, array in embedded.items()
        }
        if not all(np.isfinite(array).all() for array in features[name].values()):
            return ItemError(Status.NOT_FINITE, f"{name} gave features that are not finite")
    return features, window.row.audio_seconds > 0, window.row.video_seconds > 0


def _stack(windows: Sequence[WindowFeatures]) -> Windows:
    first = windows[0][0]
    features = {
        name: {
            key: np.concatenate([window[0][name][key] for window in windows]) for key in arrays
        }
        for name, arrays in first.items()
    }
    heard, seen = (np.array([window[index] for window in windows]) for index in (1, 2))
    return Windows(features, heard, seen)


def _notes(
    video: Video,
    windows: Sequence[WindowFeatures | ItemError],
    stacked: Windows,
    segments: int,
) -> Iterator[str]:
    if not stacked.heard.any():
        yield "The file has no sound, so nothing is heard."
    if not stacked.seen.any():
        yield "The file has no pictures, so nothing is seen."
    for start, window in zip(video.starts, windows, strict=True):
        if isinstance(window, ItemError):
            yield f"The window from {start} to {start + segments} s is left out: {window.detail}."


def _write_page(folder: Path, parsed: Parsed, video: Video, options: Options) -> Parsed:
    """Write a video's page, without the video where no browser could play it; return what it shows."""
    from dataclasses import replace

    try:
        playback = make_playable(video.path, video.facts, folder, options.embed_bytes)
    except ItemError as error:
        logger.warning("%s: %s", video.name, error.detail)
        parsed = replace(parsed, notes=(*parsed.notes, f"The page plays nothing: {error.detail}."))
        playback = None
    write_page(folder, parsed, playback)
    return parsed


def _write_statuses(
    out: Path, parsed: Sequence[Parsed], failures: Mapping[str, ItemError]
) -> None:
    rows = [
        StatusRow(
            video.name,
            kept=True,
            status=Status.OK if video.has_sound and video.has_pictures else _lacking(video),
            detail=" ".join(video.notes),
            video_seconds=float(video.length * video.has_pictures),
            audio_seconds=float(video.length * video.has_sound),
        )
        for video in parsed
    ]
    rows += [StatusRow(name, False, error.status, error.detail) for name, error in failures.items()]
    write_status(out / STATUS_FILE, rows)
    for name, error in failures.items():
        logger.warning("'%s' is left out: %s (%s)", name, error.detail, error.status)


def _lacking(video: Parsed) -> Status:
    return Status.NO_VIDEO_STREAM if video.has_sound else Status.NO_AUDIO_STREAM


def _no_video(failures: Mapping[str, ItemError]) -> str:
    name, error = next(iter(failures.items()))
    others = f", nor the other {len(failures) - 1}" if len(failures) > 1 else ""
    return f"'{name}' cannot be parsed ({error}){others}; docs/troubleshooting.md says what to do."
