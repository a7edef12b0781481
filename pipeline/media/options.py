"""How videos are decoded; importing this loads no decoder."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.core.files import fingerprint
from pipeline.core.options import RUNTIME, Count, Options, Seconds
from pipeline.media import SAMPLE_RATE

# Raise it whenever the numbers of a shard may change.
SEGMENTS_VERSION = 5

Policy = Literal["pad", "drop", "fail"]


class WindowOptions(Options):
    """Which part of a file is one video of the dataset."""

    segments: Count = Field(10, description="T, one-second segments per video")
    untrimmed: bool = Field(
        False,
        description="files named by the YouTube id alone are full videos, not trimmed clips",
    )


class FolderOptions(Options):
    """Which files of a folder are taken."""

    follow_links: bool = Field(
        False, description="also take links to files outside the folder of the videos"
    )


class DecodeOptions(Options):
    """How frames and audio are taken from a video."""

    sampling: Literal["center", "valor"] = Field(
        "center",
        description="center: the frames shown at the middle of K equal parts of each segment;"
        " valor: T of the 80 frames that VALOR's extraction takes, stretched over the window",
    )
    frames_per_segment: Count = Field(1, description="K, frames per segment; valor takes 1")
    frame_size: int = Field(
        224, ge=16, le=1024, description="side of the square frames in pixels: the encoder's input"
    )
    frame_transform: Literal["clip", "valor"] = Field(
        "clip",
        description="clip: resize the short side (bicubic), centre crop; valor: squash to a square"
        " (bilinear)",
    )
    audio_slicing: Literal["exact", "valor"] = Field(
        "exact",
        description="exact: second t of the window is segment t; valor: audio that ends early is"
        " stretched over all T segments",
    )
    missing_audio: Policy = Field(
        "pad", description="no usable audio stream: pad with silence, drop the video, or fail"
    )
    missing_video: Policy = Field(
        "drop", description="no usable video stream: pad with black, drop the video, or fail"
    )
    short: Policy = Field(
        "pad",
        description="half a second or more of the window is missing: pad (last frame, silence),"
        " drop the video, or fail",
    )
    decoder: Literal["pyav", "decord"] = Field(
        "pyav", description="preferred frame decoder; PyAV is the fallback of decord"
    )
    timeout_seconds: Seconds = Field(
        60.0,
        description="time limit for decoding one video; longer ones are left out",
        json_schema_extra=RUNTIME,
    )

    @model_validator(mode="after")
    def _check_sampling(self) -> Self:
        if self.sampling == "valor" and self.frames_per_segment != 1:
            raise ValueError(
                "frames_per_segment must be 1 with sampling 'valor';"
                f" it is {self.frames_per_segment}"
            )
        return self


class Decoding(DecodeOptions, WindowOptions):
    """Everything that decides a segment shard's numbers and which videos it keeps."""

    def meta(self) -> dict[str, str]:
        """Return the header of a shard decoded this way."""
        values = {key: str(value) for key, value in self.deciding().items()}
        return values | {
            "sample_rate": str(SAMPLE_RATE),
            "version": str(SEGMENTS_VERSION),
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """Return 10 hex digits that name these numbers."""
        return fingerprint([self.deciding(), SAMPLE_RATE, SEGMENTS_VERSION])
