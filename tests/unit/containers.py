"""Media files of many containers and stream layouts, written by the ffmpeg program from one seed.

Pictures and sound are noise: no two frames and no two moments are alike. `truth.py` says what the
ffmpeg program decodes from such a file.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from pipeline.core.ffmpeg import ffmpeg_path

Random = np.random.Generator

# The encoders of pictures and sound that each container holds.
CONTAINERS = {
    "mp4": (("libx264", "libx265", "mpeg4"), ("aac", "libmp3lame")),
    "mov": (("libx264", "mpeg4"), ("pcm_s16le", "aac")),
    "mkv": (("libx264", "libvpx-vp9", "mpeg4"), ("flac", "libopus", "libvorbis", "aac")),
    "webm": (("libvpx",), ("libopus", "libvorbis")),
    "avi": (("mpeg4", "mjpeg", "libx264"), ("libmp3lame", "pcm_s16le")),
    "ts": (("libx264", "mpeg2video", "libx265"), ("aac", "mp2", "ac3")),
    "mpg": (("mpeg2video", "mpeg1video"), ("mp2", "ac3")),
    "flv": (("libx264", "flv"), ("aac", "libmp3lame")),
    "ogg": (("libtheora",), ("libvorbis", "libopus")),
    "wmv": (("wmv2", "msmpeg4"), ("wmav2",)),
}
ENCODERS = {
    "libx264": "-preset veryfast -crf 18 -pix_fmt yuv420p",
    "libx265": "-preset ultrafast -crf 18 -pix_fmt yuv420p -x265-params log-level=none:pools=1",
    "libvpx": "-deadline realtime -cpu-used 8 -b:v 1M",
    "libvpx-vp9": "-deadline realtime -cpu-used 8 -b:v 1M",
    "libtheora": "-q:v 8",
}
MPEG = {"mpeg1video", "mpeg2video"}
RATES = (5, 10, 12.5, 25, 30000 / 1001)
SIZES = ((64, 48), (48, 64), (96, 54), (80, 80))
SECONDS = (6, 13, 33)
WITH_B_FRAMES = {"libx264", "libx265", "mpeg4", *MPEG}


@dataclass
class Plan:
    """How a file is written: the sources, how they are stored, and what is done with the file."""

    container: str
    video: str
    audio: str
    fps: float
    size: tuple[int, int]
    seconds: float
    channels: int
    group: int
    b_frames: int
    seed: int
    twists: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)
    delays: dict[str, float] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)
    steps: list[Callable[[Path], None]] = field(default_factory=list)

    def __str__(self) -> str:
        words = {
            "twists": " + ".join(self.twists),
            "video": f"{self.video} {self.fps:.4g}/s g{self.group} b{self.b_frames} {self.size}",
            "audio": f"{self.audio} x{self.channels}",
            "seconds": self.seconds,
        }
        return f"{self.container} {json.dumps(words)}"

    def picture(self, seed: int, seconds: float | None = None, scale: int = 1) -> str:
        """Return a source of pictures for ffmpeg."""
        width, height = (side * scale for side in self.size)
        return (
            f"testsrc2=s={width}x{height}:r={self.fps}:d={seconds or self.seconds},"
            f"hue=h={seed * 77 % 360},noise=alls=30:allf=t:all_seed={seed}"
        )

    def sound(self, seed: int, seconds: float | None = None) -> str:
        """Return a source of sound for ffmpeg."""
        noise = f"anoisesrc=color=pink:a=0.7:r={self.rate}:seed={seed}:d={seconds or self.seconds}"
        return f"{noise},lowpass=f=1500"

    @property
    def rate(self) -> int:
        return 48_000 if self.audio == "libopus" else 44_100


def plan_of(seed: int, number: int) -> Plan:
    """Draw a file's plan: a container with its codecs, and one or two twists."""
    random = np.random.default_rng((seed, number))
    container = str(random.choice(list(CONTAINERS)))
    video, audio = (str(random.choice(codecs)) for codecs in CONTAINERS[container])
    fps = 25 if video in MPEG else float(random.choice(RATES))
    plan = Plan(
        container,
        video,
        audio,
        fps,
        size=SIZES[random.integers(len(SIZES))],
        seconds=float(random.choice(SECONDS if video in MPEG or fps <= 12.5 else SECONDS[:2])),
        channels=int(random.choice((1, 2))),
        group=int(random.choice((1, 12, 60, 1000))),
        b_frames=int(random.choice((0, 2))) if video in WITH_B_FRAMES else 0,
        seed=int(random.integers(1000)),
    )
    if plan.audio == "libmp3lame" and container == "flv":
        plan.channels = 2
    plan.pictures, plan.sounds = [plan.picture(plan.seed)], [plan.sound(plan.seed)]
    fitting = [name for name, (_, fits) in TWISTS.items() if container in fits]
    plan.twists = random.choice(fitting, size=random.choice((1, 2)), replace=False).tolist()
    if "join" in plan.twists and UNEQUAL & set(plan.twists):
        plan.twists = ["join"]
    for name in plan.twists:
        TWISTS[name][0](plan, random)
    return plan


