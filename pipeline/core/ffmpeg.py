"""Location of the ffmpeg executable."""

import functools
import shutil
import subprocess
from collections.abc import Iterator

from pipeline.core.errors import PipelineError

# Encoders of the clips and copies that are written; some builds (conda's, Fedora's) lack libx264.
NEEDED_ENCODERS = ("libx264", "aac")
# A broken program may hang.
TRIAL_SECONDS = 60.0


@functools.cache
def ffmpeg_path() -> str:
    """Return the ffmpeg executable: the one on the PATH, else the one of imageio-ffmpeg."""
    return next(_programs())


@functools.cache
def encoding_ffmpeg_path() -> str:
    """Return an ffmpeg executable that encodes H.264 and AAC; see ``ffmpeg_path`` for the order.

    Raises
    ------
    PipelineError
        None does.
    """
    tried = []
    for program in _programs():
        if not (problem := _encoding_problem(program)):
            return program
        tried.append(f"'{program}' says: {problem}")
    raise PipelineError(
        f"no ffmpeg program with the encoders {' and '.join(NEEDED_ENCODERS)} was found"
        f" ({'; '.join(tried)}); install one that has them, and put its folder first on the PATH."
    )


def _programs() -> Iterator[str]:
    on_path = shutil.which("ffmpeg")
    if on_path:
        yield on_path
    import imageio_ffmpeg

    try:
        yield str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # it carries none for this machine
        if not on_path:
            raise PipelineError(
                "no ffmpeg program was found; install ffmpeg, and put its folder on the PATH."
            ) from None


def _encoding_problem(program: str) -> str:
    """Return why a program cannot encode a frame and some silence; empty if it can.

    A trial, because a program may list an encoder whose library does not load.
    """
    words = [program, "-nostdin", "-v", "error"]
    words += ["-f", "lavfi", "-i", "color=size=64x64:rate=1:duration=1"]
    words += ["-f", "lavfi", "-i", "anullsrc=duration=0.1"]
    pictures, sound = NEEDED_ENCODERS
    words += ["-c:v", pictures, "-pix_fmt", "yuv420p", "-c:a", sound, "-f", "null", "-"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=TRIAL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return (said[0] if said else f"exit code {done.returncode}") if done.returncode else ""
