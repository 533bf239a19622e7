"""Which packets of a video the pictures of others are made of, as the packets themselves say.

H.264: ITU-T Rec. H.264, 7.3.1 and Table 7-1. HEVC: ITU-T Rec. H.265, 7.3.1.2 and Table 7-1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

IDR = 0x80
"""Nothing from here on is made of what came before (IDR)."""
REFERENCED = 0x40
"""Pictures that follow may be made of this one."""
PARAMETERS = 0x20
"""Holds parameter sets, which must not be missed."""
TEMPORAL_LAYER = 0x07
"""Of a picture that is not `REFERENCED` within its own temporal layer: which layer that is. Only pictures
of higher layers may be made of it."""

H264_SLICES, H264_IDR, H264_PARAMETERS = range(1, 6), 5, (7, 8, 13, 15)
HEVC_PICTURES, HEVC_NO_REFERENCE, HEVC_IDR, HEVC_PARAMETERS = (
    range(32),
    range(0, 16, 2),
    (19, 20),
    (32, 33, 34),
)

PARSED_CODECS = frozenset({"h264", "hevc"})
"""Codecs whose packets say it."""


class PacketReferences:
    """The kinds of the packets of a stream, added in the order they are stored."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self.kinds = bytearray()
        self._kind = {"h264": h264_kind, "hevc": hevc_kind}.get(codec)
        self._length_size = length_size(codec, extradata or b"")

    def add(self, packet: Any) -> None:
        """Takes a packet of the video; of what is not understood, anything may be made."""
        kind = REFERENCED
        if self._kind and self._length_size:
            kind = self._kind(headers(memoryview(packet), self._length_size))
        self.kinds.append(kind)


def needed_packets(kinds: Sequence[int], wanted: Sequence[bool]) -> list[bool]:
    """Which packets must be decoded, in their order, for the pictures of the wanted ones to come out.

    >>> needed_packets([0x80, 0x40, 0, 0x40, 0x80, 0x40], [False, False, True, False, False, False])
    [True, True, True, False, False, False]
    """
    highest = max((kind & TEMPORAL_LAYER for kind in kinds), default=0)
    needed = [False] * len(kinds)
    decoding = False
    for i in range(len(kinds) - 1, -1, -1):
        kind = kinds[i]
        if wanted[i] or kind & PARAMETERS:
            needed[i] = decoding = True
        elif decoding:
            needed[i] = bool(kind & (IDR | REFERENCED)) or kind & TEMPORAL_LAYER < highest
        if kind & IDR:
            decoding = False
    return needed


def length_size(codec: str, extradata: bytes) -> int:
    """How many bytes tell the length of a unit; 0 where units do not come with their lengths.

    ISO/IEC 14496-15, 5.3.3.1 (avcC) and 8.3.3.1 (hvcC).
    """
    at = {"h264": 4, "hevc": 21}.get(codec, 0)
    if not at or len(extradata) <= at or extradata[0] != 1:
        return 0
    return (extradata[at] & 3) + 1


def headers(packet: memoryview, length_bytes: int) -> Iterator[memoryview]:
    """The two header bytes of each unit of a packet."""
    at = 0
    while at + length_bytes + 2 <= len(packet):
        length = int.from_bytes(packet[at : at + length_bytes], "big")
        at += length_bytes
        yield packet[at : at + 2]
        at += length


def h264_kind(units: Iterator[memoryview]) -> int:
    """The kind of a packet of H.264."""
    kind, slices = 0, []
    for header in units:
        unit = header[0] & 0x1F
        if unit in H264_SLICES:
            slices.append(unit)
            kind |= REFERENCED if header[0] & 0x60 else 0
        elif unit in H264_PARAMETERS:
            kind |= PARAMETERS
    return kind | _start(slices, (H264_IDR,))


def hevc_kind(units: Iterator[memoryview]) -> int:
    """The kind of a packet of HEVC."""
    kind, pictures = 0, []
    for header in units:
        unit, layer = header[0] >> 1 & 0x3F, (header[1] & 0x07) - 1
        if unit in HEVC_PICTURES:
            pictures.append(unit)
            kind |= max(layer, 0)
            kind |= 0 if unit in HEVC_NO_REFERENCE else REFERENCED
        elif unit in HEVC_PARAMETERS:
            kind |= PARAMETERS
    return kind | _start(pictures, HEVC_IDR)


def _start(pictures: Sequence[int], starts: Sequence[int]) -> int:
    """What the parts of a picture say together; a packet without any is taken for one that matters."""
    if not pictures:
        return REFERENCED
    return IDR | REFERENCED if all(part in starts for part in pictures) else 0
