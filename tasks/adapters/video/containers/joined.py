"""Finds recordings that were joined into one file by appending their bytes, and what of the file is read.

Players show the first recording of an MP4, Matroska, ASF, MXF or Ogg file, and go on in FLV (and in MPEG and
AVI files, where FFmpeg does so by itself). What follows a recording but begins none, such as a tag or zeros,
is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO

from tasks.adapters.video.containers.elements import (
    ELEMENT_HEAD_BYTES,
    FLV_HEADER,
    FLV_HEADER_BYTES,
    SIGNS,
    STEPS,
    Step,
    is_flv,
)

SEARCH_BYTES = 1 << 20
MAX_PARTS = 200
"""FFmpeg opens the file once for each part: `forkserver.MAX_OPEN_FILES`."""
MAX_ELEMENTS = 5_000_000
"""A file of more elements is not gone through to its end: that would take longer than decoding it."""


@dataclass(frozen=True, slots=True)
class Readable:
    """What of a file is read: `url` names it for FFmpeg. `unused_bytes` behind it are another recording."""

    url: str
    unused_bytes: int = 0


def unused_sentence(unused_bytes: int) -> str | None:
    """`Timeline.unused` of a file of which so many bytes are not read; None if all are."""
    if not unused_bytes:
        return None
    return (
        f"Another recording is joined to the end of this one in the same file; its {unused_bytes:,} bytes "
        "are not used. Upload it as a file of its own."
    )


def protocols(url: str) -> str:
    """The protocols that FFmpeg needs to open a `Readable.url`: no others are allowed."""
    return "file" if url.startswith("file:") else "file,subfile,concat"


def readable(path: Path) -> Readable:
    """What FFmpeg shall read of the file at `path`."""
    status = path.stat()
    return _readable(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _readable(path: Path, size: int, _changed_ns: int) -> Readable:
    with path.open("rb") as file:
        head = file.read(16)
        if head.startswith(FLV_HEADER):
            parts = list(islice(_flv_parts(file, size), MAX_PARTS + 1))
            urls = [part_url(path, *part) for part in parts[:MAX_PARTS]]
            unused_bytes = size - parts[MAX_PARTS][0] if len(parts) > MAX_PARTS else 0
            return Readable(f"concat:{'|'.join(urls)}" if len(urls) > 1 else f"file:{path}", unused_bytes)
        for begins, steps in STEPS:
            if begins(head) and (end := _next_recording(file, _end(file, size, steps()), size)) is not None:
                return Readable(part_url(path, 0, end), size - end)
    return Readable(f"file:{path}")


def part_url(path: Path, begin: int, end: int) -> str:
    return f"subfile,,start,{begin},end,{end},,:file:{path}"


def _end(file: IO[bytes], size: int, step: Step) -> int:
    """Where the elements of the first recording end, or the last one that may be whole begins."""
    at = last = 0
    for _ in range(MAX_ELEMENTS):
        if at >= size:
            break
        file.seek(at)
        length = step(file.read(ELEMENT_HEAD_BYTES))
        if length == 0:
            return at
        if length is None or at + length > size:
            return last
        at, last = at + length, at
    return at


def _flv_parts(file: IO[bytes], size: int) -> Iterator[tuple[int, int]]:
    """Where the tags of each recording begin and end, the first with its header (FLV 10.1, E.2)."""
    begin, at = 0, FLV_HEADER_BYTES
    last = at
    for _ in range(MAX_ELEMENTS):
        if at + 11 > size:
            break
        file.seek(at)
        tag = file.read(11)
        if tag[0] & 0x1F in (8, 9, 18):
            at, last = at + 11 + int.from_bytes(tag[1:4], "big") + 4, at
            continue
        # The last tag may break off, with another recording inside of what should be its bytes.
        following = _find(file, last, size, FLV_HEADER, is_flv)
        if following is None:
            break
        yield begin, at if at <= following else last
        begin = at = last = following + FLV_HEADER_BYTES
    yield begin, size


def _next_recording(file: IO[bytes], at: int, size: int) -> int | None:
    """Where another recording begins from `at` on."""
    found = [_find(file, max(1, at), size, *sign) for sign in SIGNS]
    return min((begin for begin in found if begin is not None), default=None)


def _find(
    file: IO[bytes], at: int, size: int, mark: bytes, begins: Callable[[bytes], bool], shift: int = 0
) -> int | None:
    """The first place from `at` on where `begins` is true of the bytes `shift` before a mark."""
    while at < size:
        file.seek(at)
        chunk = file.read(SEARCH_BYTES + 64)
        found = chunk.find(mark)
        while 0 <= found < SEARCH_BYTES + shift:
            if found >= shift and begins(chunk[found - shift : found + 64]):
                return at + found - shift
            found = chunk.find(mark, found + 1)
        at += SEARCH_BYTES
    return None
