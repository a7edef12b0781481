"""What a page plays: the video's file, or a small copy in H.264 and AAC."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.ffmpeg import encoding_ffmpeg_path
from pipeline.core.files import atomic_path
from pipeline.inference.videos import MediaFacts
from pipeline.media.probe import FORMATS, PROTOCOLS

# What Chromium, Firefox and Safari all play, by ffmpeg's name of the container: the MIME type with
# pictures, the MIME type of sound alone, and the codecs.
PLAYABLE = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("video/mp4", "audio/mp4", {"h264", "aac", "mp3"}),
    "matroska,webm": ("video/webm", "audio/webm", {"vp8", "vp9", "opus", "vorbis"}),
    "mp3": ("", "audio/mpeg", {"mp3"}),
    "wav": ("", "audio/wav", {"pcm_s16le"}),
    "flac": ("", "audio/flac", {"flac"}),
}
PLAYABLE_PIXELS = {"yuv420p", "yuvj420p"}
# A copy is for looking at, not for keeping: 480 lines at libx264's quality 28.
PROXY_LINES = 480
PROXY_QUALITY = 28
# File names of media beside a page; some browsers decide by the name alone.
SUFFIXES = {
    "video/mp4": ".mp4",
    "audio/mp4": ".m4a",
    "video/webm": ".webm",
    "audio/webm": ".weba",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
}
# Not all browsers mirror pictures, nor rotate those of other containers.
ROTATED = "mov,mp4,m4a,3gp,3g2,mj2"
# Browsers count from the container's zero, the page from the first picture or sound.
MAX_ORIGIN_SECONDS = 0.05
# Time limit of transcoding, as a multiple of the video's length; at least a minute.
MAX_TRANSCODE_FACTOR = 4.0
# How the note about a page without media begins.
PLAYS_NOTHING = "The page plays nothing"


@dataclass(frozen=True)
class Playback:
    """What a page plays.

    Attributes
    ----------
    path
        The file: the video itself, or a copy beside the page.
    mime_type
        Its MIME type.
    is_embedded
        Whether the page embeds it; otherwise it is in the page's folder.
    """

    path: Path
    mime_type: str
    is_embedded: bool


def playable_type(facts: MediaFacts) -> str | None:
    """Return the MIME type of a file that all browsers play as it is.

    Returns None if one of them does not, or may play another of several streams, or if its clock
    would differ from the page's.
    """
    if facts.choice or facts.origin > MAX_ORIGIN_SECONDS:
        return None
    with_pictures, sound_alone, codecs = PLAYABLE.get(facts.container, ("", "", set()))
    streams = [stream for stream in (facts.pictures, facts.sound) if stream]
    if not {stream.codec for stream in streams} <= codecs:
        return None
    if facts.pictures and facts.pictures.pixels not in PLAYABLE_PIXELS:
        return None
    turn = facts.pictures.turn if facts.pictures else ""
    if turn == "mirrored" or (turn and facts.container != ROTATED):
        return None
    return (with_pictures if facts.pictures else sound_alone) or None


def make_playable(path: Path, facts: MediaFacts, folder: Path, embed_bytes: int) -> Playback:
    """Return what a page in ``folder`` plays.

    A file that browsers play is embedded up to ``embed_bytes``, and otherwise linked or copied into
    the folder. For any other file a copy is made, which keeps the streams that browsers play.

    Raises
    ------
    ItemError
        ffmpeg cannot make the copy, or the copy would overwrite the file.
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
        raise ItemError(
            Status.DECODE_ERROR, "its copy would overwrite it; move it to another folder"
        )
    _transcode(path, facts, proxy)
    return Playback(proxy, mime_type, proxy.stat().st_size <= embed_bytes)


def check_unclaimed(folder: Path, path: Path) -> None:
    """Check that a folder that no video was parsed into has no media that would be replaced.

    Raises
    ------
    ItemError
        It has.
    """
    for mime_type in SUFFIXES:
        media = _beside(folder, mime_type)
        if media.exists() and not media.samefile(path):
            raise ItemError(
                Status.DECODE_ERROR,
                f"'{media}' would be replaced or deleted; choose another output folder",
            )


def remove_others(folder: Path, path: Path, playback: Playback | None) -> None:
    """Remove media that the page does not link any more; never the video's own file."""
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
    try:
        words = [encoding_ffmpeg_path(), "-nostdin", "-v", "error", "-y"]
    except PipelineError as error:  # the page plays nothing, but all else is complete
        raise ItemError(Status.DECODE_ERROR, str(error).rstrip(".")) from None
    words += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS]
    # Without this, ffmpeg counts from the first stream, even if that is not parsed.
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
                timeout=max(60.0, MAX_TRANSCODE_FACTOR * facts.seconds),
            )
        except subprocess.TimeoutExpired:
            raise ItemError(Status.TIMEOUT, "making a copy for the page took too long") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise ItemError(Status.DECODE_ERROR, f"no copy for the page could be made: {lines[-1]}")


def _picture_words(facts: MediaFacts) -> list[str]:
    pictures = facts.pictures
    assert pictures is not None
    is_plain = pictures.turn != "mirrored"
    if is_plain and pictures.codec == "h264" and pictures.pixels in PLAYABLE_PIXELS:
        return ["-c:v", "copy"]
    words = ["-vf", f"scale=-2:'min({PROXY_LINES},trunc(ih/2)*2)'", "-pix_fmt", "yuv420p"]
    return [*words, "-c:v", "libx264", "-preset", "veryfast", "-crf", str(PROXY_QUALITY)]
