"""Where videos are asked for: yt-dlp reads the page, ffmpeg takes the window out of the stream."""

import importlib.util
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.core.files import atomic_path, existing_file
from pipeline.data.download import YOUTUBE, YOUTUBE_HOME
from pipeline.data.download.responses import Response, response_from
from pipeline.data.manifest import window_of
from pipeline.media.probe import probe
from pipeline.media.segments import SHORT_SECONDS

logger = logging.getLogger(__name__)

IDENTITY = re.compile(r"[A-Za-z0-9_-]{11}")

# Picture and sound apart or in one file, first in the containers that nearly every video has.
STREAM_FORMATS = "bv*[ext=mp4]+ba[ext=m4a]/b[ext=mp4]/bv*+ba/b"
# Every error ends ffmpeg: a stream that breaks off must not pass for a short one.
STREAM_PROTOCOLS = "http,https,httpproxy,tcp,tls"
INPUT_OPTIONS = ("-loglevel", "error", "-xerror", "-protocol_whitelist", STREAM_PROTOCOLS)
# The cut is between key frames, so the window is encoded anew, well above what LLP's clips hold.
OUTPUT_OPTIONS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"),
    *("-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"),  # H.264 in yuv420p has even sides only
    *("-c:a", "aac", "-b:a", "160k"),
    *("-f", "mp4", "-movflags", "+faststart"),
)
KEPT_STATUSES = frozenset({Status.OK, Status.TOO_SHORT})
FULL_DISK = re.compile(r"No space left on device|Read-only file system|Disk quota exceeded")


@dataclass(frozen=True)
class Site:
    """Where videos are asked for, and in what form.

    Attributes
    ----------
    url
        A video's address; ``{id}`` stands for its id.
    height
        Wanted height of the pictures in pixels: the largest that is not above it, else the next.
    cookies
        A cookie file in Netscape's format, read once and never written, or None.
    timeout_seconds
        How long a connection may be silent.

    Raises
    ------
    PipelineError
        The address is not one, or there is no cookie file.
    """

    url: str = YOUTUBE
    height: int = 360
    cookies: Path | None = None
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not re.match(r"https?://", self.url) or "{id}" not in self.url:
            raise PipelineError(
                f"the address '{self.url}' must begin with http:// or https:// and have {{id}}"
                f" where a video's id goes, as in {YOUTUBE}."
            )
        if self.cookies:
            existing_file(self.cookies, "the cookie file")

    def download(self, name: str, videos: Path, work: Path) -> Response:
        """Ask for a video's window and put it into a folder as ``{name}.mp4``.

        Parameters
        ----------
        name
            Whole name ``{id}_{start}_{end}``.
        videos
            Where the clip goes, when it is whole.
        work
            Where it grows, on the same file system.

        Returns
        -------
        Response
            ``too_short`` where the video ends before its window does; what there is of the window
            is kept.

        Raises
        ------
        PipelineError
            The disk is full or may not be written.
        """
        identity, start, end = window_of(name)
        if not IDENTITY.fullmatch(identity):
            return Response(Status.BAD_ID, f"'{identity}' is not 11 letters, digits, '-' or '_'")
        part = work / f"{name}.mp4"
        part.unlink(missing_ok=True)  # of a run that was killed, and not checked
        lengths: list[float] = []
        options = self._options(part, (start, end), lengths)
        answer = _extract(self.url.replace("{id}", identity), options)
        if answer.status is Status.OK:
            answer = check_clip(part, (start, end), lengths)
        if answer.status in KEPT_STATUSES and part.is_file():
            with atomic_path(videos / part.name) as temporary:
                part.replace(temporary)
        return answer

    def _options(
        self, part: Path, window: tuple[float, float], lengths: list[float]
    ) -> dict[str, Any]:
        """Return yt-dlp's options; the full video's length is noted in ``lengths`` if known."""

        def ranges(info: Mapping[str, Any], _: object) -> list[dict[str, float]]:
            lengths.extend(filter(None, [info.get("duration")]))
            return [{"start_time": window[0], "end_time": window[1]}]

        microseconds = str(round(self.timeout_seconds * 1e6))
        return {
            "outtmpl": {"default": str(part.absolute()).replace("%", "%%")},
            "format": STREAM_FORMATS,
            "format_sort": [f"res:{self.height}", "vcodec:h264", "acodec:aac"],
            "download_ranges": ranges,
            "force_keyframes_at_cuts": True,
            "external_downloader_args": {
                "ffmpeg_i": [*INPUT_OPTIONS, "-rw_timeout", microseconds],
                "ffmpeg_o": list(OUTPUT_OPTIONS),
            },
            "overwrites": True,
            "fixup": "never",
            # One video of this site and nothing else: no playlist, no site that a page embeds.
            "noplaylist": True,
            "playlist_items": "0",
            "allowed_extractors": ["youtube" if self.url.startswith(YOUTUBE_HOME) else "generic"],
            # Waiting and asking again is Pace's; a request here is one request.
            "retries": 0,
            "extractor_retries": 0,
            "socket_timeout": self.timeout_seconds,
            "cookiefile": io.StringIO(self.cookies.read_text("utf-8")) if self.cookies else None,
            "noprogress": True,
            "color": "never",
        }


