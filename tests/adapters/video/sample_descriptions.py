"""An MP4 file with two sample descriptions, as `MP4Box -cat` and recorders write it; ffmpeg cannot."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av

PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
Change = Callable[[bytes], bytes]


def with_two_descriptions(path: Path, first: Path, second: Path, *, first_s: float) -> Path:
    """The packets of two MP4 files in one track, those of `second` from `first_s` on, each described apart.

    Neither has parameter sets in its packets: those of `second` are in its own sample description alone.
    """
    count = _write_packets(path, first, second, first_s=first_s)
    content, description = path.read_bytes(), _find(second.read_bytes(), b"stsd")
    sizes = struct.unpack(f">{len(_find(content, b'stsz')) // 4}I", _find(content, b"stsz"))[3:]
    (begin,) = struct.unpack(">I", _find(content, b"stco")[8:])
    places = [begin + sum(sizes[:k]) for k in range(len(sizes))]
    # ISO/IEC 14496-12, 8.5.2, 8.7.4 and 8.7.5: each sample is a chunk of its own.
    changes: dict[bytes, Change] = {
        b"stsd": lambda box: box[:4] + struct.pack(">I", 2) + box[8:] + description[8:],
        b"stsc": lambda _: struct.pack(">8I", 0, 2, 1, 1, 1, count + 1, 1, 2),
        b"stco": lambda _: struct.pack(f">{2 + len(places)}I", 0, len(places), *places),
    }
    path.write_bytes(_changed(content, changes))
    return path


def _write_packets(path: Path, first: Path, second: Path, *, first_s: float) -> int:
    counts = []
    with av.open(str(path), "w") as target, av.open(str(first)) as a, av.open(str(second)) as b:
        stream = target.add_stream_from_template(a.streams.video[0])
        for source, begins_s in ((a, 0.0), (b, first_s)):
            shift = round(begins_s / source.streams.video[0].time_base)
            packets = [packet for packet in source.demux(video=0) if packet.size]
            for packet in packets:
                packet.stream, packet.pts, packet.dts = stream, packet.pts + shift, packet.dts + shift
                target.mux(packet)
            counts.append(len(packets))
    return counts[0]


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        yield kind, content[at + 8 : at + size]
        at += size


def _changed(content: bytes, changes: dict[bytes, Change]) -> bytes:
    written = b""
    for kind, body in _boxes(content):
        new = _changed(body, changes) if kind in PARENTS else changes.get(kind, bytes)(body)
        written += struct.pack(">I4s", len(new) + 8, kind) + new
    return written


def _find(content: bytes, wanted: bytes) -> bytes:
    for kind, body in _boxes(content):
        if kind == wanted:
            return body
        if kind in PARENTS and (found := _find(body, wanted)):
            return found
    return b""
