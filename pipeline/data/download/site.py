"""Where videos come from: yt-dlp reads the page, ffmpeg cuts the window out of stream or file."""

import importlib.util
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.ffmpeg import encoding_ffmpeg_path
from pipeline.core.files import atomic_path, existing_file
from pipeline.data.download.cut import OUTPUT_OPTIONS, cut_window
from pipeline.data.download.options import YOUTUBE_HOME, DownloadOptions
from pipeline.data.download.responses import Response, check_disk, response_from
from pipeline.data.fetch import retry_after
from pipeline.data.manifest import window_of
from pipeline.media.probe import probe
from pipeline.media.segments import SHORT_SECONDS

logger = logging.getLogger(__name__)

IDENTITY = re.compile(r"[A-Za-z0-9_-]{11}")

# Separate or combined streams, preferring the containers that nearly every video has.
STREAM_FORMATS = "bv*[ext=mp4]+ba[ext=m4a]/b[ext=mp4]/bv*+ba/b"
# Any error ends ffmpeg: a broken stream must not pass for a short one.
STREAM_PROTOCOLS = "http,https,httpproxy,tcp,tls"
INPUT_OPTIONS = ("-loglevel", "error", "-xerror", "-protocol_whitelist", STREAM_PROTOCOLS)
KEPT_STATUSES = frozenset({Status.OK, Status.TOO_SHORT})


class Site:
    """Where videos are requested, and in what form.

    Raises
    ------
    PipelineError
        There is no cookie file.
    """

    def __init__(self, options: DownloadOptions) -> None:
        self.url, self.height = options.url, options.height
        self.cuts_streams = options.cut == "stream"
        self.timeout_seconds = options.timeout_seconds
        self.cookies = (
            existing_file(Path(options.cookies), "the cookie file") if options.cookies else None
        )

    def download(self, name: str, videos: Path, work: Path) -> Response:
        """Download a video's window into a folder as ``{name}.mp4``.

        Parameters
        ----------
        name
            Whole name ``{id}_{start}_{end}``.
        videos
            Where the clip goes when it is complete.
        work
            Where it is written first, on the same file system.

        Returns
        -------
        Response
            ``too_short`` where the video ends before its window does; what there is of it is kept.

        Raises
        ------
        PipelineError
            The disk is full or read-only.
        """
        identity, start, end = window_of(name)
        if not IDENTITY.fullmatch(identity):
            return Response(Status.BAD_ID, f"'{identity}' is not 11 letters, digits, '-' or '_'")
        part = work / f"{name}.mp4"
        part.unlink(missing_ok=True)  # left by a killed run, unchecked
        lengths: list[float] = []
        fetch = self._fetch_window if self.cuts_streams else self._fetch_whole
        response = fetch(self.url.replace("{id}", identity), (start, end), part, lengths)
        if response.status is Status.OK:
            response = check_clip(part, (start, end), lengths)
        if response.status in KEPT_STATUSES and part.is_file():
            with atomic_path(videos / part.name) as temporary:
                part.replace(temporary)
        return response

    def _fetch_window(
        self, url: str, window: tuple[float, float], part: Path, lengths: list[float]
    ) -> Response:
        """Let ffmpeg cut the window out of the stream."""
        options = self._options(part.parent, part.name, lengths)
        section = {"start_time": window[0], "end_time": window[1]}
        options |= {"download_ranges": lambda *_: [section], "force_keyframes_at_cuts": True}
        options["external_downloader_args"]["ffmpeg_o"] = list(OUTPUT_OPTIONS)
        return _extract(url, options)

    def _fetch_whole(
        self, url: str, window: tuple[float, float], part: Path, lengths: list[float]
    ) -> Response:
        """Download the whole video and cut the window out of the file."""
        with tempfile.TemporaryDirectory(dir=part.parent) as name:
            folder = Path(name).absolute()
            options = self._options(folder, "whole.%(ext)s", lengths)
            # Unlike Matroska, MP4 keeps a stream's run-in out of the clock.
            options["merge_output_format"] = "mp4/mkv"
            response = _extract(url, options)
            if response.status is not Status.OK:
                return response
            (whole,) = folder.glob("whole.*")
            return cut_window(whole, window, part)

    def _options(self, folder: Path, name: str, lengths: list[float]) -> dict[str, Any]:
        """Return yt-dlp's options; the full video's length is added to ``lengths`` when known."""

        def note_length(info: Mapping[str, Any], *, incomplete: bool) -> None:
            lengths.extend(filter(None, [info.get("duration")]))

        microseconds = str(round(self.timeout_seconds * 1e6))
        return {
            "outtmpl": {"default": f"{str(folder.absolute()).replace('%', '%%')}/{name}"},
            "format": STREAM_FORMATS,
            "format_sort": [f"res:{self.height}", "vcodec:h264", "acodec:aac"],
            "match_filter": note_length,
            "external_downloader_args": {"ffmpeg_i": [*INPUT_OPTIONS, "-rw_timeout", microseconds]},
            "overwrites": True,
            "continuedl": False,
            "fixup": "never",
            # One video of this site: no playlist, no embedded page.
            "noplaylist": True,
            "playlist_items": "0",
            "allowed_extractors": ["youtube" if self.url.startswith(YOUTUBE_HOME) else "generic"],
            # Pace waits and retries; this is one request.
            "retries": 0,
            "fragment_retries": 0,
            "extractor_retries": 0,
            "socket_timeout": self.timeout_seconds,
            "cookiefile": io.StringIO(self.cookies.read_text("utf-8")) if self.cookies else None,
            "noprogress": True,
            "color": "never",
        }