def write(plan: Plan, path: Path) -> Path:
    """Write a plan's file."""
    words: list[str] = []
    for kind, sources in (("video", plan.pictures), ("audio", plan.sounds)):
        for source in sources:
            words += ["-itsoffset", str(plan.delays.get(kind, 0)), "-f", "lavfi", "-i", source]
    for index in range(len(plan.pictures) + len(plan.sounds)):
        words += ["-map", str(index)]
    words += [
        "-c:v",
        plan.video,
        "-g",
        str(plan.group),
        *ENCODERS.get(plan.video, "-q:v 2").split(),
    ]
    words += ["-bf", str(plan.b_frames)] if plan.video in WITH_B_FRAMES else []
    words += ["-c:a", plan.audio, "-ar", str(plan.rate), "-ac", str(plan.channels)]
    words += ["-strict", "-2", "-threads", "1", *plan.options]
    ffmpeg(*words, path)
    for step in plan.steps:
        step(path)
    return path


def ffmpeg(*words: str | Path) -> None:
    """Run the ffmpeg program."""
    subprocess.run(
        [ffmpeg_path(), "-nostdin", "-v", "error", "-y", *words], check=True, capture_output=True
    )


def again(path: Path, *, before: str = "", after: str = "") -> None:
    """Copy a file's streams with options before and after the input."""
    old = path.with_name(f"old{path.suffix}")
    path.rename(old)
    ffmpeg(*before.split(), "-i", old, "-map", "0", "-c", "copy", *after.split(), path)
    old.unlink()


# Twists


DISPOSITIONS = ("0", "0", "default", "comment", "visual_impaired", "hearing_impaired", "dub")


def _dispose(plan: Plan, random: Random, kind: str, count: int) -> None:
    for index in range(count):
        plan.options += [f"-disposition:{kind}:{index}", str(random.choice(DISPOSITIONS))]


def several_sounds(plan: Plan, random: Random) -> None:
    count = int(random.integers(2, 4))
    plan.sounds = [plan.sound(plan.seed + 10 * index) for index in range(count)]
    _dispose(plan, random, "a", count)
    if random.random() < 0.4 and plan.audio != "libmp3lame":
        plan.options += [f"-ac:a:{random.integers(count)}", "2" if plan.channels == 1 else "1"]


def several_pictures(plan: Plan, random: Random) -> None:
    scales = random.permutation([1, 1, 2])[:2]
    plan.pictures = [plan.picture(plan.seed + 10 * int(s), scale=int(s)) for s in scales]
    _dispose(plan, random, "v", len(scales))
    if random.random() < 0.3:
        plan.pictures[0] = plan.picture(plan.seed + 5, seconds=1 / plan.fps)


