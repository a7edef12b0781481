"""Location of the ffmpeg executable."""

import functools
import shutil

import imageio_ffmpeg


@functools.cache
def ffmpeg_path() -> str:
    """Return the ffmpeg executable: the one on the PATH, else the one of imageio-ffmpeg."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())