@contextmanager
def tools() -> Iterator[None]:
    """Let yt-dlp find ffmpeg, and ignore plug-ins installed on the machine.

    Raises
    ------
    PipelineError
        yt-dlp is not installed, or no ffmpeg can encode.
    """
    if importlib.util.find_spec("yt_dlp") is None:
        raise PipelineError(
            "downloading videos needs yt-dlp, which is not installed; install it with"
            " `pip install 'yt-dlp[default,deno]'` (docs/how-to/download-videos.md)."
        )
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        # yt-dlp looks for a program of this name on the PATH before it cuts a stream.
        (Path(folder) / "ffmpeg").symlink_to(encoding_ffmpeg_path())
        path = os.pathsep.join([folder, before.get("PATH", os.defpath)])
        os.environ.update(PATH=path, YTDLP_NO_PLUGINS="1")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


class _Messages:
    """Collects what yt-dlp prints, for the debug log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, line: str) -> None:
        self.lines.append(line)

    warning = error = debug


def _extract(url: str, options: dict[str, Any]) -> Response:
    """Run yt-dlp on one address."""
    import yt_dlp

    messages, failure, wait = _Messages(), "", 0.0
    with tempfile.TemporaryFile() as said:
        try:
            with _stderr_into(said), yt_dlp.YoutubeDL({**options, "logger": messages}) as ydl:
                info = ydl.extract_info(url)
            if info.get("_type", "video") != "video":
                failure = f"Unsupported URL: {url} names more than one video"
        except Exception as error:  # a changed site raises anything; it concerns this video alone
            failure, wait = str(error) or type(error).__name__, _asked_wait(error)
        said.seek(0)
        printed = said.read().decode(errors="replace")
    logger.debug("%s", "\n".join([*messages.lines, printed, failure]))
    if not failure:
        return Response(Status.OK)
    failure = f"{failure}\n{printed}"
    check_disk(failure)
    return response_from(failure, wait)


def check_clip(part: Path, window: tuple[float, float], lengths: list[float]) -> Response:
    """Tell a complete clip from one whose window is cut short.

    Parameters
    ----------
    part
        The clip as it arrived; it is deleted when it is empty.
    window
        Its start and end in the full video, in seconds.
    lengths
        The full video's length in seconds, as the site states it; may be empty.

    Returns
    -------
    Response
        ``ok``; ``too_short`` where the video itself ends; ``network_error`` where it goes on.
    """
    wanted = window[1] - window[0]
    try:
        seconds = probe(part).seconds
    except ItemError as error:
        part.unlink(missing_ok=True)
        return Response(Status.TOO_SHORT, f"the video has nothing in this window ({error.detail})")
    if seconds >= wanted - SHORT_SECONDS:
        return Response(Status.OK)
    # Sites round a video's length to the second.
    if lengths and min(lengths[0] - 1, window[1]) - window[0] - seconds >= SHORT_SECONDS:
        return Response(Status.NETWORK_ERROR, f"{seconds:.1f} of {wanted:g} s arrived")
    return Response(Status.TOO_SHORT, f"the video ends at {seconds:.1f} of {wanted:g} s")


def _asked_wait(error: Exception) -> float:
    """Return how many seconds the site asked yt-dlp to wait; 0 if it did not."""
    cause = (getattr(error, "exc_info", None) or (None, None))[1]
    return retry_after(cause) if cause else 0.0


@contextmanager
def _stderr_into(file: BinaryIO) -> Iterator[None]:
    """Collect what ffmpeg prints: through yt-dlp it inherits this process's standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
