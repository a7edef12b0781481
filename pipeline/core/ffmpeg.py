"""ffmpeg's program."""

import functools
import shutil

import imageio_ffmpeg


@functools.cache
def ffmpeg_path() -> str:
    """Return ffmpeg's program: the one on the PATH, else the one that imageio-ffmpeg carries."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())
