"""What the ffmpeg program decodes from a file, and how a decoded window differs from it."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from containers import Plan, write

from pipeline.core.errors import ItemError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.inference.videos import inspect
from pipeline.media import SAMPLE_RATE
from pipeline.media.options import Decoding
from pipeline.media.segments import SHORT_SECONDS, decode_video
from pipeline.media.transforms import valor
from pipeline.media.video_window import VideoWindow

T, SIZE = 4, 48
PROBE = ["-probesize", "100M", "-analyzeduration", "100M"]
# A frame whose time is nearer than this to a segment's middle may or may not be on the screen:
# clocks round, and streams begin within an audio block of each other.
NEAR_SECONDS = 0.03
# Two decodings of one frame, and of neighbouring frames of noise, in grey levels.
SAME_PICTURE = 4.0
SAME_SOUND = 0.25  # the difference's share of the sound, by amplitude; AC-3's decoder dithers
MAX_LAG = round(NEAR_SECONDS * SAMPLE_RATE)
SILENCE = 0.01
RUN_IN_SECONDS = 0.15
CHANNELS = {"mono": 1, "stereo": 2, "5.1": 6, "5.1(side)": 6}


@dataclass(frozen=True)
class Truth:
    """All pictures and the sound of a file on the shared clock, as the ffmpeg program has them."""

    pictures: NDArray[np.uint8] | None
    shown: NDArray[np.float64]
    ends: NDArray[np.float64]
    sound: NDArray[np.float32] | None
    sound_begin: float

    @property
    def picture_span(self) -> tuple[float, float]:
        if self.pictures is None:
            return 0.0, 0.0
        is_still = len(self.pictures) == 1  # which players show as long as the file lasts
        return self.shown[0], max(self.ends.max(), self.sound_span[1] if is_still else 0.0)

    @property
    def sound_span(self) -> tuple[float, float]:
        if self.sound is None:
            return 0.0, 0.0
        return self.sound_begin, len(self.sound) / SAMPLE_RATE

    @property
    def seconds(self) -> float:
        return max(self.picture_span[1], self.sound_span[1])


def truth_of(path: Path) -> Truth:
    """Decode a file with the ffmpeg program, which chooses the streams and turns the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = ["-an", "-fps_mode", "passthrough", "-enc_time_base", "1:90000"]
        video += ["-pix_fmt", "rgb24", "-c:v", "rawvideo"]
        outputs = {
            "v": [*video, "-f", "rawvideo", "v.raw", *video, "-f", "framecrc", "v.txt"],
            "a": [*_sound("f32le", "a.raw"), *_sound("framecrc", "a.txt")],
        }
        for words in (outputs["v"] + outputs["a"], outputs["v"], outputs["a"]):
            start = [ffmpeg_path(), "-nostdin", "-v", "error", "-y", *PROBE, "-i", path.absolute()]
            if not subprocess.run(
                [*start, *words], cwd=folder, stderr=subprocess.DEVNULL
            ).returncode:
                break
            for file in folder.iterdir():
                file.unlink()
        return _read(folder)


def _sound(form: str, name: str) -> list[str]:
    return ["-vn", "-c:a", "pcm_f32le", "-f", form, name]


def _read(folder: Path) -> Truth:
    pictures, sound = None, None
    shown = ends = np.zeros(0)
    blocks = np.zeros((0, 4))
    if (folder / "v.txt").exists():
        (_, rows), sizes = _rows(folder / "v.txt"), _header(folder / "v.txt", "dimensions")
        width, height = map(int, sizes.split("x"))
        raw = np.fromfile(folder / "v.raw", np.uint8).reshape(-1, height, width, 3)
        pictures = np.stack([valor(picture, SIZE) for picture in raw]) if len(raw) else None
        shown, ends = rows[:, 0], rows[:, 0] + rows[:, 1]
    rate = channels = 0
    if (folder / "a.txt").exists():
        rate = int(_header(folder / "a.txt", "sample_rate"))
        _, blocks = _rows(folder / "a.txt")
        sound = np.fromfile(folder / "a.raw", "<f4")
        channels = CHANNELS[_header(folder / "a.txt", "channel_layout_name")]
        sound = sound.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    shown, ends, blocks = _risen(shown, ends, blocks)
    firsts = [times.min() for times in (shown, blocks[:, 0]) if len(times)]
    # ffmpeg's zero is the first packet's time, of which a decoder may make nothing; or the first one
    # of a stream that is not used.
    first = min(firsts, default=0.0)
    zero = first if first > RUN_IN_SECONDS else 0.0
    if pictures is not None:
        shown, ends = shown - zero, ends - zero
        ends = np.maximum(ends, np.append(shown[1:], 0))
    begin = 0.0
    if sound is not None and len(blocks):
        begin = blocks[0, 0] - zero
        sound = soxr.resample(
            _laid_out(sound, blocks, rate, channels, zero), rate, SAMPLE_RATE, "HQ"
        )
    return Truth(pictures, shown, ends, sound if len(blocks) else None, begin)


