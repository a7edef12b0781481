"""Detection of packets at which a decoder can start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# NAL unit types of H.264 (ITU-T H.264, table 7-1): after an IDR picture nothing refers to earlier
# ones; supplemental enhancement information (SEI) describes the picture that follows in the packet.
IDR, INFORMATION = 5, 6
START_CODE = b"\0\0\1"
# An SEI recovery point (annex D.1.8) gives the number of frames until the output is correct, where
# a first bit of 1 means none, followed by a bit that is 1 if the output is then exact.
RECOVERY_POINT, AT_ONCE_AND_EXACT = 6, 0b1100_0000


def is_entry(stream: VideoStream, packet: Packet[Stream]) -> bool:
    """Return whether decoding from ``packet`` gives the same frames from there on.

    In H.264 the key frame flag is not enough: with open groups of pictures or intra refresh, later
    frames may refer to frames before it. Unknown codecs have no entries and are decoded from the
    first packet that was read.
    """
    check = _CHECKS.get(stream.codec_context.codec.canonical_name)
    return packet.is_keyframe and check is not None and check(stream, packet)


def is_turning_point(stream: VideoStream, packet: Packet[Stream]) -> bool:
    """Return whether decoding from ``packet`` gives every frame shown from its time on.

    This is weaker than `is_entry`: later packets may hold frames that are shown earlier and refer
    to frames before it, as in open groups of pictures. It holds for all entries, for H.264 pictures
    that are their own recovery point, and for key frames of other codecs.
    """
    if stream.codec_context.codec.canonical_name == "h264":
        return packet.is_keyframe and (_has_idr(stream, packet) or _recovers(stream, packet))
    return packet.is_keyframe


def _has_idr(stream: VideoStream, packet: Packet[Stream]) -> bool:
    return any(unit[0] & 31 == IDR for unit in _units(stream, packet))


def _recovers(stream: VideoStream, packet: Packet[Stream]) -> bool:
    return any(_recovers_at_once(unit) for unit in _units(stream, packet))


def _recovers_at_once(unit: bytes) -> bool:
    """Return whether a unit has a recovery point at which output is exact at once."""
    if unit[0] & 31 != INFORMATION:
        return False
    content = iter(unit[1:].replace(b"\0\0\3", b"\0\0"))  # remove emulation prevention bytes
    while True:
        kind, size = _number(content), _number(content)
        message = bytes(islice(content, size))
        if kind == RECOVERY_POINT or not message:
            return message[:1] >= bytes([AT_ONCE_AND_EXACT])


def _number(content: Iterator[int]) -> int:
    """Read an SEI number: the sum of its bytes, all 255 except the last."""
    total = 0
    for byte in content:
        total += byte
        if byte < 255:
            break
    return total


def _units(stream: VideoStream, packet: Packet[Stream]) -> Iterator[bytes]:
    """Yield the non-empty NAL units of an H.264 packet."""
    header = stream.codec_context.extradata or b""
    content = bytes(packet)
    is_length_prefixed = header[:1] == b"\1"  # in MP4 and Matroska; others use start codes
    if not is_length_prefixed:
        yield from filter(None, content.split(START_CODE)[1:])
        return
    width = (header[4] & 3) + 1
    position = 0
    while position + width < len(content):
        stop = position + width + int.from_bytes(content[position : position + width], "big")
        if unit := content[position + width : stop]:
            yield unit
        position = stop


def _is_marked(stream: VideoStream, packet: Packet[Stream]) -> bool:
    return True  # in these codecs, no later frame refers to one before a key frame


_CHECKS: dict[str, Callable[..., bool]] = {
    "h264": _has_idr,
    "vp8": _is_marked,
    "vp9": _is_marked,
    "av1": _is_marked,
}
