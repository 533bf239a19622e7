"""The program that cuts one clip with ffmpeg; `tasks.adapters.video.clips` runs it in the sandbox."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import imageio_ffmpeg

from tasks.adapters.video.clips import ClipJob
from tasks.adapters.video.containers.clock import RESTARTING, Clock
from tasks.adapters.video.ffmpeg_input import ffmpeg_input
from tasks.adapters.video.packet_times import MICROSECONDS
from tasks.adapters.video.probe import (
    first_picture,
    open_video,
    quarter_turns,
    real_video,
    scan,
    sound_beside,
)
from tasks.adapters.video.sandbox import run_job
from tasks.adapters.video.shaping import TURNS, colour_table, steady_input, table_filters
from tasks.core.colours import Colours
from tasks.core.errors import DecodeFailed, VideoRefused
from tasks.core.views.pictures import Crop, Cut

THREADS = min(4, os.cpu_count() or 1)
PREROLL_S = 3.0
"""How long before the start of a clip decoding begins: seeking is not exact in every format."""
TOLERANCE_S = 0.001
"""A picture counts as on screen this long before its time: times are rounded, in Matroska to milliseconds."""
MIN_FPS, MAX_FPS, DEFAULT_FPS = Fraction(10), Fraction(60), Fraction(30)
"""A clip has the frame rate of its video, within bounds that phones play."""
MAX_SHORT_SIDE = 1080
STDERR_TAIL_CHARS = 300

VIDEO_CODING = {
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 21,
    "maxrate": "12M",
    "bufsize": "24M",
    "profile:v": "high",
    "pix_fmt": "yuv420p",
}
AUDIO_CODING = {"c:a": "aac", "b:a": "160k", "ar": 48000, "ac": 2}


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What must be known of a file to cut it.

    `stream` and `sound` are the indices of streams, `clocks` theirs. `rate` is the frame rate of the clip.
    `offset_s`, added to the times of packets after their clock, gives the video's own; `quarter_turns` show
    it upright (see `probe`).
    """

    stream: int
    sound: int | None
    clocks: Mapping[int, Clock]
    rate: Fraction
    offset_s: float
    can_seek: bool
    quarter_turns: int | None
    colours: Colours


def do_job(job: ClipJob) -> None:
    """Writes the clip and its poster. Raises `DecodeFailed`, with a message about the clip."""
    try:
        cut_out(job)
    except MemoryError as error:
        message = f"Cutting a clip of '{job.name}' ran out of memory: raise limits.memory_gb."
        raise DecodeFailed(message, reason="out_of_memory") from error
    except (DecodeFailed, VideoRefused, av.FFmpegError) as error:
        message = f"No clip could be cut out of '{job.name}' ({error})."
        raise DecodeFailed(message, reason="clip_failed") from error


def cut_out(job: ClipJob) -> None:
    """Writes the clip and its poster."""
    source, video, poster, cut = Path(job.source), Path(job.video), Path(job.poster), Cut(**job.cut)
    info = read_info(source, name=job.name)
    count = max(1, round((cut.end_s - cut.start_s) * info.rate))
    with colour_table(info.colours, folder=video.parent) as table:
        _run(clip_command(source, video, cut, info, crop=job.crop, count=count, table=table))
    _expect_pictures(video, count)
    number = min(math.ceil((cut.poster_s - cut.start_s) * info.rate - TOLERANCE_S), count) - 1
    _run(poster_command(video, poster, at_s=max(0.0, float((number - Fraction(1, 2)) / info.rate))))


def read_info(path: Path, *, name: str) -> SourceInfo:
    """Reads what is needed from the beginning of a file; all its packets where the clock may start anew."""
    with open_video(path) as container:
        first = first_picture(container, real_video(container, name=name), name=name)
        turns, colours = quarter_turns(first), Colours.of(first)
    with open_video(path) as container:
        kind, stream = container.format.name, real_video(container, name=name)
        sound = sound_beside(container, stream)
        rate = Fraction(stream.guessed_rate or stream.average_rate or DEFAULT_FPS)
        clocks, origin_us = {}, max(0, container.start_time or 0)
        if kind in RESTARTING:
            times, _ = scan(container, stream, name=name)
            clocks, origin_us = times.clocks(stream.index), times.origin_us(container)
        return SourceInfo(
            stream=stream.index,
            sound=sound.index if sound else None,
            clocks=clocks,
            rate=min(max(rate, MIN_FPS), MAX_FPS).limit_denominator(1001),
            offset_s=-origin_us / MICROSECONDS,
            can_seek=kind not in RESTARTING,
            quarter_turns=turns,
            colours=colours,
        )