def _risen(
    shown: NDArray[np.float64], ends: NDArray[np.float64], blocks: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Put a second part, at which both streams' times go back, behind the first."""
    parts = [np.flatnonzero(np.diff(times) < -1.0) + 1 for times in (shown, blocks[:, 0])]
    if not any(len(part) for part in parts):
        return shown, ends, blocks
    picture, block = (part[0] if len(part) else None for part in parts)
    lasts = [*ends[:picture], *(blocks[:block, 0] + blocks[:block, 1])]
    later = max(lasts) - min(
        [
            *shown[slice(picture, None if picture else 0)],
            *blocks[slice(block, None if block else 0), 0],
        ]
    )
    shown, ends, blocks = shown.copy(), ends.copy(), blocks.copy()
    if picture is not None:
        shown[picture:] += later
        ends[picture:] += later
    if block is not None:
        blocks[block:, 0] += later
    return shown, ends, blocks


def _header(path: Path, key: str) -> str:
    lines = path.read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"#{key}"))


def _rows(path: Path) -> tuple[float, NDArray[np.float64]]:
    """Return each packet's time and duration in seconds, and its bytes."""
    up, down = map(int, _header(path, "tb 0").split("/"))
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    fields = [[int(word) for word in line.split(",")[1:5]] for line in lines]
    rows = np.array([(pts * up / down, last * up / down, size) for _, pts, last, size in fields])
    return up / down, rows.reshape(-1, 3)


def _laid_out(
    samples: NDArray[np.float32], blocks: NDArray[np.float64], rate: int, channels: int, zero: float
) -> NDArray[np.float32]:
    """Put blocks where their times say, with silence between."""
    counts = np.round(blocks[:, 2] / 4 / channels).astype(int)
    begins = np.round((blocks[:, 0] - zero) * rate).astype(int)
    laid = np.zeros(max(int((begins + counts).max()), 1), dtype=np.float32)
    for begin, count, first in zip(begins, counts, np.cumsum(counts) - counts, strict=True):
        laid[begin : begin + count] = samples[first : first + count]
    return laid


def differences(path: Path, truth: Truth, start: float, decoder: str = "pyav") -> list[str]:
    """Return how a window's segments and status differ from what the ffmpeg program decodes."""
    decoding = Decoding(
        segments=T, frame_size=SIZE, frame_transform="valor", missing_video="pad", decoder=decoder
    )
    try:
        decoded = decode_video(VideoWindow("a", str(path), start, start + T), decoding)
    except ItemError as error:
        return _loss(truth, start, error.status, error.detail)
    found = _picture_differences(decoded.frames[:, 0], truth, start)
    found += _sound_differences(decoded.audio / np.float32(32767), truth, start)
    status = decoded.row.status
    if status == Status.OK:
        covered = [
            min(end, start + T) - max(begin, start)
            for begin, end in (truth.picture_span, truth.sound_span)
        ]
        if min(covered) < T - SHORT_SECONDS - 2 * NEAR_SECONDS:
            found.append(f"ok, though streams cover {covered} s")
        return found
    # What is padded is what is missing, and nothing else may differ.
    return [f"{status}: {line}" for line in found] + _loss(truth, start, status, decoded.row.detail)


