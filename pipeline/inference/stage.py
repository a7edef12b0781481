"""The parse stage: videos in, their tables and pages out."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.files import sha256_of
from pipeline.core.shards import StatusRow, write_status
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.features.encoders.base import CaptionEncoder
from pipeline.inference.diagnostics import Outcomes, diagnose, status_row
from pipeline.inference.events import Parsed, floor_decimals
from pipeline.inference.input_files import STATUS_FILE, list_files, printable, safe_names
from pipeline.inference.page import write_index, write_page
from pipeline.inference.playback import make_playable, remove_others
from pipeline.inference.predictors import Predictor, WindowBatch, WindowFeatures
from pipeline.inference.settings import InferenceSettings
from pipeline.inference.tables import write_parsed_files
from pipeline.inference.videos import InputVideo, decode_windows, inspect_videos
from pipeline.inference.windows import merge
from pipeline.media.segments import Decoded

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunOptions:
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
    reader: Predictor,
    setup: InferenceSettings,
    encoders: Mapping[str, CaptionEncoder],
    options: RunOptions,
    out: Path,
) -> list[Parsed]:
    """Parse files and write what is found.

    Writes ``out/{name}/`` for every video, and of this run's ``out/status.tsv`` and
    ``out/index.html``. Folders of other videos are left as they are.

    Parameters
    ----------
    given
        Files, or folders of them.
    reader
        What parses.
    setup, encoders
        How videos are decoded, and what embeds them.
    options
        See ``RunOptions``.
    out
        Folder to write.

    Raises
    ------
    PipelineError
        Not one video can be parsed.
    """
    paths = list_files(given)
    named = dict(zip(safe_names(paths), paths, strict=True))
    videos, failures = inspect_videos(
        named, setup.segments, options.overlap, options.workers, options.timeout_seconds
    )
    done: list[tuple[Parsed, StatusRow]] = []
    for video, outcomes in _encoded(videos, setup, encoders, options):
        made = _guarded(video, _parse_one, video, outcomes, reader, setup, options, out)
        if isinstance(made, ItemError):
            failures[video.name] = made
        else:
            done.append(made)
    done.sort(key=lambda made: made[0].name)
    parsed = [found for found, _ in done]
    _write_statuses(out, named, [row for _, row in done], failures)
    write_index(out, parsed, failures)
    if not parsed:
        raise PipelineError(_no_video(named, failures))
    return parsed


def _parse_one(
    video: InputVideo,
    outcomes: Outcomes,
    reader: Predictor,
    setup: InferenceSettings,
    options: RunOptions,
    out: Path,
) -> tuple[Parsed, StatusRow]:
    """Parse one video and write its folder.

    Raises
    ------
    ItemError
        Not one of its windows can be had.
    """
    failed = [window for window in outcomes if isinstance(window, ItemError)]
    if len(failed) == len(outcomes):
        raise failed[0]
    found = read_video(video, outcomes, reader, setup, options)
    folder = out / video.name
    write_parsed_files(folder, found, video.path, Vocabulary(setup.classes))
    found = _write_page(folder, found, video, options)
    logger.info("%s: %d s, %d events", video.name, found.length, len(found.events()))
    return found, status_row(video, outcomes, found)


def _guarded(
    video: InputVideo, function: Callable[..., Value], *arguments: object
) -> Value | ItemError:
    """Return what a function returns, or why it failed: whatever one video breaks is its row."""
    try:
        return function(*arguments)
    except ItemError as error:
        return error
    except PipelineError:  # a full disk is every video's
        raise
    except Exception as error:
        logger.debug("%s", video.name, exc_info=True)
        return ItemError(
            Status.CRASHED,
            f"parsing it failed ({type(error).__name__}: {printable(str(error))}); run it alone"
            " with --debug and report what you see",
        )


def read_video(
    video: InputVideo,
    outcomes: Outcomes,
    reader: Predictor,
    setup: InferenceSettings,
    options: RunOptions,
) -> Parsed:
    """Read a video's windows, at least one of them whole, and merge them to seconds."""
    kept = [
        (s, w) for s, w in zip(video.starts, outcomes, strict=True) if isinstance(w, WindowFeatures)
    ]
    windows = WindowBatch.of([window for _, window in kept])
    found = reader.read(windows)
    place = [start for start, _ in kept], video.facts.length, windows.present
    probabilities = _merge_both(np.stack([found.audio, found.visual], axis=1), *place)
    gates = _merge_both(np.repeat(found.gate[:, :, None], setup.segments, axis=2), *place)
    has_sound, has_pictures = windows.present.any(axis=(0, 2)).tolist()
    return Parsed(
        name=video.name,
        title=printable(video.path.name),
        class_names=reader.class_names,
        probabilities=floor_decimals(probabilities),
        gates=floor_decimals(gates),
        thresholds=reader.thresholds,
        has_sound=has_sound,
        has_pictures=has_pictures,
        notes=tuple(sentence for _, sentence in diagnose(video, outcomes)),
        provenance={
            "pipeline": __version__,
            "video": f"sha256 {sha256_of(video.path)}",
            **reader.provenance,
            **{name: f"features {value}" for name, value in setup.feature_fingerprints().items()},
            "windows": f"{setup.segments} s, {options.overlap} s shared",
        },
    )


