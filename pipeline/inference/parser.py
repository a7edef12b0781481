"""A parser for any video: decode windows, embed them, predict, merge the windows to seconds.

The Python API, ``avvp parse`` and the workflow's rule all use ``Parser``.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.core.devices import choose_device
from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.files import sha256_of
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.core.wording import counted
from pipeline.features.encoders.base import CaptionEncoder
from pipeline.features.encoders.identity import encoder_notice, encoder_text
from pipeline.inference.diagnostics import WindowOutcomes, diagnose, parsed_seconds
from pipeline.inference.events import (
    DecisionThresholds,
    Parsed,
    check_threshold,
    floor_decimals,
)
from pipeline.inference.input_files import expand_folders, printable, safe_names
from pipeline.inference.packed import fetch_encoders, parser_folder, read_parser_settings
from pipeline.inference.predictors import (
    Predictor,
    TrainedPredictor,
    WindowBatch,
    WindowFeatures,
    ZeroShotPredictor,
    checkpoint_of,
    load_encoders,
)
from pipeline.inference.settings import InferenceSettings
from pipeline.inference.videos import InputVideo, decode_windows, inspect_videos
from pipeline.inference.windows import merge
from pipeline.media.segments import Decoded

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Parser:
    """Detects audio and visual events in videos; see ``load_parser`` and ``zero_shot``.

    Parameters
    ----------
    predictor
        What predicts the probabilities of windows.
    settings
        How videos are decoded and embedded.
    encoders
        CLIP and CLAP by name, as ``load_encoders`` returns them.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: InferenceSettings,
        encoders: Mapping[str, CaptionEncoder],
    ) -> None:
        self._predictor = predictor
        self._settings = settings
        self._encoders = encoders

    def __repr__(self) -> str:
        method = self._predictor.provenance.get("method", "parser")
        return f"Parser({method!r}, {counted(len(self.class_names), 'class')})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C classes."""
        return self._predictor.class_names

    @property
    def thresholds(self) -> DecisionThresholds:
        """What decides which seconds are events."""
        return self._predictor.thresholds

    def parse(
        self, path: str | Path, *, overlap: int | None = None, timeout_seconds: float = 60.0
    ) -> Parsed:
        """Parse one video of any length, in any format that decodes.

        Parameters
        ----------
        path
            A media file; sound or pictures alone will do.
        overlap
            Seconds that neighbouring windows share (default: half a window; 0 for zero-shot).
        timeout_seconds
            Longest time for decoding one window.

        Raises
        ------
        ItemError
            The video cannot be parsed; ``status`` and ``detail`` say why.
        PipelineError
            ``overlap`` is out of range.
        """
        (name,) = safe_names([Path(path)])
        for _, outcome in self.parse_named({name: Path(path)}, overlap, 1, timeout_seconds):
            if isinstance(outcome, Parsed):
                return outcome
            raise outcome
        raise AssertionError("every file has an outcome")

    def parse_many(
        self,
        paths: Iterable[str | Path],
        *,
        overlap: int | None = None,
        workers: int = 1,
        timeout_seconds: float = 60.0,
        follow_links: bool = False,
    ) -> Iterator[tuple[Path, Parsed | ItemError]]:
        """Parse several videos while others are being decoded.

        Parameters
        ----------
        paths
            Media files, or folders of them.
        overlap, timeout_seconds
            See ``parse``.
        workers
            Number of decode processes.
        follow_links
            Whether links in a folder to files outside it are taken too.

        Yields
        ------
        Each file with its parsed video, or with the reason why it cannot be parsed; in the order
        in which they are finished.

        Raises
        ------
        PipelineError
            A folder has no media files, or ``overlap`` is out of range.
        """
        if isinstance(paths, str | Path):
            raise PipelineError(f"paths is {str(paths)!r}; it must be a list of paths.")
        named = expand_folders([Path(path) for path in paths], follow_links).named
        for name, outcome in self.parse_named(named, overlap, workers, timeout_seconds):
            yield named[name], outcome

    def parse_named(
        self,
        named: Mapping[str, Path],
        overlap: int | None = None,
        workers: int = 1,
        timeout_seconds: float = 60.0,
    ) -> Iterator[tuple[str, Parsed | ItemError]]:
        """Yield the name of each file with its parsed video, or why it cannot be parsed.

        See ``parse_many`` for the parameters.
        """
        shared = self._overlap(overlap)
        videos, failures = inspect_videos(
            named, self._settings.segments, shared, workers, timeout_seconds
        )
        yield from failures.items()
        for video, windows in self._embedded(videos, workers, timeout_seconds):
            yield video.name, guarded(video.name, self._merge, video, windows, shared)

    def provenance(self, path: Path, overlap: int | None = None) -> dict[str, str]:
        """Return how a file would be parsed, as names and values; equal ones give equal results."""
        made = self._settings.feature_fingerprints()
        encoders = self._settings.identities
        return {
            "pipeline": __version__,
            "video": f"sha256 {sha256_of(path)}",
            **self._predictor.provenance,
            **{
                name: ", features ".join([encoder_text(encoder), *made.get(name, "").split()])
                for name, encoder in encoders.items()
            },
            "windows": f"{self._settings.segments} s, {self._overlap(overlap)} s shared",
        }

    def _overlap(self, chosen: int | None) -> int:
        if chosen is not None:
            return chosen
        return self._settings.segments // 2 if self._predictor.uses_context else 0

    def _embedded(
        self, videos: Sequence[InputVideo], workers: int, timeout_seconds: float
    ) -> Iterator[tuple[InputVideo, WindowOutcomes]]:
        """Yield each video with its windows, or why they failed, as soon as all are done.

        Windows arrive roughly in order, so few videos are in memory at a time.
        """
        pending: dict[str, dict[int, WindowFeatures | ItemError]] = {}
        decoding = self._settings.decoding
        for video, index, outcome in decode_windows(videos, decoding, workers, timeout_seconds):
            windows = pending.setdefault(video.name, {})
            if isinstance(outcome, ItemError):
                windows[index] = outcome
            else:
                present = self._present(video, video.starts[index], outcome)
                windows[index] = guarded(video.name, embed_window, outcome, present, self._encoders)
            if len(windows) == len(video.starts):
                del pending[video.name]
                yield video, [windows[index] for index in range(len(video.starts))]

    def _present(self, video: InputVideo, start: int, window: Decoded) -> NDArray[np.bool_]:
        """Return which seconds of a window the file has and could be decoded, ``[2, T]``."""
        segments = self._settings.segments
        inside = video.facts.present[:, start : start + segments]
        present = np.zeros((len(MODALITIES), segments), bool)
        present[:, : inside.shape[1]] = inside
        present[0] &= window.row.audio_seconds > 0
        present[1] &= window.row.video_seconds > 0
        return present

    def _merge(self, video: InputVideo, outcomes: WindowOutcomes, overlap: int) -> Parsed:
        """Predict a video's windows and merge them to seconds.

        Raises
        ------
        ItemError
            Every window failed.
        """
        kept = [
            (start, window)
            for start, window in zip(video.starts, outcomes, strict=True)
            if isinstance(window, WindowFeatures)
        ]
        if not kept:
            raise next(window for window in outcomes if isinstance(window, ItemError))
        windows = WindowBatch.of([window for _, window in kept])
        found = self._predictor.predict(windows)
        starts, length = [start for start, _ in kept], video.facts.length

        def merged(values: NDArray[np.float32], row: int) -> NDArray[np.float32]:
            """Merge one modality's windows ``[W, T, C]`` to ``(T, C)`` of the whole video."""
            seconds = merge(values, starts, length, windows.present[:, row])
            return floor_decimals(seconds).astype(np.float32)

        gates = np.repeat(found.gate[:, :, None], self._settings.segments, axis=2)
        has_sound, has_pictures = windows.present.any(axis=(0, 2)).tolist()
        problems = list(diagnose(video, outcomes))
        seconds = parsed_seconds(video, outcomes).sum(axis=1).tolist()
        return Parsed(
            name=video.name,
            title=printable(video.path.name),
            path=video.path,
            media=video.facts,
            class_names=self.class_names,
            probabilities={"audio": merged(found.audio, 0), "visual": merged(found.visual, 1)},
            gates={name: merged(gates[:, row], row) for row, name in enumerate(MODALITIES)},
            thresholds=self.thresholds,
            has_sound=has_sound,
            has_pictures=has_pictures,
            notes=tuple(sentence for _, sentence in problems),
            provenance=self.provenance(video.path, overlap),
            status=next((status for status, _ in problems if status != Status.OK), Status.OK),
            seconds=dict(zip(MODALITIES, seconds, strict=True)),
            notice=encoder_notice(self._settings.identities),
        )


