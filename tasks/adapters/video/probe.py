"""Inspects a video file before it is decoded: what is in it, and whether it can be used.

Runs in the sandbox. Files are opened by content, with a short list of formats and protocols, so that a
playlist named `.mp4` can reach neither the network nor another file.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from tasks.adapters.video.containers.clock import RESTARTING, WRAP_S, Clock, SoundTimes
from tasks.adapters.video.containers.joined import part_url, protocols, readable, unused_sentence
from tasks.adapters.video.packet_references import PacketReferences
from tasks.adapters.video.packet_times import MICROSECONDS, PacketTimes
from tasks.adapters.video.sniffing import explain_unopenable, refuse, refuse_known_foreign
from tasks.core.colours import Colours
from tasks.core.containers import FORMATS
from tasks.core.geometry import display_size

MAX_PIXELS = 36_000_000
"""Larger pictures (8K is 33 million) are refused as an attack on memory."""

COVERS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
PROGRAM_SEARCH_BYTES = 4_000_000
MIN_OTHER_PROGRAM_BYTES = 188 * 50
"""Less is the end of a stream, whose last packets lie between those of others."""
UNDECLARED = frozenset({"mpegts", "mpeg", "ogg"})
"""Containers that declare no duration."""
MAX_PACKETS_TO_FIRST_PICTURE = 1000


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """The sound beside a video: the index of its stream, and its clock."""

    stream: int
    clock: Clock


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of the video in a file without decoding all of it.

    `width` and `height` are those a player shows, in square pixels. Time 0 is where the container's
    presentation starts, as in players. `pts` are the sorted times of all pictures in units of `time_base`;
    the last one ends at `end_s`. `offset_us`, added to the times of packets after `clock`, gives these times.
    `stored` are the times in the order of the packets, `packet_flags` their `PacketReferences`. `in_order`
    is true if every picture has its own time and none is discarded. `damage` says what is missing, `unused`
    what of the file is not read. `sound` is None for a video without, `timecode` where none is known of its
    first picture. `rate` is ffmpeg's guess of how many pictures a second were meant.
    """

    container: str
    codec: str
    stream: int
    video_streams: int
    width: int
    height: int
    quarter_turns: int | None
    time_base: Fraction
    pts: array[int]
    stored: array[int]
    packet_flags: bytes
    in_order: bool
    offset_us: int
    end_s: Fraction
    damage: str | None
    colours: Colours
    unused: str | None = None
    clock: Clock = field(default_factory=Clock)
    sound: SoundTrack | None = None
    timecode: str | None = None
    rate: Fraction | None = None

    @property
    def tolerance_s(self) -> Fraction:
        """How far a time may lie before its tick for rounding alone: half a unit of a fine time base.

        A coarse time base counts whole frames, and is exact.
        """
        return self.time_base / 2 if self.time_base <= Fraction(1, 1000) else Fraction(0)

    def n_ticks(self, fps: int) -> int:
        """How many ticks the video has at `fps`: every tick before its end, at least one."""
        return max(1, math.ceil((self.end_s - self.tolerance_s) * fps))

    def last_shown(self, *, fps: int, n_ticks: int) -> list[int]:
        """The picture of every tick, the last that begins before its end, as an index into `pts`.

        Ticks before the first picture show the first one.
        """
        indices = []
        for tick in range(n_ticks):
            end = math.ceil((Fraction(tick + 1, fps) - self.tolerance_s) / self.time_base)
            indices.append(max(0, bisect_left(self.pts, end) - 1))
        return indices


