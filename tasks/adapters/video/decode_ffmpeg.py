"""Decodes with the ffmpeg program: everything the probe lets through."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import ffmpeg
import imageio_ffmpeg

from tasks.adapters.video.ffmpeg_input import ffmpeg_input
from tasks.adapters.video.packet_times import MICROSECONDS
from tasks.adapters.video.probe import Probe
from tasks.adapters.video.shaping import Filter, Grid, frame_filters, steady_input
from tasks.core.errors import DecodeFailed
from tasks.core.geometry import BYTES_PER_PIXEL

OUT_OF_MEMORY_WORDS = (
    "Cannot allocate memory",
    "get_buffer() failed",
    "pthread_create() failed",
    "initFilter failed",
    "Resource temporarily unavailable",
)
"""What ffmpeg 9 prints when it reaches RLIMIT_AS; it may still exit with 0, with frames missing."""
MAX_STDERR_BYTES = 100_000
"""How much of ffmpeg's messages is read; a broken file can make it print any amount."""


def decode(source: Path, probe: Probe, grid: Grid) -> Generator[bytes, None, None]:
    """Yields the frames of the grid as far as the file goes.

    Raises `MemoryError` or `DecodeFailed` if ffmpeg was stopped by the system.
    """
    turns = probe.quarter_turns or 0
    filters = frame_filters(grid.width, grid.height, quarter_turns=turns, table=grid.table)
    arguments = command(source, probe, filters, fps=grid.fps, n_ticks=grid.n_ticks, threads=grid.threads)
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
        assert process.stdout is not None
        try:
            yield from _frames(process.stdout, grid.width * grid.height * BYTES_PER_PIXEL)
        finally:
            process.stdout.close()
            code = process.wait()
        stderr.seek(0)
        _check(code, stderr.read(MAX_STDERR_BYTES).decode(errors="replace"))


def command(
    source: Path, probe: Probe, filters: list[Filter], *, fps: int, n_ticks: int, threads: int
) -> list[str]:
    """The ffmpeg command that writes the frame of each tick, made by `filters`, to its standard output."""
    steady = steady_input(probe.quarter_turns)
    opened = ffmpeg_input(source, {probe.stream: probe.clock}, threads=threads, **steady)
    offset = round(Fraction(probe.offset_us, MICROSECONDS) / probe.time_base)
    picture = opened[str(probe.stream)].filter("setpts", f"PTS+({offset})")
    if probe.tolerance_s:
        # Half a unit later, so that a time that was rounded down past its tick still counts as after it.
        picture = picture.filter("settb", "intb/2").filter("setpts", "PTS+1")
    # round=down: a picture belongs to the tick in which it begins; of several, the last is taken.
    # eof_action=pass: the last tick may be a part of one.
    picture = picture.filter("fps", fps=fps, round="down", start_time=0, eof_action="pass")
    for name, options in filters:
        picture = picture.filter(name, **options)
    output = picture.output(
        "pipe:1", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough", **{"frames:v": n_ticks}
    )
    quiet = output.global_args("-nostdin", "-hide_banner", "-loglevel", "error")
    compiled: list[str] = ffmpeg.compile(quiet, cmd=imageio_ffmpeg.get_ffmpeg_exe())
    return compiled


def _frames(pipe: IO[bytes], frame_bytes: int) -> Iterator[bytes]:
    while len(frame := pipe.read(frame_bytes)) == frame_bytes:
        yield frame


def _check(code: int, stderr: str) -> None:
    """Raises errors of the machine; those of the file show in the number of frames."""
    for sign in OUT_OF_MEMORY_WORDS:
        if sign in stderr:
            raise MemoryError(f"ffmpeg: {sign}")
    if code < 0:
        raise DecodeFailed(f"ffmpeg was stopped by signal {-code}.", reason="crashed")
