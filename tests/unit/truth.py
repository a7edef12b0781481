"""What the ffmpeg program decodes from a file, and how a decoded window differs from it."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from containers import Plan, write
from numpy.typing import NDArray

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
MAX_LAG = round(0.05 * SAMPLE_RATE)  # where recordings are joined, a block of either may be lost
SILENCE = 0.01
RUN_IN_SECONDS = 0.15
DELAY_SECONDS = 0.45  # of two reordered frames at 5 per second in AVI
CHANNELS = {"mono": 1, "stereo": 2, "5.1": 6, "5.1(side)": 6}


@dataclass(frozen=True)
class Truth:
    """All pictures and the sound of a file on the shared clock, as the ffmpeg program has them."""

    pictures: NDArray[np.uint8]
    shown: NDArray[np.float64]
    sound: NDArray[np.float32]
    heard: NDArray[np.float64]

    @property
    def picture_span(self) -> tuple[float, float]:
        """When pictures begin and end, in seconds; a single one is shown until the file ends."""
        if not len(self.pictures):
            return 0.0, 0.0
        is_still = len(self.pictures) == 1
        return self.shown[0, 0], max(self.shown[:, 1].max(), self.sound_span[1] * is_still)

    @property
    def sound_span(self) -> tuple[float, float]:
        return (self.heard[0, 0], self.heard[-1, 1]) if len(self.heard) else (0.0, 0.0)

    def missing(self, start: float) -> float:
        """Return how much a window lacks of the stream that covers less of it, in seconds."""
        covered = []
        for spans in (np.array([self.picture_span]), self.heard):
            inside = spans[(spans[:, 1] > start) & (spans[:, 0] < start + T)].clip(start, start + T)
            covered.append(inside.max(initial=start) - inside.min(initial=start + T))
        return T - max(min(covered), 0.0)

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
    pictures, shown = _pictures(folder)
    samples, rate, heard = _samples(folder)
    _join(shown, heard)
    # The first packet's time is 0 already, and a decoder may make nothing of that packet. If more
    # is missing, it was of a stream that is not used.
    first = min([*shown[:1, 0], *heard[:1, 0], np.inf])
    if first > DELAY_SECONDS:
        shown -= first
        heard -= first
    sound = soxr.resample(_laid_out(samples, heard, rate), rate, SAMPLE_RATE, "HQ")
    return Truth(pictures, shown, sound, heard)


def _pictures(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return all pictures ``[N, S, S, 3]``, and when each begins and ends in seconds ``[N, 2]``."""
    if not (table := folder / "v.txt").exists():
        return np.zeros((0, SIZE, SIZE, 3), np.uint8), np.zeros((0, 2))
    width, height = map(int, _header(table, "dimensions").split("x"))
    raw = np.fromfile(folder / "v.raw", np.uint8).reshape(-1, height, width, 3)
    shown = _spans(table)
    shown[:-1, 1] = np.maximum(shown[:-1, 1], shown[1:, 0])
    return np.stack([valor(picture, SIZE) for picture in raw]), shown


def _samples(folder: Path) -> tuple[NDArray[np.float32], int, NDArray[np.float64]]:
    """Return all samples, mixed to mono, their rate, and when each block begins and ends."""
    if not (table := folder / "a.txt").exists():
        return np.zeros(0, np.float32), SAMPLE_RATE, np.zeros((0, 2))
    channels = CHANNELS[_header(table, "channel_layout_name")]
    samples = np.fromfile(folder / "a.raw", "<f4").reshape(-1, channels)
    mono = samples.mean(axis=1, dtype=np.float32)
    return mono, int(_header(table, "sample_rate")), _spans(table)


def _header(table: Path, key: str) -> str:
    lines = table.read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"#{key}"))


def _spans(table: Path) -> NDArray[np.float64]:
    """Return when each packet of ffmpeg's table begins and ends, in seconds."""
    up, down = map(int, _header(table, "tb 0").split("/"))
    lines = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    begins, durations = np.array([line.split(",")[2:4] for line in lines], dtype=np.float64).T
    return np.stack([begins, begins + durations], axis=1) * up / down


def _join(*streams: NDArray[np.float64]) -> None:
    """Put a second part of the file, where times begin again, behind the first; in place."""
    breaks = [np.flatnonzero(np.diff(times[:, 0]) < -1.0) + 1 for times in streams]
    places = [
        found[0] if len(found) else len(times) for found, times in zip(breaks, streams, strict=True)
    ]
    befores = [times[:place, 1] for times, place in zip(streams, places, strict=True)]
    afters = [times[place:] for times, place in zip(streams, places, strict=True)]
    if any(map(len, afters)):
        starts_again = min(times.min() for times in afters if len(times))
        for times in afters:
            times += max(ends.max() for ends in befores if len(ends)) - starts_again


def _laid_out(
    samples: NDArray[np.float32], heard: NDArray[np.float64], rate: int
) -> NDArray[np.float32]:
    """Put blocks where their times say, with silence in gaps; clocks of milliseconds round."""
    begins, ends = np.round(heard * rate).astype(int).T
    laid = np.zeros(ends.max(initial=0) + rate, dtype=np.float32)
    first = last = 0
    for begin, count in zip(begins, ends - begins, strict=True):
        begin = last if abs(begin - last) < NEAR_SECONDS * rate else begin
        last = begin + count
        laid[begin:last] = samples[first : first + count]
        first += count
    return laid[:last]


