"""The elements that video files are made of: how a recording begins, and where the next element is."""

from __future__ import annotations

from collections.abc import Callable

FLV_HEADER = b"FLV\x01"
FLV_HEADER_BYTES = 13
EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
SEGMENT_PARTS = {
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
    *(0xEC, 0xBF),
}
CLUSTER_PARTS = {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF}
"""The elements of a segment other than clusters, and those of a cluster (RFC 9559, 5.1)."""
MP4_BEGINS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"}
MXF_KEY = bytes.fromhex("060e2b34020501010d0102010102")
"""The key of a header partition."""
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ELEMENT_HEAD_BYTES = 27 + 255
"""The longest header of an element: that of an Ogg page."""

Step = Callable[[bytes], int | None]
"""Says of an element by its first bytes where the next begins: how many bytes later.

0: it begins another recording. None: it is none, or reaches to the end of the file.
"""


def _mp4_step() -> Step:
    """Boxes (ISO/IEC 14496-12, 4.2)."""
    kinds = set[bytes]()

    def step(head: bytes) -> int | None:
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if kind == b"ftyp" and kinds & {b"moov", b"mdat"}:
            return 0
        kinds.add(kind)
        return length if kind.isalnum() and length >= 8 else None

    return step


def _matroska_step() -> Step:
    """Elements (RFC 8794, 4 to 6); what has no known length, as in live streams, is read from inside."""
    begun = inside_cluster = False

    def step(head: bytes) -> int | None:
        nonlocal begun, inside_cluster
        element, length, header_bytes = _ebml_header(head)
        if element == EBML and begun:
            return 0
        begun = True
        if element == SEGMENT or (element == CLUSTER and length is None):
            inside_cluster = element == CLUSTER
            return header_bytes
        known = element in (EBML, CLUSTER) or element in SEGMENT_PARTS
        if length is None or not (known or (inside_cluster and element in CLUSTER_PARTS)):
            return None
        return header_bytes + length

    return step


def _ebml_header(head: bytes) -> tuple[int, int | None, int]:
    """An element's id, the length of its content (None if not said), and that of this header."""
    id_bytes = 9 - head[0].bit_length()
    if id_bytes > 4 or len(head) <= id_bytes:
        return 0, None, 1
    length_bytes = 9 - head[id_bytes].bit_length()
    raw = head[id_bytes : id_bytes + length_bytes]
    if length_bytes > 8 or len(raw) < length_bytes:
        return 0, None, 1
    ones = (1 << 7 * length_bytes) - 1
    length = int.from_bytes(raw, "big") & ones
    return int.from_bytes(head[:id_bytes], "big"), None if length == ones else length, id_bytes + length_bytes


def _asf_step() -> Step:
    """Objects (Advanced Systems Format, 2.1)."""
    begun = False

    def step(head: bytes) -> int | None:
        nonlocal begun
        if head.startswith(ASF_HEADER) and begun:
            return 0
        begun = True
        length = int.from_bytes(head[16:24], "little")
        return length if length >= 24 else None

    return step


def _ogg_step() -> Step:
    """Pages (RFC 3533, 6): another chain begins with one that begins a stream, behind those that don't."""
    begun = False

    def step(head: bytes) -> int | None:
        nonlocal begun
        if not head.startswith(b"OggS") or len(head) < 27:
            return None
        begins_stream = bool(head[5] & 2)
        if begins_stream and begun:
            return 0
        begun = begun or not begins_stream
        return 27 + head[26] + sum(head[27 : 27 + head[26]])

    return step


def _mxf_step() -> Step:
    """Triplets of key, length and value (SMPTE ST 377-1, 6.3): a header partition begins a file."""
    begun = False

    def step(head: bytes) -> int | None:
        nonlocal begun
        if not head.startswith(MXF_KEY[:4]) or len(head) < 25:
            return None
        if _is_mxf(head) and begun:
            return 0
        begun = True
        length_bytes = head[16] - 0x80 if head[16] > 0x80 else 0
        length = int.from_bytes(head[17 : 17 + length_bytes], "big") if length_bytes else head[16]
        return 17 + length_bytes + length

    return step


def _is_mp4(head: bytes) -> bool:
    length = int.from_bytes(head[:4], "big")
    return head[4:8] == b"ftyp" and 16 <= length <= 256 and length % 4 == 0 and head[8:10].isalnum()


def _is_matroska(head: bytes) -> bool:
    return head[:4] == EBML.to_bytes(4, "big") and (b"webm" in head or b"matroska" in head)


def _is_asf(head: bytes) -> bool:
    return head.startswith(ASF_HEADER)


def _is_ogg(head: bytes) -> bool:
    return head.startswith(b"OggS\0\x02")


def _is_mxf(head: bytes) -> bool:
    return head.startswith(MXF_KEY)


def _is_avi(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head[8:12] == b"AVI "


def is_flv(head: bytes) -> bool:
    return head.startswith(FLV_HEADER) and head[4] in (1, 4, 5) and head[5:9] == b"\0\0\0\x09"


SIGNS: tuple[tuple[bytes, Callable[[bytes], bool], int], ...] = (
    (b"ftyp", _is_mp4, 4),
    (EBML.to_bytes(4, "big"), _is_matroska, 0),
    (ASF_HEADER, _is_asf, 0),
    (b"OggS", _is_ogg, 0),
    (MXF_KEY, _is_mxf, 0),
    (b"RIFF", _is_avi, 0),
    (FLV_HEADER, is_flv, 0),
)
"""A mark, whether a recording begins with such bytes, and how many bytes before the mark."""
STEPS: tuple[tuple[Callable[[bytes], bool], Callable[[], Step]], ...] = (
    (lambda head: head[4:8] in MP4_BEGINS, _mp4_step),
    (lambda head: head.startswith(EBML.to_bytes(4, "big")), _matroska_step),
    (_is_asf, _asf_step),
    (_is_ogg, _ogg_step),
    (_is_mxf, _mxf_step),
)
"""What a file begins with, and how its elements are gone through."""
