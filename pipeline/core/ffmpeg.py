"""Location of the ffmpeg executable."""

import functools
import shutil


@functools.cache
def ffmpeg_path() -> str:
    """Return the ffmpeg executable: the one on the PATH, else the one of imageio-ffmpeg."""
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())