def _merge_both(
    values: NDArray[np.float32], starts: Sequence[int], length: int, present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Merge windows ``[W, 2, T, C]`` to seconds ``[2, L, C]``; see ``merge``."""
    indices = range(len(MODALITIES))
    return np.stack([merge(values[:, i], starts, length, present[:, i]) for i in indices])


def _encoded(
    videos: Sequence[InputVideo],
    setup: InferenceSettings,
    encoders: Mapping[str, CaptionEncoder],
    options: RunOptions,
) -> Iterator[tuple[InputVideo, list[WindowFeatures | ItemError]]]:
    """Yield each video with its windows, or why they cannot be had, as soon as all are there.

    Windows come in about their order, so only few videos are held at a time.
    """
    pending: dict[str, dict[int, WindowFeatures | ItemError]] = {}
    decoded = decode_windows(videos, setup.decoding, options.workers, options.timeout_seconds)
    for video, place, outcome in decoded:
        windows = pending.setdefault(video.name, {})
        if isinstance(outcome, ItemError):
            windows[place] = outcome
        else:
            present = _present(video, video.starts[place], outcome, setup.segments)
            windows[place] = _guarded(video, _embed, outcome, present, encoders)
        if len(windows) == len(video.starts):
            del pending[video.name]
            yield video, [windows[place] for place in range(len(video.starts))]


def _present(video: InputVideo, start: int, window: Decoded, segments: int) -> NDArray[np.bool_]:
    """Return which seconds of a window its file has, and could be decoded, ``[2, T]``."""
    inside = video.facts.present[:, start : start + segments]
    present = np.zeros((len(MODALITIES), segments), bool)
    present[:, : inside.shape[1]] = inside
    present[0] &= window.row.audio_seconds > 0
    present[1] &= window.row.video_seconds > 0
    return present


def _embed(
    window: Decoded, present: NDArray[np.bool_], encoders: Mapping[str, CaptionEncoder]
) -> WindowFeatures:
    features = {}
    for name, encoder in encoders.items():
        embedded = encoder.embed(getattr(window, encoder.source)[None])
        if not all(np.isfinite(array).all() for array in embedded.values()):
            raise ItemError(Status.NOT_FINITE, f"{name} gave features that are not finite")
        # As a feature shard keeps and gives them.
        features[name] = {
            key: array.astype(encoder.spec.storage).astype(np.float32)
            for key, array in embedded.items()
        }
    return WindowFeatures(features, present, window.status, window.damage)


def _write_page(folder: Path, parsed: Parsed, video: InputVideo, options: RunOptions) -> Parsed:
    """Write a video's page; where there is nothing for browsers to play, a note says why."""
    facts = replace(
        video.facts,
        sound=video.facts.sound if parsed.has_sound else None,
        pictures=video.facts.pictures if parsed.has_pictures else None,
    )
    playback = None
    try:
        playback = make_playable(video.path, facts, folder, options.embed_bytes)
    except ItemError as error:
        logger.warning("%s: %s", video.name, error.detail)
        parsed = replace(parsed, notes=(*parsed.notes, f"The page plays nothing: {error.detail}."))
    write_page(folder, parsed, playback)
    remove_others(folder, video.path, playback)
    return parsed


def _write_statuses(
    out: Path,
    named: Mapping[str, Path],
    parsed: Sequence[StatusRow],
    failures: Mapping[str, ItemError],
) -> None:
    left_out = [
        StatusRow(name, False, error.status, error.detail) for name, error in failures.items()
    ]
    write_status(out / STATUS_FILE, [*parsed, *left_out])
    for name, error in failures.items():
        logger.warning("'%s' is left out: %s (%s)", named[name], error.detail, error.status)


def _no_video(named: Mapping[str, Path], failures: Mapping[str, ItemError]) -> str:
    name = next(name for name in named if name in failures)
    error, others = failures[name], len(failures) - 1
    advice = "docs/how-to/troubleshooting.md says what to do"
    if error.status == Status.MISSING:
        advice = "check the path"
    too = {0: "", 1: ", nor can the other file"}.get(others, f", nor can the other {others} files")
    return f"'{printable(str(named[name]))}' cannot be parsed ({error}){too}; {advice}."