def load_parser(
    source: str | Path,
    *,
    device: str = "auto",
    threshold: float | None = None,
    settings: InferenceSettings | str | Path | None = None,
) -> Parser:
    """Load a trained parser.

    Parameters
    ----------
    source
        The folder of a training run or of ``avvp pack``, or ``hf:OWNER/NAME`` with or without
        ``@REVISION`` for a repository on the Hugging Face Hub.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.
    threshold
        The events' threshold, between 0 and 1 (default: the method's own).
    settings
        How videos are decoded and embedded, or the file that says so (default: ``parsing.json`` of
        the folder or its run).

    Raises
    ------
    PipelineError
        The parser, its settings or its encoders' files are missing or do not fit together, or the
        Hub cannot be reached.
    """
    check_threshold(threshold)
    folder = parser_folder(source)
    if not isinstance(settings, InferenceSettings):
        settings = read_parser_settings(folder, Path(settings) if settings else None)
    fetch_encoders(settings)
    checkpoint = checkpoint_of(folder, settings)
    encoders = load_encoders(settings, device)
    predictor = TrainedPredictor(
        folder, checkpoint, settings, encoders, choose_device(device), threshold
    )
    return Parser(predictor, settings, encoders)


def zero_shot_parser(
    settings: InferenceSettings,
    references: Vocabulary,
    device: str = "auto",
    threshold: float | None = None,
) -> Parser:
    """Return a parser that compares CLIP and CLAP embeddings with captions; nothing is trained.

    Parameters
    ----------
    settings
        How videos are decoded and embedded, and the classes to detect.
    references
        Classes that compete with them, see ``ZeroShotPredictor``.
    device, threshold
        See ``load_parser``.
    """
    check_threshold(threshold)
    fetch_encoders(settings)
    encoders = load_encoders(settings, device)
    predictor = ZeroShotPredictor(settings.classes, references, encoders, threshold)
    return Parser(predictor, settings, encoders)


