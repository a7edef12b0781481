"""How missing videos are downloaded."""

from typing import Literal

from pydantic import Field

from pipeline.core.options import Count, Options, PathText, Seconds, Seed
from pipeline.core.validation import pattern

YOUTUBE_HOME = "https://www.youtube.com/"
ADDRESS = pattern(r"^https?://.*\{id\}", "be an http or https address with {id} in it")
YOUTUBE = YOUTUBE_HOME + "watch?v={id}"

Retry = Literal["transient", "all", "none"]


class DownloadOptions(Options):
    """Where videos are requested, in what form, and how fast."""

    url: str = Field(
        YOUTUBE,
        pattern=ADDRESS,
        description="address of a video; {id} stands for its YouTube id",
    )
    height: Count = Field(
        360, description="height of the frames in pixels: the largest up to it, else the next"
    )
    cut: Literal["stream", "file"] = Field(
        "stream",
        description="stream: ffmpeg cuts the window out of the stream, so that little more is sent;"
        " file: the whole video is downloaded and cut here, which also works where the other"
        " fails, as reported of ffmpeg 8.1",
    )
    cookies: PathText | None = Field(
        None, description="cookie file in Netscape's format, read once and never written"
    )
    sleep_seconds: float = Field(
        5.0, ge=0, allow_inf_nan=False, description="mean pause between two videos"
    )
    attempts: Count = Field(3, description="requests per video while an error may be temporary")
    backoff_seconds: float = Field(
        10.0,
        ge=0,
        allow_inf_nan=False,
        description="wait before the second attempt; then it doubles",
    )
    stop_after: Count = Field(1, description="signs of blocking after which the run stops")
    timeout_seconds: Seconds = Field(30.0, description="longest silence of a connection")
    retry: Retry = Field("transient", description="which earlier failures are requested again")
    seed: Seed = Field(0, description="seed of the random pauses (0.5 to 1.5 times their mean)")