def cover_art(plan: Plan, random: Random) -> None:
    def add(path: Path) -> None:
        cover, old = path.with_name("cover.png"), path.with_name(f"old{path.suffix}")
        ffmpeg("-f", "lavfi", "-i", "color=red:s=320x240", "-frames:v", "1", cover)
        path.rename(old)
        pictures = (
            ["-map", "0:v", "-map", "1"] if random.random() < 0.5 else ["-map", "1", "-map", "0:v"]
        )
        first = pictures[1] == "1"
        place = "v:0" if first else f"v:{len(plan.pictures)}"
        ffmpeg("-i", old, "-i", cover, *pictures, "-map", "0:a", "-c", "copy",
               f"-disposition:{place}", "attached_pic", path)  # fmt: skip
        old.unlink()
        cover.unlink()

    plan.steps.append(add)


def late_stream(plan: Plan, random: Random) -> None:
    plan.delays[str(random.choice(["video", "audio"]))] = float(random.choice((0.7, 3, 8, 21)))


def early_end(plan: Plan, random: Random) -> None:
    seconds = plan.seconds * float(random.uniform(0.2, 0.8))
    if random.random() < 0.5:
        plan.pictures = [plan.picture(plan.seed, seconds)]
    else:
        plan.sounds = [plan.sound(plan.seed, seconds)]


def one_stream(plan: Plan, random: Random) -> None:
    if random.random() < 0.5:
        plan.pictures = []
    else:
        plan.sounds = []


def still_picture(plan: Plan, random: Random) -> None:
    plan.pictures = [plan.picture(plan.seed, seconds=1 / plan.fps)]


def later_clock(plan: Plan, random: Random) -> None:
    plan.options += ["-output_ts_offset", str(random.choice((0.4, 100, 4000)))]


def cut(plan: Plan, random: Random) -> None:
    begin = float(random.choice((0.37, 1.9, 2.3)))
    plan.steps.append(lambda path: again(path, before=f"-ss {begin}"))


def join(plan: Plan, random: Random) -> None:
    """Join two recordings; the ffmpeg program does not do so with Matroska."""
    other = Plan(**{**plan.__dict__, "steps": [], "options": list(plan.options)})
    seconds = float(random.choice((5, 9, 20)))
    other.pictures = [other.picture(plan.seed + 3, seconds)] if plan.pictures else []
    other.sounds = [other.sound(plan.seed + 3, seconds)] if plan.sounds else []

    def add(path: Path) -> None:
        second = write(other, path.with_name(f"second{path.suffix}"))
        path.write_bytes(path.read_bytes() + second.read_bytes())
        second.unlink()

    plan.steps.append(add)


def wrap(plan: Plan, random: Random) -> None:
    offset = 2**33 / 90_000 - float(random.uniform(0.2, 0.9)) * plan.seconds
    plan.steps.append(lambda path: again(path, after=f"-output_ts_offset {offset:.3f} -muxdelay 0"))


def fragmented(plan: Plan, random: Random) -> None:
    plan.options += ["-movflags", "frag_keyframe+empty_moov", "-frag_duration", "1000000"]


def streamed(plan: Plan, random: Random) -> None:
    """Write to a pipe: the header has no length and the file no index."""

    def rewrite(path: Path) -> None:
        old = path.with_name(f"old{path.suffix}")
        path.rename(old)
        name = {"mkv": "matroska", "ts": "mpegts"}.get(plan.container, plan.container)
        words = [ffmpeg_path(), "-nostdin", "-v", "error", "-i", str(old), "-map", "0"]
        with path.open("wb") as file:
            subprocess.run([*words, "-c", "copy", "-f", name, "pipe:1"], stdout=file, check=True)
        old.unlink()

    plan.steps.append(rewrite)


def no_index(plan: Plan, random: Random) -> None:
    def remove(path: Path) -> None:
        content = bytearray(path.read_bytes())
        place = content.rfind(b"idx1")
        content[place : place + 4] = b"JUNK"
        path.write_bytes(content)

    plan.steps.append(remove)


