"""Tells from the headers of packets which of them are references: needed to decode other pictures.

H.264: ITU-T Rec. H.264, 7.3.1 and Table 7-1. HEVC: ITU-T Rec. H.265, 7.3.1.2 and Table 7-1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

IDR = 0x80
"""An IDR picture: no later picture refers to an earlier one."""
REFERENCED = 0x40
"""A reference picture: later pictures may refer to it."""
PARAMETERS = 0x20
"""Holds parameter sets, without which nothing that follows can be decoded."""
TEMPORAL_LAYER = 0x07
"""The temporal sub-layer of a picture; without `REFERENCED`, only higher layers may refer to it."""

H264_SLICES, H264_IDR, H264_PARAMETERS = range(1, 6), 5, (7, 8, 13, 15)
HEVC_SLICES, HEVC_NO_REFERENCE = range(32), range(0, 16, 2)
HEVC_IDR, HEVC_PARAMETERS = (19, 20), (32, 33, 34)

PARSED_CODECS = frozenset({"h264", "hevc"})
"""Codecs whose packets can be told apart."""


class PacketReferences:
    """The flags of the packets of a stream, added in the order they are stored."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self.flags = bytearray()
        self._parse = {"h264": h264_flags, "hevc": hevc_flags}.get(codec)
        self._length_size = length_size(codec, extradata or b"")

    def add(self, packet: Any) -> None:
        """Adds a packet of the video; one that cannot be parsed counts as a reference."""
        flags = REFERENCED
        if self._parse and self._length_size:
            flags = self._parse(unit_headers(memoryview(packet), self._length_size))
        if packet.has_sidedata("new_extradata"):  # the parameter sets of the next sample description
            flags |= PARAMETERS
        self.flags.append(flags)


def needed_packets(flags: Sequence[int], wanted: Sequence[bool]) -> list[bool]:
    """Which packets, in stored order, must be decoded to get the pictures of the wanted ones.

    >>> needed_packets([0x80, 0x40, 0, 0x40, 0x80, 0x40], [False, False, True, False, False, False])
    [True, True, True, False, False, False]
    """
    highest = max((flag & TEMPORAL_LAYER for flag in flags), default=0)
    needed = [False] * len(flags)
    decoding = False
    for i in range(len(flags) - 1, -1, -1):
        flag = flags[i]
        if wanted[i] or flag & PARAMETERS:
            needed[i] = decoding = True
        elif decoding:
            needed[i] = bool(flag & (IDR | REFERENCED)) or flag & TEMPORAL_LAYER < highest
        if flag & IDR:
            decoding = False
    return needed


def length_size(codec: str, extradata: bytes) -> int:
    """How many bytes before each NAL unit hold its length; 0 if units come without lengths.

    ISO/IEC 14496-15, 5.3.3.1 (avcC) and 8.3.3.1 (hvcC).
    """
    at = {"h264": 4, "hevc": 21}.get(codec, 0)
    if not at or len(extradata) <= at or extradata[0] != 1:
        return 0
    return (extradata[at] & 3) + 1


def unit_headers(packet: memoryview, length_bytes: int) -> Iterator[memoryview]:
    """The first two bytes of each NAL unit of a packet."""
    at = 0
    while at + length_bytes + 2 <= len(packet):
        length = int.from_bytes(packet[at : at + length_bytes], "big")
        at += length_bytes
        yield packet[at : at + 2]
        at += length


def h264_flags(headers: Iterator[memoryview]) -> int:
    """The flags of an H.264 packet."""
    flags, slices = 0, []
    for header in headers:
        unit_type = header[0] & 0x1F
        if unit_type in H264_SLICES:
            slices.append(unit_type)
            flags |= REFERENCED if header[0] & 0x60 else 0
        elif unit_type in H264_PARAMETERS:
            flags |= PARAMETERS
    return flags | _idr_flags(slices, (H264_IDR,))


def hevc_flags(headers: Iterator[memoryview]) -> int:
    """The flags of an HEVC packet."""
    flags, slices = 0, []
    for header in headers:
        unit_type, layer = header[0] >> 1 & 0x3F, (header[1] & 0x07) - 1
        if unit_type in HEVC_SLICES:
            slices.append(unit_type)
            flags |= max(layer, 0)
            flags |= 0 if unit_type in HEVC_NO_REFERENCE else REFERENCED
        elif unit_type in HEVC_PARAMETERS:
            flags |= PARAMETERS
    return flags | _idr_flags(slices, HEVC_IDR)


def _idr_flags(slices: Sequence[int], idr_types: Sequence[int]) -> int:
    """What the slices say together: it is an IDR picture if all are. A packet without slices is kept."""
    if not slices:
        return REFERENCED
    return IDR | REFERENCED if all(unit_type in idr_types for unit_type in slices) else 0
