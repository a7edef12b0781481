"""What decides the numbers of decoded segments; no decoder is needed to say it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint
from pipeline.media import SAMPLE_RATE

# Raise it whenever the numbers of a shard may change.
SEGMENTS_VERSION = 4

# What may be done with a video that lacks something, and the parameters that say so.
Policy = Literal["pad", "drop", "fail"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
POLICED = ("missing_audio", "missing_video", "short")


@dataclass(frozen=True)
class Decoding:
    """Everything that decides a segment shard's numbers and which videos it keeps.

    Attributes
    ----------
    segments
        T, segments of one second from the window's start.
    sampling
        ``center``: the frames on the screen in the middle of K equal parts of each segment;
        ``valor``: VALOR's T frames, stretched over the window (methods.md 6.1), K = 1.
    frames_per_segment
        K.
    frame_size
        Side of the square frames, in pixels.
    frame_transform
        ``clip`` (short side, bicubic, middle square) or ``valor`` (squash, bilinear).
    missing_audio, missing_video, short
        ``pad`` (silence, black frames, the last frame held), ``drop`` or ``fail`` (the shard is
        not written), for videos without a stream that can be decoded and for those that lack half
        a second of the window or more.
    untrimmed
        Whether files named by the id are full videos.
    decoder
        Which library is asked first for frames, ``pyav`` or ``decord``.
    audio_slicing
        ``exact``: second t of the window is segment t's sound; ``valor``: sound that ends before
        its window is stretched over the T segments (methods.md 6.2).
    """

    segments: int = 10
    sampling: str = "center"
    frames_per_segment: int = 1
    frame_size: int = 224
    frame_transform: str = "clip"
    missing_audio: Policy = "pad"
    missing_video: Policy = "drop"
    short: Policy = "pad"
    untrimmed: bool = False
    decoder: str = "pyav"
    audio_slicing: str = "exact"

    def __post_init__(self) -> None:
        if self.sampling == "valor" and self.frames_per_segment != 1:
            raise PipelineError(
                f"sampling 'valor' takes 1 frame a segment, not {self.frames_per_segment}; "
                "set frames_per_segment to 1 or sampling to 'center'."
            )
        for name in POLICED:
            if getattr(self, name) not in POLICIES:
                raise PipelineError(
                    f"{name} is '{getattr(self, name)}'; allowed are {', '.join(POLICIES)}."
                )
        for name in ("segments", "frames_per_segment", "frame_size"):
            if getattr(self, name) < 1:
                raise PipelineError(f"{name} is {getattr(self, name)}; allowed is 1 or more.")

    def meta(self) -> dict[str, str]:
        """Return the header of a shard made this way."""
        values = {key: str(value) for key, value in asdict(self).items()}
        return values | {
            "sample_rate": str(SAMPLE_RATE),
            "version": str(SEGMENTS_VERSION),
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """Return 10 hex digits that name these numbers."""
        return fingerprint([asdict(self), SAMPLE_RATE, SEGMENTS_VERSION])


def decoding_fingerprint(**parameters: Any) -> str:
    """Return the fingerprint of ``Decoding(**parameters)``; nothing is decoded or looked for."""
    return Decoding(**parameters).fingerprint()