def embed_window(
    window: Decoded, present: NDArray[np.bool_], encoders: Mapping[str, CaptionEncoder]
) -> WindowFeatures:
    """Embed one decoded window.

    Raises
    ------
    ItemError
        A feature is not finite.
    """
    features = {}
    for name, encoder in encoders.items():
        embedded = encoder.embed(getattr(window, encoder.source)[None])
        if not all(np.isfinite(array).all() for array in embedded.values()):
            raise ItemError(Status.NOT_FINITE, f"{name} gave features that are not finite")
        # Rounded as in a feature shard.
        features[name] = {
            key: array.astype(encoder.spec.storage).astype(np.float32)
            for key, array in embedded.items()
        }
    return WindowFeatures(features, present, window.status, window.damage)


def guarded(name: str, function: Callable[..., Result], *arguments: object) -> Result | ItemError:
    """Return the result of a function, or why it failed; one video must not stop the others."""
    try:
        return function(*arguments)
    except ItemError as error:
        return error
    except PipelineError:  # a full disk affects every video
        raise
    except Exception as error:
        logger.debug("%s", name, exc_info=True)
        return ItemError(
            Status.CRASHED,
            f"parsing it failed ({type(error).__name__}: {printable(str(error))}); run it alone"
            " with --debug and report what you see",
        )
