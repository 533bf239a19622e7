"""Recognises files that are no videos by their first bytes, so that the refusal can say what they are."""

from __future__ import annotations

from pathlib import Path

from tasks.core.errors import VideoRefused

HEAD_BYTES = 4096

PLAYLISTS = (b"#extm3u", b"ffconcat version", b"<mpd", b"v=0")
"""HLS, ffconcat, DASH and SDP: texts that name other files or addresses."""
PICTURES = (b"\x89png", b"\xff\xd8\xff", b"bm6", b"ii*\0", b"mm\0*")
STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")
SOUND = (b"id3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"flac")


def refuse(reason: str, message: str) -> VideoRefused:
    """The error for a file that is refused before it is decoded; the caller raises it."""
    return VideoRefused(message, stage="probe", reason=reason)


def refuse_known_foreign(path: Path, *, name: str) -> None:
    """Raises `VideoRefused` for files that begin like a playlist, a picture or plain sound."""
    head = _head(path).lower()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(PLAYLISTS) or (text.startswith(b"<?xml") and b"<mpd" in text):
        raise refuse(
            "playlist",
            f"'{name}' is a playlist that names other files, not a video. Upload the video itself.",
        )
    if head.startswith(b"gif8"):
        raise refuse("unsupported_codec", f"'{name}' is an animated GIF. Convert it to H.264 in MP4.")
    is_webp = head.startswith(b"riff") and head[8:12] == b"webp"
    if head.startswith(PICTURES) or is_webp or (head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS):
        raise refuse("still_image", f"'{name}' is a single picture, not a video. Upload a video.")
    is_wave = head.startswith(b"riff") and head[8:12] == b"wave"
    if head.startswith(SOUND) or is_wave:
        raise refuse("no_video_stream", f"'{name}' has only sound. Upload a file with a video track.")


def explain_unopenable(path: Path, *, name: str) -> VideoRefused:
    """The error for a file in none of the accepted container formats, with the most likely reason."""
    head = _head(path)
    if head.startswith(b"\x1f\x8b"):
        return refuse("not_a_video", f"'{name}' is a gzip archive, not a video. Upload the video itself.")
    if _is_text(head):
        return refuse("not_a_video", f"'{name}' holds text, not a video. Was a web page saved by mistake?")
    boxes = _top_level_boxes(path)
    if boxes & {b"ftyp", b"mdat"} and b"moov" not in boxes:
        return refuse(
            "truncated",
            f"'{name}' breaks off before its index (no 'moov' in {path.stat().st_size:,} bytes). "
            "Upload it again in full.",
        )
    return refuse(
        "unreadable",
        f"'{name}' cannot be read as a video ({path.stat().st_size:,} bytes in no format accepted). "
        "Convert it to MP4 or upload it again.",
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head[:-4].decode()
    except UnicodeDecodeError:
        return False
    return True


def _top_level_boxes(path: Path) -> set[bytes]:
    """The types of the boxes an MP4 or MOV file is made of (ISO/IEC 14496-12, 4.2)."""
    types: set[bytes] = set()
    with path.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            if not kind.isalnum() or size < 8:
                break
            types.add(kind)
            file.seek(size - len(header), 1)
    return types
