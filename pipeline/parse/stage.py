"""The parse stage: videos in, their tables and pages out."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline import __version__
from pipeline.encoders.base import CaptionEncoder
from pipeline.errors import ItemError, PipelineError, Status
from pipeline.files import sha256_of
from pipeline.parse.events import Parsed, cut
from pipeline.parse.listing import list_files
from pipeline.parse.page import write_index, write_page
from pipeline.parse.playback import make_playable
from pipeline.parse.readers import Reader, Window, Windows
from pipeline.parse.setup import Setup
from pipeline.parse.tables import write_tables
from pipeline.parse.videos import Video, decode_windows, inspect_videos
from pipeline.parse.windows import merge
from pipeline.segments import Decoded
from pipeline.store import StatusRow, write_status
from pipeline.vocabulary import MODALITIES, Vocabulary

logger = logging.getLogger(__name__)

STATUS_FILE = "status.tsv"


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
    for video, outcomes in _encoded(videos, setup, encoders, options):
        failed = [window for window in outcomes if isinstance(window, ItemError)]
        if len(failed) == len(outcomes):
            failures[video.name] = failed[0]
            continue
        found = read_video(video, outcomes, reader, setup, options)
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
    outcomes: Sequence[Window | ItemError],
    reader: Reader,
    setup: Setup,
    options: Options,
) -> Parsed:
    """Read a video's windows, at least one of them whole, and merge them to seconds."""
    kept = [place for place, window in enumerate(outcomes) if isinstance(window, Window)]
    windows = Windows.of([window for window in outcomes if isinstance(window, Window)])
    found = reader.read(windows)
    starts = [video.starts[place] for place in kept]
    length = video.facts.length
    # A window without sound or without pictures says nothing of what is heard or seen.
    probabilities = [
        merge(values * windows.present[modality][:, None, None], starts, length)
        for modality, values in (("audio", found.audio), ("visual", found.visual))
    ]
    gates = [
        merge(np.repeat(found.gate[:, None, index], setup.segments, axis=1), starts, length)
        for index in range(len(MODALITIES))
    ]
    return Parsed(
        name=video.name,
        title=video.path.name,
        class_names=reader.class_names,
        probabilities=cut(np.stack(probabilities)),
        gates=cut(np.stack(gates)),
        thresholds=reader.thresholds,
        has_sound=bool(windows.present["audio"].any()),
        has_pictures=bool(windows.present["visual"].any()),
        notes=tuple(_notes(video, outcomes, windows, setup.segments)),
        provenance={
            "pipeline": __version__,
            "video": f"sha256 {sha256_of(video.path)}",
            **reader.provenance,
            **{name: f"features {value}" for name, value in setup.fingerprints().items()},
            "windows": f"{setup.segments} s, {options.overlap} s shared",
        },
    )


def _encoded(
    videos: Sequence[Video],
    setup: Setup,
    encoders: Mapping[str, CaptionEncoder],
    options: Options,
) -> Iterator[tuple[Video, list[Window | ItemError]]]:
    """Yield each video with its windows, or why they cannot be had, as soon as all are there.

    Windows come in about their order, so only few videos are held at a time.
    """
    pending: dict[str, dict[int, Window | ItemError]] = {}
    decoded = decode_windows(videos, setup.decoding, options.workers, options.timeout_seconds)
    for video, place, outcome in decoded:
        windows = pending.setdefault(video.name, {})
        windows[place] = outcome if isinstance(outcome, ItemError) else _embed(outcome, encoders)
        if len(windows) == len(video.starts):
            del pending[video.name]
            yield video, [windows[place] for place in range(len(video.starts))]


def _embed(window: Decoded, encoders: Mapping[str, CaptionEncoder]) -> Window | ItemError:
    features = {}
    for name, encoder in encoders.items():
        embedded = encoder.embed(getattr(window, encoder.source)[None])
        if not all(np.isfinite(array).all() for array in embedded.values()):
            return ItemError(Status.NOT_FINITE, f"{name} gave features that are not finite")
        # As a feature shard keeps and gives them.
        features[name] = {
            key: array.astype(encoder.spec.storage).astype(np.float32)
            for key, array in embedded.items()
        }
    return Window(features, window.row.audio_seconds > 0, window.row.video_seconds > 0)


def _notes(
    video: Video, outcomes: Sequence[Window | ItemError], windows: Windows, segments: int
) -> Iterator[str]:
    if not windows.present["audio"].any():
        yield "The file has no sound, so nothing is heard."
    if not windows.present["visual"].any():
        yield "The file has no pictures, so nothing is seen."
    for start, window in zip(video.starts, outcomes, strict=True):
        if isinstance(window, ItemError):
            yield f"The window from {start} to {start + segments} s is left out: {window.detail}."


def _write_page(folder: Path, parsed: Parsed, video: Video, options: Options) -> Parsed:
    """Write a video's page; where there is nothing for browsers to play, a note says why."""
    try:
        playback = make_playable(video.path, video.facts, folder, options.embed_bytes)
    except ItemError as error:
        logger.warning("%s: %s", video.name, error.detail)
        parsed = replace(parsed, notes=(*parsed.notes, f"The page plays nothing: {error.detail}."))
        playback = None
    write_page(folder, parsed, playback)
    return parsed


def _write_statuses(out: Path, parsed: Sequence[Parsed], failures: Mapping[str, ItemError]) -> None:
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