def _loss(truth: Truth, start: float, status: Status, detail: str) -> list[str]:
    """Return a line if a status says that something is missing that is there."""
    spans = (truth.picture_span, truth.sound_span)
    covered = [min(end, start + T) - max(begin, start) for begin, end in spans]
    if min(covered) > T - SHORT_SECONDS + 2 * NEAR_SECONDS:
        return [f"lost: {status} ({detail})"]
    return []


def _picture_differences(frames: NDArray[np.uint8], truth: Truth, start: float) -> list[str]:
    if truth.pictures is None:
        return ["pictures from nowhere"] if frames.any() else []
    begin, end = truth.picture_span
    if start >= end or (start + T <= begin and not frames.any()):
        return []
    found = []
    for second, frame in enumerate(frames):
        middle = start + second + 0.5
        first, last = (
            max(int(np.searchsorted(truth.shown, middle + d, side="right")) - 1, 0)
            for d in (-NEAR_SECONDS, NEAR_SECONDS)
        )
        near = np.abs(truth.pictures[first : last + 1].astype(int) - frame).mean(axis=(1, 2, 3))
        if near.min() > SAME_PICTURE:
            every = np.abs(truth.pictures.astype(int) - frame).mean(axis=(1, 2, 3))
            best = int(every.argmin())
            other = (
                f"frame {best}" if every[best] < SAME_PICTURE else f"no frame ({every[best]:.0f})"
            )
            found.append(f"second {second}: not frame {first} of {len(every)} but {other}")
    return found


def _sound_differences(samples: NDArray[np.float32], truth: Truth, start: float) -> list[str]:
    whole = np.zeros(T * SAMPLE_RATE, np.float32) if truth.sound is None else truth.sound
    begin = round(start * SAMPLE_RATE)
    expected = np.zeros(T * SAMPLE_RATE + 2 * MAX_LAG, dtype=np.float32)
    inside = whole[max(begin - MAX_LAG, 0) : begin + T * SAMPLE_RATE + MAX_LAG]
    if truth.sound is not None:
        expected[max(MAX_LAG - begin, 0) :][: len(inside)] = inside
    cross = np.fft.irfft(
        np.fft.rfft(expected, 1 << 18) * np.fft.rfft(samples, 1 << 18).conj(), 1 << 18
    )[: 2 * MAX_LAG + 1]
    lag = int(cross.argmax())
    expected = expected[lag : lag + len(samples)]
    # Where a stream begins, a codec's run-in may sound.
    edge = round((truth.sound_begin - start - RUN_IN_SECONDS) * SAMPLE_RATE)
    for quiet in (expected, samples):
        quiet[max(edge, 0) : max(edge + round(2 * RUN_IN_SECONDS * SAMPLE_RATE), 0)] = 0
    found = []
    for second in range(T):
        part = slice(second * SAMPLE_RATE, (second + 1) * SAMPLE_RATE)
        power, error = expected[part].std(), (expected[part] - samples[part]).std()
        if error > SAME_SOUND * power + SILENCE:
            found.append(
                f"second {second}: sound {samples[part].std():.3f}, not {power:.3f}, error {error:.3f}"
            )
    return found


def compare(plan: Plan, folder: Path, number: int) -> list[str]:
    """Write a plan's file and return how its windows differ; the file stays if one does."""
    path = folder / f"{number}.{plan.container}"
    try:
        write(plan, path)
    except subprocess.CalledProcessError:
        path.unlink(missing_ok=True)
        return [f"not written"]
    truth = truth_of(path)
    found = []
    last = max(truth.seconds - T, 0)
    for start in sorted({0.0, float(int(last / 2)), float(int(last))}):
        pyav, decord = (differences(path, truth, start, name) for name in ("pyav", "decord"))
        found += [f"{start:g} s: {line}" for line in _first_lines(pyav)]
        found += [f"{start:g} s, decord: {line}" for line in _first_lines(decord) if decord != pyav]
    seconds = inspect(path).seconds
    if abs(seconds - truth.seconds) > 0.3:
        found.append(f"length {seconds:.2f}, not {truth.seconds:.2f}")
    if not found:
        path.unlink()
    return found


def _first_lines(lines: list[str]) -> list[str]:
    return [*lines[:2], f"and {len(lines) - 2} more"] if len(lines) > 3 else lines