def probe(path: Path, *, name: str) -> Probe:
    """Inspects the file at `path`, which messages call `name`.

    Raises `VideoRefused(stage="probe")` for a file that holds no usable video.
    """
    if path.stat().st_size == 0:
        raise refuse("empty", f"'{name}' is empty (0 bytes). Upload it again.")
    refuse_known_foreign(path, name=name)
    with _open(path, name=name) as container:
        stream = real_video(container, name=name)
        times, references = scan(container, stream, name=name)
        origin_us = times.origin_us(container)
        beside, clocks = sound_beside(container, stream), times.clocks(stream.index)
        sound = SoundTrack(beside.index, clocks.get(beside.index, Clock())) if beside else None
        kind, codec = container.format.name, stream.codec_context.codec.canonical_name
        index, count = stream.index, len(container.streams.video)
        end_s = times.end_s(origin_us)
        damage = times.damage(_declared_s(container, stream), origin_us)
        stored = times.from_origin(origin_us)
        timecode, rate = _timecode(container, stream), stream.guessed_rate
        other_program = other_program_bytes(path, kind, times.end_byte)
    # PyAV's objects must not outlive their container: reading them then crashes.
    with _open(path, name=name) as container:
        stream = container.streams[index]
        first = first_picture(container, stream, name=name)
        colours = Colours.of(first)
        aspect, turns = stream.sample_aspect_ratio or Fraction(1), quarter_turns(first)
        width, height = display_size(first.width, first.height, aspect=aspect, quarter_turns=turns or 0)
    return Probe(
        container=kind,
        codec=codec,
        stream=index,
        video_streams=count,
        width=width,
        height=height,
        quarter_turns=turns,
        time_base=times.time_base,
        pts=array("q", sorted(stored)),
        stored=stored,
        packet_flags=bytes(references.flags),
        in_order=times.in_order(),
        offset_us=-origin_us,
        clock=times.clock,
        sound=sound,
        timecode=timecode,
        rate=rate,
        end_s=end_s,
        damage=damage,
        unused=unused_sentence(readable(path).unused_bytes or other_program),
        colours=colours,
    )


def open_video(path: Path) -> Any:
    """Opens the file at `path` with PyAV, if its format is one that refers to no other files."""
    return _open_url(readable(path).url)


def _open_url(url: str) -> Any:
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": protocols(url),
        "max_pixels": str(MAX_PIXELS),
    }
    return av.open(url, options=options, metadata_errors="replace")


def other_program_bytes(path: Path, kind: str, end: int) -> int:
    """How many bytes behind `end` are a video of a program that a transport stream does not begin with.

    Recordings that are joined there are one only where both have the same ids.
    """
    size = path.stat().st_size
    if kind != "mpegts" or size - end < MIN_OTHER_PROGRAM_BYTES:
        return 0
    ids = []
    for begin in (0, end):
        part_end = min(begin + PROGRAM_SEARCH_BYTES, size if begin else end)
        try:
            with _open_url(part_url(path, begin, part_end)) as container:
                ids.append({stream.id for stream in container.streams.video})
        except av.FFmpegError:
            return 0
    known, behind = ids
    return size - end if behind - known else 0


def packets(container: Any, *streams: Any) -> Iterator[Any]:
    """All packets, or those of some streams, up to the end of the file or the place where it breaks."""
    following = container.demux(*streams)
    while True:
        try:
            packet = next(following)
        except StopIteration:
            return
        except MemoryError:
            raise
        except (av.FFmpegError, IndexError):
            # PyAV raises IndexError at the end of a file in whose middle streams began.
            return
        if packet.size:
            yield packet


def _open(path: Path, *, name: str) -> Any:
    try:
        return open_video(path)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise explain_unopenable(path, name=name) from error


def real_video(container: Any, *, name: str) -> Any:
    """The video stream that players show: of those marked as default, or else of all, the largest.

    Cover pictures and thumbnails are none, nor is a single picture beside a video.
    """
    real = [stream for stream in container.streams.video if not stream.disposition & COVERS]
    if not real:
        what = "only sound and a cover picture" if container.streams.video else "no picture"
        raise refuse("no_video_stream", f"'{name}' has {what}. Upload a file with a video track.")
    stream = max(real, key=_prominence)
    if stream.codec_context is None:
        raise refuse(
            "unsupported_codec",
            f"The video track of '{name}' is coded in a way that cannot be decoded here. "
            "Convert it to H.264 in MP4.",
        )
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise refuse(
            "too_many_pixels",
            f"The pictures of '{name}' are {width} x {height}, more than the {MAX_PIXELS // MICROSECONDS} "
            "million pixels accepted. Scale the video down.",
        )
    return stream


