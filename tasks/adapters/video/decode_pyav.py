"""Decodes H.264 and HEVC with PyAV, and only the packets that the wanted pictures depend on.

For one picture a second, three kinds of packets are left out: unwanted pictures that no other refers to,
what follows the last wanted picture of a group, and groups without one. The wanted pictures are the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

from tasks.adapters.video.packet_references import PARSED_CODECS, needed_packets
from tasks.adapters.video.probe import Probe, open_video, packets
from tasks.adapters.video.shaping import Filter, Grid, frame_filters
from tasks.core.errors import DecoderUnfit

CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})


def fits_pyav(probe: Probe) -> bool:
    """Whether the packets of such a file say which are references, and every picture has its own time."""
    return (
        probe.codec in PARSED_CODECS
        and probe.container in CONTAINERS
        and probe.quarter_turns is not None
        and probe.in_order
    )


def decode(source: Path, probe: Probe, grid: Grid, *, skip: bool = True) -> Generator[bytes, None, None]:
    """Yields the frames of the grid, all of them.

    Without `skip` every packet is decoded. Raises `DecoderUnfit` if a wanted picture is broken or
    missing; frames yielded before that must be thrown away.
    """
    last_shown = probe.last_shown(fps=grid.fps, n_ticks=grid.n_ticks)
    shown = {probe.pts[index] for index in last_shown}
    wanted = [pts in shown for pts in probe.stored]
    needed = needed_packets(probe.packet_flags, wanted) if skip else [True] * len(wanted)
    turns = probe.quarter_turns or 0
    scaled = Scaler(frame_filters(grid.width, grid.height, quarter_turns=turns, table=grid.table))
    index, frame = -1, b""
    try:
        with open_video(source) as container:
            pictures = _wanted_pictures(container, probe, wanted, needed, threads=grid.threads)
            for wanted_index in last_shown:
                if wanted_index != index:
                    index = wanted_index
                    pts, picture = next(pictures, (None, None))
                    if picture is None or pts != probe.pts[index] or picture.is_corrupt:
                        raise DecoderUnfit(f"picture {index} of {len(probe.pts)} is broken or missing")
                    frame = scaled(picture)
                yield frame
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise DecoderUnfit(str(error)) from error


def _wanted_pictures(
    container: Any, probe: Probe, wanted: list[bool], needed: list[bool], *, threads: int
) -> Iterator[tuple[int, Any]]:
    """The wanted pictures in order of time, each with its time in the probe."""
    stream = container.streams[probe.stream]
    decoder = stream.codec_context
    decoder.thread_count, decoder.thread_type = threads, "AUTO"
    ahead: dict[int, int] = {}
    for packet, is_wanted, is_needed, pts in zip(
        packets(container, stream), wanted, needed, probe.stored, strict=True
    ):
        if is_wanted:
            ahead[packet.pts] = pts
        if is_needed:
            yield from _known(decoder.decode(packet), ahead)
    yield from _known(decoder.decode(None), ahead)


def _known(pictures: list[Any], ahead: dict[int, int]) -> Iterator[tuple[int, Any]]:
    for picture in pictures:
        if (pts := ahead.pop(picture.pts, None)) is not None:
            yield pts, picture


class Scaler:
    """Makes frames of pictures as the ffmpeg program does, by the same filters."""

    def __init__(self, filters: list[Filter]) -> None:
        self.filters = filters
        self._graph: Graph | None = None
        self._shape: tuple[object, ...] = ()

    def __call__(self, picture: Any) -> bytes:
        shape = (picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range)
        if self._graph is None or shape != self._shape:
            self._graph, self._shape = self._build(picture), shape
        self._graph.vpush(picture)
        scaled: bytes = self._graph.vpull().to_ndarray().tobytes()
        return scaled

    def _build(self, picture: Any) -> Graph:
        graph = Graph()
        last = graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
        )
        for name, options in self.filters:
            following = graph.add(name, **options)
            last.link_to(following)
            last = following
        last.link_to(graph.add("buffersink"))
        graph.configure()
        return graph
