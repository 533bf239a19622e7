"""The decoding child: reads one job from standard input, decodes one video, prints one result.

Started by `tasks.adapters.video.timeline` as a program, so that whatever a file does to a decoder
stays in here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.adapters.video import decode_decord, decode_ffmpeg, decode_pyav
from tasks.adapters.video.packet_times import DAMAGE_S, damage_sentence
from tasks.adapters.video.probe import Probe, probe
from tasks.adapters.video.sandbox import run_job
from tasks.core.errors import DecodeFailed, DecoderUnfit, VideoRefused
from tasks.core.geometry import frame_size, frames_bytes
from tasks.core.records import FrameBudget

MEGABYTE = 1_000_000
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
THREADS = min(4, os.cpu_count() or 1)
"""More threads of one decoder cost memory and gain little: videos are decoded side by side."""

Decoder = Callable[[], Iterator[bytes]]

FIRST_CHOICE: tuple[tuple[str, Callable[[Probe], bool], Callable[..., Iterator[bytes]]], ...] = (
    ("pyav", decode_pyav.fits_pyav, decode_pyav.decode),
    ("decord", decode_decord.fits_decord, decode_decord.decode),
)
"""Name, what it can be trusted with, and how it decodes; the ffmpeg program takes everything else."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the parent asks for. `decoder` is empty, or forces `pyav`, `decord` or `ffmpeg`.

    `parent`, `memory_bytes` and `file_bytes` are for `run_job`.
    """

    parent: int
    source: str
    name: str
    frames: str
    fps: int
    budget: dict[str, int]
    memory_bytes: int
    max_duration_s: float
    max_frames_bytes: int
    decoder: str = ""
    file_bytes: int = 0


def main() -> None:
    """Does the job on standard input; its result is what `result_of` says."""
    run_job(lambda job: result_of(Job(**job)))


def result_of(job: Job) -> dict[str, Any]:
    """`{"timeline": {...}}`, `{"refused": {...}}` or `{"failed": {...}}`."""
    try:
        return {"timeline": decode(job)}
    except VideoRefused as error:
        return {"refused": {"message": str(error), "stage": error.stage, "reason": error.reason}}
    except DecodeFailed as error:
        return {"failed": {"message": str(error), "reason": error.reason}}
    except MemoryError:
        limit_mb = job.memory_bytes // MEGABYTE
        message = f"Decoding '{job.name}' needs more than the {limit_mb:,} MB of limits.memory_gb."
        return {"failed": {"message": message, "reason": "out_of_memory"}}
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        message = f"No room on scratch for the frames of '{job.name}' ({error.strerror})."
        return {"failed": {"message": message, "reason": "disk_full"}}


def decode(job: Job) -> dict[str, Any]:
    """Probes and decodes; returns the fields of the `Timeline` that the parent doesn't know."""
    source = Path(job.source)
    found = probe(source, name=job.name)
    width, height = frame_size(found.width, found.height, FrameBudget(**job.budget))
    n_ticks = found.n_ticks(job.fps)
    _check_limits(job, found, needed_bytes=frames_bytes(n_ticks, width, height))
    grid: dict[str, Any] = {
        "width": width, "height": height, "fps": job.fps, "n_ticks": n_ticks, "threads": THREADS
    }  # fmt: skip
    decoder, n_decoded = _decode_with_any(job, found, grid)
    duration_s, damage = float(found.end_s), found.damage
    if (n_ticks - n_decoded) / job.fps > DAMAGE_S:
        n_ticks, duration_s = n_decoded, n_decoded / job.fps
        damage = damage_sentence(float(found.end_s), duration_s)
    else:
        _repeat_last_frame(Path(job.frames), n_ticks - n_decoded, frames_bytes(1, width, height))
    return {
        "n_ticks": n_ticks,
        "fps": job.fps,
        "width": width,
        "height": height,
        "duration_s": duration_s,
        "decoder": decoder,
        "damage": damage,
    }


def _check_limits(job: Job, found: Probe, *, needed_bytes: int) -> None:
    if found.end_s > job.max_duration_s:
        raise VideoRefused(
            f"'{job.name}' is {float(found.end_s):,.0f} s long; the limit is {job.max_duration_s:,.0f} s. "
            "Cut it, or raise limits.max_video_hours.",
            stage="probe",
            reason="too_long",
        )
    if needed_bytes > job.max_frames_bytes:
        raise VideoRefused(
            f"The frames of '{job.name}' would take {needed_bytes / MEGABYTE:,.1f} MB of scratch space; "
            f"{job.max_frames_bytes / MEGABYTE:,.1f} MB are left of its share. Cut the video, raise "
            "limits.scratch_gb, or lower engine.workers.",
            stage="probe",
            reason="too_large",
        )


def _decode_with_any(job: Job, found: Probe, grid: dict[str, Any]) -> tuple[str, int]:
    """Decodes with the one that knows such files best, otherwise, or if it fails, with ffmpeg."""
    source, frames = Path(job.source), Path(job.frames)
    for name, fits, decode in FIRST_CHOICE:
        if job.decoder in ("", name) and fits(found):
            try:
                return name, _write(partial(decode, source, found, **grid), frames)
            except DecoderUnfit:
                if job.decoder == name:
                    raise
    n_decoded = _write(partial(decode_ffmpeg.decode, source, found, **grid), frames)
    if n_decoded == 0:
        raise VideoRefused(
            f"No picture of '{job.name}' can be decoded ({found.codec}, {len(found.pts)} announced). "
            "Export or upload it again.",
            stage="decode",
            reason="no_frames",
        )
    return "ffmpeg", n_decoded


def _write(decoder: Decoder, path: Path) -> int:
    """Streams the frames into the file; returns how many there were."""
    count = 0
    with path.open("wb") as file:
        for frame in decoder():
            file.write(frame)
            count += 1
    return count


def _repeat_last_frame(path: Path, times: int, frame_bytes: int) -> None:
    if times <= 0:
        return
    with path.open("r+b") as file:
        file.seek(-frame_bytes, os.SEEK_END)
        last = file.read(frame_bytes)
        for _ in range(times):
            file.write(last)


if __name__ == "__main__":
    main()
