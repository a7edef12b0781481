"""Packets with which a decoder can begin, so that nothing before them need be decoded."""

from __future__ import annotations

from collections.abc import Callable

from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# H.264 (ITU-T H.264, table 7-1): a picture after which nothing refers to what came before it.
IDR = 5
START_CODE = b"\0\0\1"


def is_entry(stream: VideoStream, packet: Packet[Stream]) -> bool:
    """Return whether decoding may begin at ``packet`` and give the same frames from there on.

    A container's key frames are not enough in H.264: with open groups and intra refresh they are
    marked where frames after them still refer to frames before. Codecs that are not known here
    have no entries, and are decoded from the start of what was read.
    """
    check = _CHECKS.get(stream.codec_context.codec.canonical_name)
    return packet.is_keyframe and check is not None and check(stream, packet)


def _has_idr(stream: VideoStream, packet: Packet[Stream]) -> bool:
    header = stream.codec_context.extradata or b""
    content = bytes(packet)
    is_length_prefixed = header[:1] == b"\1"  # mp4's and Matroska's form; the others' start codes
    if not is_length_prefixed:
        return any(unit[:1] and unit[0] & 31 == IDR for unit in content.split(START_CODE)[1:])
    width = (header[4] & 3) + 1
    place = 0
    while place + width < len(content):
        if content[place + width] & 31 == IDR:
            return True
        place += width + int.from_bytes(content[place : place + width], "big")
    return False


def _is_marked(stream: VideoStream, packet: Packet[Stream]) -> bool:
    return True  # key frames of these codecs refer to nothing, and nothing skips over them


_CHECKS: dict[str, Callable[..., bool]] = {
    "h264": _has_idr,
    "vp8": _is_marked,
    "vp9": _is_marked,
    "av1": _is_marked,
}