def _prominence(stream: Any) -> tuple[bool, bool, bool, int]:
    context = stream.codec_context
    pixels = context.width * context.height if context else 0
    return context is not None, stream.frames != 1, bool(stream.disposition & Disposition.default), pixels


def sound_beside(container: Any, stream: Any) -> Any | None:
    """The sound that players play: the first that is marked as default, or else the first.

    Tracks that no decoder here knows are none. Of several programs it is that of the video `stream`.
    """
    known = [sound for sound in container.streams.audio if sound.codec_context is not None]
    marked = [sound for sound in known if sound.disposition & Disposition.default]
    if not known or len(container.streams.video) == 1 or container.format.name not in WRAP_S:
        return next(iter(marked or known), None)
    best = container.streams.best
    sound = best("audio", related=stream)  # that of another program, if this one has none
    is_beside = sound in known and best("video", related=sound) == best("video", related=stream)
    return sound if is_beside else None


def scan(container: Any, stream: Any, *, name: str) -> tuple[PacketTimes, PacketReferences]:
    """The times of all packets of the video `stream` and of its sound, and their references."""
    kind = container.format.name
    beside = sound_beside(container, stream) if kind in RESTARTING else None
    sound = SoundTimes(beside) if beside else None
    times = PacketTimes(stream.time_base, container=kind, sound=sound)
    references = PacketReferences(stream.codec_context.codec.canonical_name, stream.codec_context.extradata)
    for packet in packets(container):
        if packet.stream_index != stream.index:
            times.add_audio(packet)
            if sound and packet.stream_index == sound.index:
                sound.add(packet, pictures_before=len(times.pts))
            continue
        if packet.has_sidedata("encryption_info"):
            raise refuse("encrypted", f"'{name}' is encrypted (DRM). Upload a copy without copy protection.")
        times.add(packet)
        references.add(packet)
    if not times.pts:
        raise refuse(
            "no_frames",
            f"'{name}' announces a video but holds no picture (0 frames). Export or upload it again.",
        )
    return times, references


def _timecode(container: Any, stream: Any) -> str | None:
    """The timecode of the first picture as it is written: of the stream, the file or a track of timecodes."""
    for tagged in (stream, container, *container.streams):
        for key, value in tagged.metadata.items():
            if key.lower() == "timecode" and len(value) == len("HH:MM:SS:FF"):
                return str(value)
    return None


def _declared_s(container: Any, stream: Any) -> tuple[float, float]:
    """The durations that the file declares for its video and for all its streams; 0 if it declares none.

    Some containers declare none: FFmpeg measures what it finds.
    """
    if container.format.name in UNDECLARED:
        return 0.0, 0.0
    return float((stream.duration or 0) * stream.time_base), (container.duration or 0) / MICROSECONDS


def first_picture(container: Any, stream: Any, *, name: str) -> Any:
    """The first picture of a stream that can be decoded. Raises `VideoRefused` if there is none."""
    # With threads, a lack of memory is reported as an error of the file.
    stream.codec_context.thread_count = 1
    for number, packet in enumerate(container.demux(stream)):
        try:
            pictures = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            pictures = []
        if pictures:
            return pictures[0]
        if number > MAX_PACKETS_TO_FIRST_PICTURE:
            break
    raise refuse(
        "no_frames",
        f"No picture of '{name}' can be decoded: its video track ({stream.codec_context.name}) is broken. "
        "Export or upload it again.",
    )


def quarter_turns(picture: Any) -> int | None:
    """Turns of 90 degrees that show the picture upright; None if turning is not enough."""
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0
    a, b, _, c, d = memoryview(bytes(matrix)).cast("i")[:5]
    mirrored = a * d - b * c < 0
    slanted = picture.rotation % 90
    return None if mirrored or slanted else picture.rotation // 90 % 4
