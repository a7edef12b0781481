"""Broken mp4 files: whole ones with bits flipped, ends cut off, atoms moved and sizes made up."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from clips import write_clip

Random = np.random.Generator
# Atoms that hold other atoms.
PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex"}


def write_seeds(folder: Path, seconds: float = 2.0) -> list[bytes]:
    """Write whole mp4 files of several codecs and layouts, and return their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "h264": {"video_options": {"preset": "veryfast", "bf": "2", "g": "20"}},
        "hevc": {
            "video_codec": "libx265",
            "video_options": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
        },
        "mpeg4": {"video_codec": "mpeg4", "audio_codec": "mp2", "video_options": {}, "clock": 30},
        "vp9": {
            "video_codec": "libvpx-vp9",
            "audio_codec": "libopus",
            "rate": 48_000,
            "video_options": {"deadline": "realtime", "cpu-used": "8"},
        },
        "late": {"audio_start": 0.7},
    }
    paths = [
        write_clip(folder / f"{name}.mp4", seconds=seconds, **options)
        for name, options in kinds.items()
    ]
    return [path.read_bytes() for path in paths]


def mutate(content: bytes, random: Random) -> bytes:
    """Return one to three random mutations of a file."""
    for _ in range(random.integers(1, 4)):
        kind = MUTATIONS[random.integers(len(MUTATIONS))]
        content = bytes(kind(bytearray(content), random))
    return content


def _flip_bits(content: bytearray, random: Random) -> bytearray:
    for _ in range(int(2 ** random.uniform(0, 10)) if content else 0):
        content[random.integers(len(content))] ^= 1 << random.integers(8)
    return content


def _flip_header_bits(content: bytearray, random: Random) -> bytearray:
    """Flip bits of an atom that is not the media data."""
    atoms = [atom for atom in atoms_of(content) if atom[2] != b"mdat" and atom[1] - atom[0] > 8]
    for _ in range(random.integers(1, 9) if atoms else 0):
        start, stop, _ = atoms[random.integers(len(atoms))]
        content[random.integers(start, stop)] ^= 1 << random.integers(8)
    return content


def _truncate(content: bytearray, random: Random) -> bytearray:
    return content[: random.integers(len(content) + 1)]


def _overwrite(content: bytearray, random: Random) -> bytearray:
    length = int(min(2 ** random.uniform(0, 14), len(content)))
    start = random.integers(len(content) - length + 1)
    content[start : start + length] = (
        random.bytes(length) if random.random() < 0.5 else bytes(length)
    )
    return content


def _splice(content: bytearray, random: Random) -> bytearray:
    """Put one atom in the place of another, or before it, or take it out."""
    atoms = list(atoms_of(content))
    if not atoms:
        return content
    source, target = (atoms[random.integers(len(atoms))] for _ in range(2))
    piece = content[source[0] : source[1]] if random.random() < 0.7 else bytearray()
    stop = target[1] if random.random() < 0.5 else target[0]
    content[target[0] : stop] = piece
    return content


def _resize(content: bytearray, random: Random) -> bytearray:
    """Let an atom lie about its size."""
    atoms = list(atoms_of(content))
    if atoms:
        start, stop, _ = atoms[random.integers(len(atoms))]
        sizes = (0, 1, 7, 8, stop - start - 1, stop - start + 1, 2**31, 2**32 - 1)
        content[start : start + 4] = int(sizes[random.integers(len(sizes))]).to_bytes(4, "big")
    return content


def _exaggerate(content: bytearray, random: Random) -> bytearray:
    """Write an extreme number into an atom: counts, durations, dimensions, offsets."""
    atoms = [atom for atom in atoms_of(content) if atom[2] not in PARENTS | {b"mdat"}]
    if atoms:
        start, stop, _ = atoms[random.integers(len(atoms))]
        if stop - start >= 16:
            place = start + 8 + 4 * random.integers((stop - start - 8) // 4)
            value = (0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)[random.integers(6)]
            content[place : place + 4] = value.to_bytes(4, "big")
    return content


MUTATIONS: tuple[Callable[[bytearray, Random], bytearray], ...] = (
    _flip_bits,
    _flip_header_bits,
    _truncate,
    _overwrite,
    _splice,
    _resize,
    _exaggerate,
)


def atoms_of(
    content: bytearray, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, int, bytes]]:
    """Yield start, stop and name of every atom, outer ones first, while sizes are sane."""
    stop = len(content) if stop is None else stop
    while start + 8 <= stop:
        size = int.from_bytes(content[start : start + 4], "big")
        name = bytes(content[start + 4 : start + 8])
        if size < 8 or start + size > stop:
            return
        yield start, start + size, name
        if name in PARENTS:
            yield from atoms_of(content, start + 8, start + size)
        start += size