def clip_command(
    source: Path,
    target: Path,
    cut: Cut,
    info: SourceInfo,
    *,
    crop: Crop | None,
    count: int,
    table: Path | None,
) -> list[str]:
    """The ffmpeg command for a clip of `count` pictures, whose clock starts at 0 with the cut.

    Decoding begins with a key picture before the start. All pictures from before the start are dropped but
    the last one, which is on screen when the clip starts.
    """
    seek_s = max(0.0, cut.start_s - PREROLL_S) if info.can_seek else 0.0
    seek = {"noaccurate_seek": None, "ss": f"{seek_s:.6f}"} if seek_s else {}
    opened = ffmpeg_input(source, info.clocks, threads=THREADS, **steady_input(info.quarter_turns), **seek)
    shift_s = info.offset_s - cut.start_s
    rate = f"{info.rate.numerator}/{info.rate.denominator}"
    # The first filter gives all pictures the size and format of the first one, or leaves them alone.
    picture = opened[str(info.stream)].filter("scale", interl=-1)
    picture = picture.filter("bwdif", deint="interlaced").filter("settb", "AVTB")
    picture = picture.filter("setpts", f"PTS+({shift_s - TOLERANCE_S:.6f})/TB")
    picture = picture.filter("fps", fps=rate, round="up", start_time=0)
    picture = picture.filter("tpad", stop_mode="clone", stop_duration=1)
    streams = [_coloured(_shaped(_upright(picture, info.quarter_turns), crop), table)]
    if info.sound is not None:
        streams.append(_audio(opened[str(info.sound)], shift_s, seconds=float(count / info.rate)))
    output = ffmpeg.output(
        *streams,
        f"file:{target}",
        **VIDEO_CODING,
        **({} if info.sound is None else AUDIO_CODING),
        **{"frames:v": count, "g": round(2 * info.rate), "threads": THREADS, "map_metadata": -1},
        map_chapters=-1,
        movflags="+faststart",
        format="mp4",
    )
    return _quiet(output)


def poster_command(video: Path, target: Path, *, at_s: float) -> list[str]:
    """The ffmpeg command for the first picture that begins at `at_s` of a clip or later."""
    opened = ffmpeg.input(f"file:{video}", ss=f"{at_s:.6f}", protocol_whitelist="file")
    # JPEG has the matrix of BT.601, whatever its pixels say (ITU-T T.871, 6.2).
    picture = opened["0"].filter("scale", out_color_matrix="smpte170m", out_range="pc")
    output = picture.output(
        f"file:{target}", **{"frames:v": 1, "q:v": 3, "update": 1}, pix_fmt="yuvj420p", format="image2"
    )
    return _quiet(output)


def _upright(picture: Any, quarter_turns: int | None) -> Any:
    if quarter_turns is None:
        return picture  # ffmpeg does it
    for name, options in TURNS.get(quarter_turns, ()):
        picture = picture.filter(name, **options)
    return picture.filter("sidedata", mode="delete", type="DISPLAYMATRIX")


def _shaped(picture: Any, crop: Crop | None) -> Any:
    """Makes pixels square, crops to the middle, scales down to `MAX_SHORT_SIDE`, makes both sides even."""
    picture = picture.filter("scale", "iw*sar", "ih").filter("setsar", 1)
    if crop:
        wide, high = crop
        picture = picture.filter("crop", f"min(iw,ih*{wide}/{high})", f"min(ih,iw*{high}/{wide})")
    shrink = f"min(1,{MAX_SHORT_SIDE}/min(iw,ih))"
    return picture.filter("scale", f"trunc(iw*{shrink}/2)*2", f"trunc(ih*{shrink}/2)*2", flags="bicubic")


def _coloured(picture: Any, table: Path | None) -> Any:
    """Limited range; where there is a `colour_table`, BT.709 without what describes the colours before."""
    if table is None:
        return picture.filter("scale", out_range="tv")
    for name, options in table_filters(table):
        picture = picture.filter(name, **options)
    picture = picture.filter("sidedata", mode="delete")
    picture = picture.filter("setparams", color_primaries="bt709", color_trc="bt709")
    return picture.filter("scale", out_color_matrix="bt709", out_range="tv")


def _audio(audio: Any, shift_s: float, *, seconds: float) -> Any:
    """As long as the picture, filled up with silence at both ends."""
    audio = audio.filter("asetpts", f"PTS+({shift_s:.6f})/TB").filter("atrim", start=0, end=seconds)
    audio = audio.filter("aresample", AUDIO_CODING["ar"], **{"async": 1, "first_pts": 0})
    return audio.filter("apad", whole_dur=f"{seconds:.6f}")


def _quiet(output: Any) -> list[str]:
    quiet = output.global_args("-nostdin", "-hide_banner", "-loglevel", "error", "-y")
    arguments: list[str] = ffmpeg.compile(quiet, cmd=imageio_ffmpeg.get_ffmpeg_exe())
    return arguments


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    stderr = done.stderr.decode(errors="replace").strip()
    if "Cannot allocate memory" in stderr:
        raise MemoryError(stderr[-STDERR_TAIL_CHARS:])
    if done.returncode:
        last = (
            stderr.splitlines()[-1][:STDERR_TAIL_CHARS] if stderr else f"ffmpeg ended with {done.returncode}"
        )
        raise DecodeFailed(last, reason="clip_failed")


def _expect_pictures(video: Path, count: int) -> None:
    """Raises `DecodeFailed` for a clip cut short: ffmpeg reports no error if the source is broken midway."""
    with open_video(video) as container:
        found = container.streams.video[0].frames
    if found < count:
        raise DecodeFailed(f"only {found} of {count} pictures can be decoded", reason="clip_failed")


if __name__ == "__main__":
    run_job(ClipJob, do_job)