def differences(path: Path, truth: Truth, start: float, decoder: str = "pyav") -> list[str]:
    """Return how a window's segments and status differ from what the ffmpeg program decodes."""
    decoding = Decoding(
        segments=T, frame_size=SIZE, frame_transform="valor", missing_video="pad", decoder=decoder
    )
    try:
        decoded = decode_video(VideoWindow("a", str(path), start, start + T), decoding)
    except ItemError as error:
        return _loss(truth, start, error.status, error.detail)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    found = _picture_differences(decoded.frames[:, 0], truth, start)
    found += _sound_differences(decoded.audio / np.float32(32767), truth, start)
    status, missing = decoded.row.status, truth.missing(start)
    if status == Status.OK:
        late = missing > SHORT_SECONDS + 2 * NEAR_SECONDS
        return [*found, f"ok, though {missing:.1f} s are missing"] if late else found
    # What is padded is what is missing, and nothing else may differ.
    return [f"{status}: {line}" for line in found] + _loss(truth, start, status, decoded.row.detail)


def _loss(truth: Truth, start: float, status: Status, detail: str) -> list[str]:
    """Return a line if a status says that something is missing that is there."""
    is_whole = truth.missing(start) < SHORT_SECONDS - 2 * NEAR_SECONDS
    return [f"lost: {status} ({detail})"] if is_whole else []


def _picture_differences(frames: NDArray[np.uint8], truth: Truth, start: float) -> list[str]:
    begin, end = truth.picture_span
    if not frames.any() and (start >= end or start + T <= begin):
        return []
    if start >= end:
        return [] if len(truth.pictures) else ["pictures from nowhere"]
    found = []
    for second, frame in enumerate(frames):
        near = start + second + 0.5 + np.array([-NEAR_SECONDS, NEAR_SECONDS])
        first, last = np.maximum(np.searchsorted(truth.shown[:, 0], near, side="right") - 1, 0)
        if _distances(truth.pictures[first : last + 1], frame).min() > SAME_PICTURE:
            distances = _distances(truth.pictures, frame)
            best = int(distances.argmin())
            what = f"frame {best}" if distances[best] < SAME_PICTURE else "no frame of it"
            found.append(f"second {second}: {what}, not frame {first} of {len(distances)}")
    return found


def _distances(pictures: NDArray[np.uint8], frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.abs(pictures.astype(int) - frame).mean(axis=(1, 2, 3))


def _sound_differences(samples: NDArray[np.float32], truth: Truth, start: float) -> list[str]:
    begin = round(start * SAMPLE_RATE)
    margins = np.pad(truth.sound, (MAX_LAG, begin + T * SAMPLE_RATE + MAX_LAG))
    expected = margins[begin : begin + T * SAMPLE_RATE + 2 * MAX_LAG].copy()
    cross = np.fft.irfft(
        np.fft.rfft(expected, 1 << 18) * np.fft.rfft(samples, 1 << 18).conj(), 1 << 18
    )[: 2 * MAX_LAG + 1]
    lag = int(cross.argmax())
    expected = expected[lag : lag + len(samples)]
    # Where a stream begins, a codec's run-in may sound.
    edge = round((truth.sound_span[0] - start - RUN_IN_SECONDS) * SAMPLE_RATE)
    for quiet in (expected, samples):
        quiet[max(edge, 0) : max(edge + round(2 * RUN_IN_SECONDS * SAMPLE_RATE), 0)] = 0
    found = []
    for second in range(T):
        part = slice(second * SAMPLE_RATE, (second + 1) * SAMPLE_RATE)
        power, error = expected[part].std(), (expected[part] - samples[part]).std()
        if error > SAME_SOUND * power + SILENCE:
            heard = samples[part].std()
            found.append(f"second {second}: sound {heard:.3f}, not {power:.3f}, off by {error:.3f}")
    return found


def compare(plan: Plan, folder: Path, number: int) -> list[str]:
    """Write a plan's file and return how its windows differ; the file stays if one does."""
    path = folder / f"{number}.{plan.container}"
    try:
        write(plan, path)
    except subprocess.CalledProcessError:
        path.unlink(missing_ok=True)
        return ["not written"]
    truth = truth_of(path)
    found = []
    last = max(truth.seconds - T, 0)
    for start in sorted({0.0, float(int(last / 2)), float(int(last))}):
        lines = differences(path, truth, start)
        found += [f"{start:g} s: {line}" for line in _first_lines(lines)]
    if truth.pictures.any() and not found:  # decord decodes only windows at the start
        found = [
            f"decord: {line}" for line in _first_lines(differences(path, truth, 0.0, "decord"))
        ]
    seconds = inspect(path).seconds
    if abs(seconds - truth.seconds) > 0.3:
        found.append(f"length {seconds:.2f}, not {truth.seconds:.2f}")
    if not found:
        path.unlink()
    return found


def _first_lines(lines: list[str]) -> list[str]:
    return [*lines[:2], f"and {len(lines) - 2} more"] if len(lines) > 3 else lines