@contextmanager
def tools() -> Iterator[None]:
    """Let yt-dlp find ffmpeg, and none of the plug-ins that a machine may have.

    Raises
    ------
    PipelineError
        yt-dlp is not installed.
    """
    if importlib.util.find_spec("yt_dlp") is None:
        raise PipelineError(
            "downloading videos needs yt-dlp, which is not installed; install it with"
            " `pip install 'yt-dlp[default,deno]'` (docs/how-to/download-videos.md)."
        )
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        # Before it cuts a stream, yt-dlp asks the PATH for a program of this very name.
        (Path(folder) / "ffmpeg").symlink_to(ffmpeg_path())
        path = os.pathsep.join([folder, before.get("PATH", os.defpath)])
        os.environ.update(PATH=path, YTDLP_NO_PLUGINS="1")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


class _Messages:
    """What yt-dlp says while it works; it goes to the debug log when it is done."""

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
        except Exception as error:  # a site's change shows as any; it is this video's trouble alone
            failure, wait = str(error) or type(error).__name__, _asked_wait(error)
        said.seek(0)
        printed = said.read().decode(errors="replace")
    logger.debug("%s", "\n".join([*messages.lines, printed, failure]))
    if not failure:
        return Response(Status.OK)
    failure = f"{failure}\n{printed}"
    if full := FULL_DISK.search(failure):
        raise PipelineError(f"the clip cannot be written: {full[0]}; make room, then run again.")
    return response_from(failure, wait)


def check_clip(part: Path, window: tuple[float, float], lengths: list[float]) -> Response:
    """Tell a clip that is whole from one that lacks the end of its window.

    Parameters
    ----------
    part
        The clip as it arrived; it is deleted where it holds nothing.
    window
        Its start and end in the full video, in seconds.
    lengths
        The full video's length in seconds, as the site has it, or nothing.

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
        return Response(Status.TOO_SHORT, f"nothing of its window is there ({error.detail})")
    if seconds >= wanted - SHORT_SECONDS:
        return Response(Status.OK)
    # Sites round a video's length to the second.
    if lengths and min(lengths[0] - 1, window[1]) - window[0] - seconds >= SHORT_SECONDS:
        return Response(Status.NETWORK_ERROR, f"{seconds:.1f} of {wanted:g} s arrived")
    return Response(Status.TOO_SHORT, f"the video ends at {seconds:.1f} of {wanted:g} s")


def _asked_wait(error: Exception) -> float:
    """Return the seconds of an answer's Retry-After header; 0 where there is none."""
    cause = (getattr(error, "exc_info", None) or (None, None))[1]
    headers: Mapping[str, str] = getattr(getattr(cause, "response", None), "headers", {})
    value = headers.get("Retry-After") or ""
    return float(value) if value.isascii() and value.isdigit() else 0.0


@contextmanager
def _stderr_into(file: BinaryIO) -> Iterator[None]:
    """Collect what ffmpeg prints: it inherits this process's standard error from yt-dlp."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
