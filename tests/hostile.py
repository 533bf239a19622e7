"""Files that would have a decoder read other files or open connections, and an eye on whether one does."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.media import H264, numbered_video

IN_OPEN, IN_NONBLOCK = 0x20, 0o4000


@dataclass
class Watch:
    """A video that nobody is to open, and an address that nobody is to call; seen from outside."""

    canary: Path
    listener: socket.socket
    events: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/canary.mp4"

    def touched(self) -> list[str]:
        """What was done to them since the last call."""
        found = []
        try:
            os.read(self.events, 65536)
            found.append("the canary was opened")
        except BlockingIOError:
            pass
        try:
            self.listener.accept()[0].close()
            found.append("a connection was made")
        except BlockingIOError:
            pass
        return found


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """Puts the canary into `folder`. (inotify(7) tells of every open, by whatever process.)"""
    canary = numbered_video(folder / "canary.mp4", seconds=2)
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(IN_NONBLOCK)
    assert events >= 0
    assert libc.inotify_add_watch(events, os.fsencode(canary), IN_OPEN) >= 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield Watch(canary, listener, events)
    os.close(events)


def hls(path: Path, *, target: str) -> Path:
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{target}\n#EXT-X-ENDLIST\n")
    return path


def hls_after_bom(path: Path, *, target: str) -> Path:
    return _prefixed(hls(path, target=target), b"\xef\xbb\xbf\r\n")


def hls_key(path: Path, *, target: str) -> Path:
    path.write_text(
        f'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n'
        f'#EXT-X-MAP:URI="{target}"\n#EXTINF:2.0,\nconcat:{target}|{target}\n#EXT-X-ENDLIST\n'
    )
    return path


def concat(path: Path, *, target: str) -> Path:
    path.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
    return path


def dash(path: Path, *, target: str) -> Path:
    path.write_text(
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" '
        'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation '
        f'id="1" bandwidth="1" codecs="avc1"><BaseURL>{target}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>\n"
    )
    return path


def dash_with_entity(path: Path, *, target: str) -> Path:
    path.write_text(
        f'<!DOCTYPE m [<!ENTITY canary SYSTEM "{target}">]><MPD '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><BaseURL>&canary;</BaseURL></MPD>\n'
    )
    return path


def sdp(path: Path, *, target: str) -> Path:
    path.write_text(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"a=control:{target}\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    )
    return path


def svg(path: Path, *, target: str) -> Path:
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>\n')
    return path


def external_reference(path: Path, *, target: str) -> Path:
    """A MOV whose pictures are said to lie in another file: `dref` with a Mac alias, as editors write."""
    whole = numbered_video(path.with_suffix(".mov"), seconds=2, codec=H264)
    content = whole.read_bytes()
    whole.unlink()
    path.write_bytes(_with_dref(content, _alias(target)))
    return path


HOSTILE: dict[str, Callable[..., Path]] = {
    make.__name__: make
    for make in (hls, hls_after_bom, hls_key, concat, dash, dash_with_entity, sdp, svg, external_reference)
}


def _prefixed(path: Path, start: bytes) -> Path:
    path.write_bytes(start + path.read_bytes())
    return path


def _alias(target: str) -> bytes:
    """An entry of `dref` of type `alis`, as FFmpeg's mov.c reads it: an absolute path is tag 2."""
    absolute = target.removeprefix("file://").encode()
    absolute += b"\0" * (len(absolute) % 2)
    name = target.rsplit("/", 1)[-1].encode()[:62]
    record = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">hh", 1, 2) + bytes(16)
    record += struct.pack(">hh", 2, len(absolute)) + absolute + struct.pack(">hh", -1, 0)
    return struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record


def _with_dref(content: bytes, entry: bytes) -> bytes:
    """The file with `entry` in place of its data reference; boxes around it grow (ISO/IEC 14496-12)."""
    result, at = b"", 0
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + size]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            body = _with_dref(body, entry)
        elif kind == b"dref":
            body = struct.pack(">II", 0, 1) + entry
        result += struct.pack(">I4s", len(body) + 8, kind) + body
        at += size
    return result
