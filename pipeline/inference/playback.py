"""A copy of a video that browsers play: the file itself, or a small H.264 and AAC one."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ItemError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.core.files import atomic_path
from pipeline.inference.videos import MediaFacts
from pipeline.media.probe import FORMATS, PROTOCOLS

# What Chromium, Firefox and Safari play alike, by ffmpeg's name of the container: the type that
# tells them, for pictures and for sound alone, and the codecs.
PLAYABLE = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("video/mp4", "audio/mp4", {"h264", "aac", "mp3"}),
    "matroska,webm": ("video/webm", "audio/webm", {"vp8", "vp9", "opus", "vorbis"}),
    "mp3": ("", "audio/mpeg", {"mp3"}),
    "wav": ("", "audio/wav", {"pcm_s16le"}),
    "flac": ("", "audio/flac", {"flac"}),
}
PLAYABLE_PIXELS = {"yuv420p", "yuvj420p"}
# A proxy is to be looked at, not kept: 480 lines, and the quality that libx264 calls 28.
PROXY_LINES = 480
PROXY_QUALITY = 28
# What browsers call a file that lies beside its page: some look at its name alone.
SUFFIXES = {
    "video/mp4": ".mp4",
    "audio/mp4": ".m4a",
    "video/webm": ".webm",
    "audio/webm": ".weba",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
}
# Browsers count from their container's zero, pages from the first picture or sound.
MOST_ORIGIN_SECONDS = 0.05
# Transcoding is given this many times a video's length, and no less than a minute.
PATIENCE = 4.0


@dataclass(frozen=True)
class Playback:
    """What a page plays.

    Attributes
    ----------
    path
        The file: the video itself, or a copy beside the page.
    mime_type
        Its type.
    is_embedded
        Whether the page holds its bytes; else it lies beside the page.
    """

    path: Path
    mime_type: str
    is_embedded: bool


def playable_type(facts: MediaFacts) -> str | None:
    """Return the type under which browsers play a file as it is.

    None where some do not, or where their clock would be another than the page's.
    """
    if facts.origin > MOST_ORIGIN_SECONDS:
        return None
    with_pictures, sound_alone, codecs = PLAYABLE.get(facts.container, ("", "", set()))
    streams = [stream for stream in (facts.pictures, facts.sound) if stream]
    if not {stream.codec for stream in streams} <= codecs:
        return None
    if facts.pictures and facts.pictures.pixels not in PLAYABLE_PIXELS:
        return None
    return (with_pictures if facts.pictures else sound_alone) or None


def make_playable(path: Path, facts: MediaFacts, folder: Path, embed_bytes: int) -> Playback:
    """Return what a page in ``folder`` plays of a video.

    A file that browsers play is embedded when it has ``embed_bytes`` or less, else linked or copied
    into the folder. Of another one a copy is made; its streams are kept where they can be.

    Raises
    ------
    ItemError
        ffmpeg cannot make the copy, or it would take the file's own place.
    """
    mime_type = playable_type(facts)
    if mime_type and path.stat().st_size <= embed_bytes:
        return Playback(path, mime_type, True)
    if mime_type:
        beside = _beside(folder, mime_type)
        _link_or_copy(path, beside)
        return Playback(beside, mime_type, False)
    mime_type = "video/mp4" if facts.pictures else "audio/mp4"
    proxy = _beside(folder, mime_type)
    if proxy.resolve() == path.resolve():
        raise ItemError(Status.DECODE_ERROR, "its copy would take its own place; move it elsewhere")
    _transcode(path, facts, proxy)
    return Playback(proxy, mime_type, proxy.stat().st_size <= embed_bytes)


def remove_others(folder: Path, path: Path, playback: Playback | None) -> None:
    """Remove what an earlier page played, or this one now holds; never the video's own file."""
    needed = {path.resolve()}
    if playback and not playback.is_embedded:
        needed.add(playback.path.resolve())
    for mime_type in SUFFIXES:
        media = _beside(folder, mime_type)
        if media.resolve() not in needed:
            media.unlink(missing_ok=True)


def _beside(folder: Path, mime_type: str) -> Path:
    return folder / f"media{SUFFIXES[mime_type]}"


def _link_or_copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _transcode(path: Path, facts: MediaFacts, target: Path) -> None:
    words = [ffmpeg_path(), "-nostdin", "-v", "error", "-y"]
    words += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS]
    # Left alone it would count from the first stream, though that be one that is not parsed.
    words += ["-copyts"]
    words += ["-i", str(path.absolute())]
    if facts.pictures:
        words += ["-map", f"0:{facts.pictures.index}", *_picture_words(facts)]
    if facts.sound:
        keeps = facts.sound.codec == "aac"
        words += ["-map", f"0:{facts.sound.index}"]
        words += ["-c:a", "copy"] if keeps else ["-c:a", "aac", "-b:a", "96k", "-ac", "2"]
    words += ["-output_ts_offset", f"{-facts.origin:.6f}"]
    words += ["-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4"]
    with atomic_path(target) as temporary:
        try:
            done = subprocess.run(
                [*words, str(temporary)],
                capture_output=True,
                timeout=max(60.0, PATIENCE * facts.seconds),
            )
        except subprocess.TimeoutExpired:
            raise ItemError(Status.TIMEOUT, "making a copy for the page took too long") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise ItemError(Status.DECODE_ERROR, f"no copy for the page could be made: {lines[-1]}")


def _picture_words(facts: MediaFacts) -> list[str]:
    assert facts.pictures is not None
    if facts.pictures.codec == "h264" and facts.pictures.pixels in PLAYABLE_PIXELS:
        return ["-c:v", "copy"]
    words = ["-vf", f"scale=-2:'min({PROXY_LINES},trunc(ih/2)*2)'", "-pix_fmt", "yuv420p"]
    return [*words, "-c:v", "libx264", "-preset", "veryfast", "-crf", str(PROXY_QUALITY)]
