"""Packets with which a decoder can begin, so that nothing before them need be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# Kinds of H.264's units (ITU-T H.264, table 7-1): an IDR picture is one after which nothing refers
# to what came before it; supplemental information tells of a picture that follows in the packet.
IDR, INFORMATION = 5, 6
START_CODE = b"\0\0\1"
# Supplemental information of this kind (annex D.1.8) says how many frames after it are not right
# yet, as a number whose code is the bit 1 for none, and then a bit that is 1 where right is exact.
RECOVERY_POINT, AT_ONCE_AND_EXACT = 6, 0b1100_0000


def is_entry(stream: VideoStream, packet: Packet[Stream]) -> bool:
    """Return whether decoding may begin at ``packet`` and give the same frames from there on.

    A container's key frames are not enough in H.264: with open groups and intra refresh they are
    marked where frames after them still refer to frames before. Codecs that are not known here
    have no entries, and are decoded from the start of what was read.
    """
    check = _CHECKS.get(stream.codec_context.codec.canonical_name)
    return packet.is_keyframe and check is not None and check(stream, packet)


def is_turning_point(stream: VideoStream, packet: Packet[Stream]) -> bool:
    """Return whether decoding from ``packet`` on gives all that is shown from it on.

    That is less than an entry: packets after it may be of frames that are shown before it and
    refer to what came before it too, as in open groups. It is every entry, H.264's pictures whose
    recovery point is themselves, and the key frames of codecs that are not known here.
    """
    if stream.codec_context.codec.canonical_name == "h264":
        return packet.is_keyframe and (_has_idr(stream, packet) or _recovers(stream, packet))
    return packet.is_keyframe


def _has_idr(stream: VideoStream, packet: Packet[Stream]) -> bool:
    return any(unit[0] & 31 == IDR for unit in _units(stream, packet))


def _recovers(stream: VideoStream, packet: Packet[Stream]) -> bool:
    return any(_recovers_at_once(unit) for unit in _units(stream, packet))


def _recovers_at_once(unit: bytes) -> bool:
    """Return whether a unit has a recovery point from which on every picture is exact."""
    if unit[0] & 31 != INFORMATION:
        return False
    content = iter(unit[1:].replace(b"\0\0\3", b"\0\0"))  # a 3 keeps start codes out of content
    while True:
        kind, size = _number(content), _number(content)
        message = bytes(islice(content, size))
        if kind == RECOVERY_POINT or not message:
            return message[:1] >= bytes([AT_ONCE_AND_EXACT])


def _number(content: Iterator[int]) -> int:
    """Read a number that is written as its sum of bytes, of which only the last is below 255."""
    total = 0
    for byte in content:
        total += byte
        if byte < 255:
            break
    return total


def _units(stream: VideoStream, packet: Packet[Stream]) -> Iterator[bytes]:
    """Yield the units of an H.264 packet, none of which is empty."""
    header = stream.codec_context.extradata or b""
    content = bytes(packet)
    is_length_prefixed = header[:1] == b"\1"  # mp4's and Matroska's form; the others' start codes
    if not is_length_prefixed:
        yield from filter(None, content.split(START_CODE)[1:])
        return
    width = (header[4] & 3) + 1
    place = 0
    while place + width < len(content):
        stop = place + width + int.from_bytes(content[place : place + width], "big")
        if unit := content[place + width : stop]:
            yield unit
        place = stop


def _is_marked(stream: VideoStream, packet: Packet[Stream]) -> bool:
    return True  # key frames of these codecs refer to nothing, and nothing skips over them


_CHECKS: dict[str, Callable[..., bool]] = {
    "h264": _has_idr,
    "vp8": _is_marked,
    "vp9": _is_marked,
    "av1": _is_marked,
}
