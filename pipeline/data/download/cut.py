"""Cutting a window out of a video that was downloaded whole."""

import subprocess
from pathlib import Path

from pipeline.core.errors import Status
from pipeline.core.ffmpeg import encoding_ffmpeg_path
from pipeline.data.download.responses import Response, check_disk
from pipeline.media.probe import FORMATS, PROTOCOLS

# The window starts between key frames, so it is re-encoded, well above the quality of LLP's clips.
OUTPUT_OPTIONS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"),
    *("-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"),  # H.264 in yuv420p has even sides only
    *("-c:a", "aac", "-b:a", "160k"),
    *("-f", "mp4", "-movflags", "+faststart"),
)
# A damaged file may keep ffmpeg busy.
LONGEST_SECONDS = 600.0


def cut_window(whole: Path, window: tuple[float, float], clip: Path) -> Response:
    """Write the window of a video as a clip; the window's seconds count from the video's start.

    Raises
    ------
    PipelineError
        The disk is full or read-only.
    """
    words = [encoding_ffmpeg_path(), "-nostdin", "-v", "error", "-y"]
    words += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS]
    words += ["-ss", f"{window[0]:.6f}", "-t", f"{window[1] - window[0]:.6f}"]
    words += ["-i", str(whole.absolute()), *OUTPUT_OPTIONS, str(clip.absolute())]
    try:
        done = subprocess.run(words, capture_output=True, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Response(Status.DECODE_ERROR, f"cutting took more than {LONGEST_SECONDS:.0f} s")
    said = done.stderr.decode(errors="replace")
    check_disk(said)
    if done.returncode:
        lines = said.strip().splitlines() or [f"exit code {done.returncode}"]
        return Response(Status.DECODE_ERROR, f"ffmpeg cannot cut the video: {lines[-1]}")
    return Response(Status.OK)
