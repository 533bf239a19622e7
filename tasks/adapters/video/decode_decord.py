"""Decodes with decord, for the common formats it gets right: a single pass forward, never a seek.

decord 0.6 returns wrong frames without an error on random access to some streams, and when skipping over a
key frame (it seeks there) or over frames that share one time. So only files whose probe rules that
out come here, and skips stop short of every key frame.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.adapters.video.decode_pyav import CONTAINERS
from tasks.adapters.video.probe import Probe
from tasks.core.errors import DecoderUnfit

CODECS = frozenset({"vp8", "vp9"})
"""Any packet of these may be needed for the next picture. (H.264 and HEVC say which: `decode_pyav`.)"""
SAME_TIME_S = 0.01
"""decord tells times in float32; they must agree with the probe's this closely in the first hours."""


def fits_decord(probe: Probe) -> bool:
    """Whether decord is known to decode such a file rightly."""
    return (
        probe.codec in CODECS
        and probe.container in CONTAINERS
        and probe.video_streams == 1
        and probe.quarter_turns is not None
        and probe.in_order
    )


def decode(
    source: Path, probe: Probe, *, width: int, height: int, fps: int, n_ticks: int, threads: int
) -> Iterator[bytes]:
    """Yields the `n_ticks` frames, each `height x width x 3` uint8 RGB.

    Raises `DecoderUnfit` if decord is not installed, refuses the file, or sees other pictures in it than
    the probe does; frames yielded before that must be thrown away.
    """
    try:
        # Absent on some platforms, where everything is decoded by ffmpeg.
        import decord
    except (ImportError, OSError) as error:
        raise DecoderUnfit(str(error)) from error
    try:
        # No recovered frame is tolerated: decord would repeat its neighbour in silence.
        reader = decord.VideoReader(
            str(source), ctx=decord.cpu(0), width=width, height=height, num_threads=threads, fault_tol=0
        )
        _check_same_pictures(reader, probe)
        forward = _Forward(reader)
        for index in probe.on_screen(fps=fps, n_ticks=n_ticks):
            yield forward.frame(index)
        # A picture lost on the way would shift those behind it; then the last one is not to be had.
        forward.frame(len(probe.pts) - 1)
    except (decord.DECORDError, StopIteration, RuntimeError, AssertionError) as error:
        if "bad_alloc" in str(error):
            raise MemoryError(str(error)) from error
        raise DecoderUnfit(str(error)) from error


def _check_same_pictures(reader: Any, probe: Probe) -> None:
    if len(reader) != len(probe.pts):
        raise DecoderUnfit(f"decord counts {len(reader)} pictures, the container {len(probe.pts)}")
    begins = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    # decord counts from the first picture, the probe from the start of the presentation.
    last_s = float((probe.pts[-1] - probe.pts[0]) * probe.time_base)
    if abs(float(begins[-1]) - last_s) > SAME_TIME_S:
        raise DecoderUnfit(f"decord ends with a picture at {begins[-1]:.3f} s, the file at {last_s:.3f} s")


class _Forward:
    """Reads a video forward; asking twice for the same picture is allowed, going back is not."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._keys = reader.get_key_indices()
        self._position = 0
        self._frame = b""

    def frame(self, index: int) -> bytes:
        if index >= self._position:
            self._skip_to(index)
            self._frame = self._reader.next().asnumpy().tobytes()
            self._position += 1
        return self._frame

    def _skip_to(self, index: int) -> None:
        while self._position < index:
            next_key = bisect_right(self._keys, self._position)
            stop = min(index, self._keys[next_key] - 1 if next_key < len(self._keys) else index)
            if stop > self._position:
                self._reader.skip_frames(stop - self._position)
                self._position = stop
            else:
                self._reader.next()
                self._position += 1
