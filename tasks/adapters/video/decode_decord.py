"""Decodes with decord the formats it decodes correctly, in one forward pass without seeking.

decord 0.6 returns wrong frames without an error after a seek in some streams, after skipping over a key
frame (it seeks then), and after skipping over frames that share one time. So it gets only files whose
probe rules that out, and skips stop short of every key frame. It scales bilinearly, 38 dB from what the
other decoders give: at full size it reads ahead without a bound on memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tasks.adapters.video.decode_pyav import CONTAINERS
from tasks.adapters.video.probe import Probe
from tasks.adapters.video.shaping import Grid
from tasks.core.errors import DecoderUnfit

CODECS = frozenset({"vp8", "vp9"})
"""Here every packet may be needed for the next picture. (In H.264 and HEVC not: see `decode_pyav`.)"""
MAX_TIME_ERROR_S = 0.01
"""decord's times are float32: how far the last one may be from the probe's."""


def fits_decord(probe: Probe) -> bool:
    """Whether decord is known to decode such a file correctly."""
    return (
        probe.codec in CODECS
        and probe.container in CONTAINERS
        and probe.video_streams == 1
        and probe.unused is None
        and probe.quarter_turns is not None
        and probe.in_order
        and not probe.colours.beyond_bt709
    )


def decode(source: Path, probe: Probe, grid: Grid) -> Generator[bytes, None, None]:
    """Yields the frames of the grid, all of them. There must be no `table`.

    Raises `DecoderUnfit` if decord is not installed, refuses the file, or finds other pictures in it than
    the probe; frames yielded before that must be thrown away.
    """
    try:
        # Missing on some platforms: there ffmpeg decodes everything.
        import decord
    except (ImportError, OSError) as error:
        raise DecoderUnfit(str(error)) from error
    try:
        # Tolerate no broken frame: decord would silently repeat its neighbour.
        reader = decord.VideoReader(
            str(source),
            ctx=decord.cpu(0),
            width=grid.width,
            height=grid.height,
            num_threads=grid.threads,
            fault_tol=0,
        )
        _check_same_pictures(reader, probe)
        forward = _Forward(reader)
        for index in probe.last_shown(fps=grid.fps, n_ticks=grid.n_ticks):
            yield forward.frame(index)
        # If decord lost a picture, those after it are shifted, and the last one cannot be read.
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
    if abs(float(begins[-1]) - last_s) > MAX_TIME_ERROR_S:
        raise DecoderUnfit(f"decord ends with a picture at {begins[-1]:.3f} s, the file at {last_s:.3f} s")


class _Forward:
    """Reads a video forward; the same picture can be read again, earlier ones cannot."""

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