def apart(plan: Plan, random: Random) -> None:
    """Store each stream's packets in runs of some seconds, so that one is far behind the other."""
    run = float(random.choice((3, 8, 15, 1e6)))

    def reorder(path: Path) -> None:
        old = path.with_name(f"old{path.suffix}")
        path.rename(old)
        with (
            av.open(str(old)) as source,
            av.open(str(path), "w", options={"max_interleave_delta": "1"}) as target,
        ):
            used = [*source.streams.video, *source.streams.audio]
            streams = {s.index: target.add_stream_from_template(s) for s in used}
            packets = [p for p in source.demux(used) if p.dts is not None]
            packets.sort(key=lambda p: (float(p.dts * p.time_base) // run, p.stream_index))
            for packet in packets:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
        old.unlink()

    plan.steps.append(reorder)


def display_matrix(plan: Plan, random: Random) -> None:
    words = [f"-display_rotation {random.choice((0, 90, 180, 270))}"]
    words += [flag for flag in ("-display_hflip", "-display_vflip") if random.random() < 0.4]
    plan.steps.append(lambda path: again(path, before=" ".join(words)))


def uneven_frames(plan: Plan, random: Random) -> None:
    kept = random.choice(["gt(mod(n,7),2)", "not(between(t,2.2,5.1))", "lt(mod(t,3),1.2)"])
    plan.pictures = [f"{source},select='{kept}'" for source in plan.pictures]
    plan.options += ["-fps_mode", "vfr"]


def odd_size(plan: Plan, random: Random) -> None:
    plan.size = (int(random.choice((49, 65, 130))), int(random.choice((37, 51))))
    plan.pictures = [plan.picture(plan.seed)]
    if plan.video in {"libx264", "libx265"}:
        plan.options += ["-pix_fmt", "yuv444p"]


def few_key_frames(plan: Plan, random: Random) -> None:
    plan.group, plan.seconds, plan.fps = 100_000, 33.0, plan.fps if plan.video in MPEG else 5
    plan.pictures, plan.sounds = [plan.picture(plan.seed)], [plan.sound(plan.seed)]
    plan.options += ["-sc_threshold", "1000000000"] if plan.video in MPEG else []


def open_groups(plan: Plan, random: Random) -> None:
    plan.video, plan.b_frames, plan.group = "libx264", 2, 30
    kind = random.choice(["open-gop=1", "intra-refresh=1"])
    plan.options += ["-x264-params", f"{kind}:scenecut=0", "-pix_fmt", "yuv420p"]


def surround(plan: Plan, random: Random) -> None:
    plan.channels = 2 if plan.audio in {"libmp3lame", "mp2"} else 6


# Where a stream of the first part is shorter, the ffmpeg program plays the sound of one part beside
# the pictures of the other.
UNEQUAL = {"early_end", "late_stream", "still_picture"}
ISO = {"mp4", "mov"}
ALL = set(CONTAINERS)
TWISTS: dict[str, tuple[Callable[[Plan, Random], None], set[str]]] = {
    "several_sounds": (several_sounds, {"mp4", "mov", "mkv", "avi", "ts", "mpg", "wmv"}),
    "several_pictures": (several_pictures, {"mp4", "mov", "mkv", "avi", "ts"}),
    "cover_art": (cover_art, {"mp4", "mkv"}),
    "late_stream": (late_stream, ALL - {"avi"}),
    "early_end": (early_end, ALL),
    "one_stream": (one_stream, ALL),
    "still_picture": (still_picture, ISO | {"mkv"}),
    "later_clock": (later_clock, ALL - {"avi", "wmv"}),
    "cut": (cut, ISO | {"mkv", "ts"}),
    "join": (join, {"ts", "mpg", "ogg"}),
    "wrap": (wrap, {"ts", "mpg"}),
    "fragmented": (fragmented, ISO),
    "streamed": (streamed, {"mkv", "webm", "flv", "ts", "ogg"}),
    "no_index": (no_index, {"avi"}),
    "apart": (apart, ISO | {"mkv", "avi"}),
    "display_matrix": (display_matrix, ISO | {"mkv"}),
    "uneven_frames": (uneven_frames, ALL - {"avi", "mpg", "ogg"}),
    "odd_size": (odd_size, ALL - {"mpg", "ts"}),
    "few_key_frames": (few_key_frames, ALL),
    "open_groups": (open_groups, ISO | {"mkv", "ts"}),
    "surround": (surround, {"mp4", "mkv", "ts"}),
}
