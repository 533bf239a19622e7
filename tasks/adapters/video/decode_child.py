"""The program that decodes one video; `tasks.adapters.video.timeline` runs it in the sandbox."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.adapters.video import decode_decord, decode_ffmpeg, decode_pyav
from tasks.adapters.video.packet_times import MIN_DAMAGE_S, damage_sentence
from tasks.adapters.video.probe import Probe, SoundTrack, open_video, packets, probe
from tasks.adapters.video.shaping import Grid, colour_table
from tasks.adapters.video.sound.extract import sound_bytes, write_sound
from tasks.adapters.video.sound.loudness import momentary_loudness
from tasks.adapters.video.sound.vad import FRAME_MS, speech_probabilities
from tasks.adapters.video.timeline import DecodeJob
from tasks.core.amounts import size_text
from tasks.core.errors import DecodeFailed, DecoderUnfit, VideoRefused
from tasks.core.geometry import FrameBudget, frame_size, frames_bytes
from tasks.core.speech.heard import Heard
from tasks.core.speech.spans import speech_spans
from tasks.core.views.timecode import NEAR

MEGABYTE = 1_000_000
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
THREADS = min(4, os.cpu_count() or 1)
"""More threads per decoder cost memory and gain little: several videos are decoded at once."""

Frames = Generator[bytes, None, None]

FIRST_CHOICE: tuple[tuple[str, Callable[[Probe], bool], Callable[..., Frames]], ...] = (
    ("pyav", decode_pyav.fits_pyav, decode_pyav.decode),
    ("decord", decode_decord.fits_decord, decode_decord.decode),
)
"""Name, which files it decodes correctly, and how it decodes; the ffmpeg program takes everything else."""


def do_job(job: DecodeJob) -> dict[str, Any]:
    """Does `decode`, with errors of the machine as `DecodeFailed`."""
    try:
        return decode(job)
    except MemoryError as error:
        limit_mb = job.memory_bytes // MEGABYTE
        message = f"Decoding '{job.name}' needs more than the {limit_mb:,} MB of limits.memory_gb."
        raise DecodeFailed(message, reason="out_of_memory") from error
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        message = f"No room on scratch for what is decoded of '{job.name}' ({error.strerror})."
        raise DecodeFailed(message, reason="disk_full") from error


def decode(job: DecodeJob) -> dict[str, Any]:
    """Probes and decodes; returns the fields of the `Timeline` that the parent doesn't know.

    Raises `VideoRefused`.
    """
    source = Path(job.source)
    found = probe(source, name=job.name)
    n_ticks = found.n_ticks(job.fps)
    width, height = frame_size(found.width, found.height, FrameBudget(**job.budget).of_video(n_ticks))
    track = found.sound if job.sound else None
    heard_bytes = sound_bytes(float(found.end_s)) if track else 0
    _check_limits(job, found, needed_bytes=frames_bytes(n_ticks, width, height) + heard_bytes)
    with colour_table(found.colours, folder=Path(job.frames).parent) as table:
        grid = Grid(width, height, job.fps, n_ticks, THREADS, table)
        decoder, n_decoded = _decode_with_any(job, found, grid)
    duration_s, damage = float(found.end_s), found.damage
    if (n_ticks - n_decoded) / job.fps > MIN_DAMAGE_S:
        n_ticks, duration_s = n_decoded, n_decoded / job.fps
        damage = damage_sentence(float(found.end_s), duration_s)
    else:
        _repeat_last_frame(Path(job.frames), n_ticks - n_decoded, frames_bytes(1, width, height))
    facts: dict[str, Any] = {"width": width, "height": height, "fps": job.fps}
    facts |= {"n_ticks": n_ticks, "duration_s": duration_s, "decoder": decoder, "damage": damage}
    if job.sound:
        facts |= _heard(job, found, track, duration_s=duration_s)
    return facts | _source_facts(found)


def _heard(job: DecodeJob, found: Probe, track: SoundTrack | None, *, duration_s: float) -> dict[str, Any]:
    """Does `_hear`. No sound is worth a video whose pictures are there: what goes wrong is damage."""
    end_ms = int(duration_s * 1000)
    try:
        facts = _hear(job, found, track, duration_s=duration_s, end_ms=end_ms) if track else {}
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in DISK_FULL):
            raise
        Path(job.sound).unlink(missing_ok=True)
        facts = {"sound_damage": f"The sound cannot be used ({type(error).__name__}: {error})."}
    if "heard" not in facts:
        damaged = "sound_damage" in facts
        nothing = Heard.failed("sound_unreadable", end_ms=end_ms) if damaged else Heard("no_sound", end_ms)
        facts["heard"] = asdict(nothing)
    return facts


def _hear(
    job: DecodeJob, found: Probe, track: SoundTrack, *, duration_s: float, end_ms: int
) -> dict[str, Any]:
    """Writes the sound, and listens to it; says what of it is missing."""
    path = Path(job.sound)
    with open_video(Path(job.source)) as container:
        stream = container.streams[track.stream]
        codec = stream.codec_context.codec.canonical_name
        is_heard, lost_s = write_sound(
            packets(container, stream),
            stream,
            path,
            time_of=track.clock.continued,
            offset_us=found.offset_us,
            duration_s=duration_s,
        )
    facts: dict[str, Any] = {}
    if lost_s > MIN_DAMAGE_S:
        facts["sound_damage"] = f"{lost_s:.1f} s of the sound ({codec}) cannot be decoded."
    if not is_heard:
        path.unlink()
        return facts
    probabilities = speech_probabilities(path).tolist()
    speech = speech_spans(probabilities, frame_ms=FRAME_MS, end_ms=end_ms, threshold=job.speech_threshold)
    heard = asdict(Heard.of(speech, end_ms=end_ms))
    return {**facts, "heard": heard, "loudness": momentary_loudness(path)}


def _source_facts(found: Probe) -> dict[str, Any]:
    seconds = float(found.end_s - found.pts[0] * found.time_base)
    average, named = len(found.pts) / seconds if seconds > 0 else None, float(found.rate or 0)
    return {
        "unused": found.unused,
        "codec": found.codec,
        "source_width": found.width,
        "source_height": found.height,
        "source_fps": round(average, 3) if average else None,
        "source_rate": named if average and abs(average / (named or 1) - 1) <= NEAR else None,
        "source_timecode": found.timecode,
        "has_sound": found.sound is not None,
    }


def _check_limits(job: DecodeJob, found: Probe, *, needed_bytes: int) -> None:
    if found.end_s > job.max_duration_s:
        raise VideoRefused(
            f"'{job.name}' is {float(found.end_s):,.0f} s long; the limit is {job.max_duration_s:,.0f} s. "
            "Cut it, or raise limits.max_video_hours.",
            stage="probe",
            reason="too_long",
        )
    if needed_bytes > job.max_frames_bytes:
        raise VideoRefused(
            f"What is decoded of '{job.name}' would take {size_text(needed_bytes)} of scratch space; "
            f"{size_text(job.max_frames_bytes)} are left of what each video may take. Cut the video, raise "
            "limits.scratch_gb, or lower engine.workers.",
            stage="probe",
            reason="too_large",
        )


def _decode_with_any(job: DecodeJob, found: Probe, grid: Grid) -> tuple[str, int]:
    """Decodes with the first decoder that fits the file, else with ffmpeg: its name, the number of frames."""
    source, frames = Path(job.source), Path(job.frames)
    for name, fits, decode in FIRST_CHOICE:
        if job.decoder in ("", name) and fits(found):
            try:
                return name, _write(decode(source, found, grid), frames)
            except DecoderUnfit:
                if job.decoder == name:
                    raise
    n_decoded = _write(decode_ffmpeg.decode(source, found, grid), frames)
    if n_decoded == 0:
        raise VideoRefused(
            f"No picture of '{job.name}' can be decoded ({found.codec}, {len(found.pts)} announced). "
            "Export or upload it again.",
            stage="decode",
            reason="no_frames",
        )
    return "ffmpeg", n_decoded


def _write(frames: Frames, path: Path) -> int:
    """Streams the frames into the file; returns how many there were."""
    count = 0
    with closing(frames), path.open("wb") as file:
        for frame in frames:
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
