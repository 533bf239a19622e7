"""The cutting child: reads one job from standard input, cuts one clip, prints one result.

Started by `tasks.adapters.video.clips` as a program.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

from tasks.adapters.video.packet_times import DISCONTINUOUS, MICROSECONDS
from tasks.adapters.video.probe import FORMATS, MAX_PIXELS, PROTOCOLS, offset_us, open_video, real_video
from tasks.adapters.video.sandbox import run_job
from tasks.core.errors import DecodeFailed, VideoRefused
from tasks.core.views.pictures import Crop, Cut

THREADS = min(4, os.cpu_count() or 1)
PREROLL_S = 3.0
"""So much earlier is the place that is looked for in the file: seeking is not exact everywhere."""
TOLERANCE_S = 0.001
"""A picture counts as begun so much earlier: times are rounded, in Matroska to milliseconds."""
SLOWEST, FASTEST, UNKNOWN = Fraction(10), Fraction(60), Fraction(30)
"""Pictures a second in a clip: those of the video, within bounds that phones play."""
SHORT_SIDE = 1080
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
SOUND_CODING = {"c:a": "aac", "b:a": "160k", "ar": 48000, "ac": 2}


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What must be known of a file to cut it.

    `stream` is the picture's, `offset_s` brings ffmpeg's clock to the video's own (see `probe`).
    """

    stream: int
    rate: Fraction
    offset_s: float
    has_sound: bool
    can_seek: bool


def main() -> None:
    """Does the job on standard input; its result is `{}`, or `{"failed": {...}}`."""
    run_job(result_of)


def result_of(job: dict[str, Any]) -> dict[str, Any]:
    try:
        cut_out(job)
    except (DecodeFailed, VideoRefused) as error:
        message = f"No clip could be cut out of '{job['name']}' ({error})."
        return {"failed": {"message": message, "reason": "clip_failed"}}
    except MemoryError:
        message = f"Cutting a clip of '{job['name']}' ran out of memory: raise limits.memory_gb."
        return {"failed": {"message": message, "reason": "out_of_memory"}}
    return {}


def cut_out(job: dict[str, Any]) -> None:
    """Writes the clip and its poster."""
    source, video, poster = Path(job["source"]), Path(job["video"]), Path(job["poster"])
    cut, crop = Cut(**job["cut"]), job["crop"]
    facts = look_into(source, name=job["name"])
    count = max(1, round((cut.end_s - cut.start_s) * facts.rate))
    _run(clip_command(source, video, cut, facts, crop=crop, count=count))
    _expect_pictures(video, count)
    _run(poster_command(video, poster, at_s=min(cut.poster_s - cut.start_s, float((count - 1) / facts.rate))))


def look_into(path: Path, *, name: str) -> SourceInfo:
    """Reads the beginning of a file that has been decoded before."""
    with open_video(path) as container:
        stream = real_video(container, name=name)
        sounds = container.streams.audio[:1]
        rate = Fraction(stream.guessed_rate or stream.average_rate or UNKNOWN)
        return SourceInfo(
            stream=stream.index,
            rate=min(max(rate, SLOWEST), FASTEST).limit_denominator(1001),
            offset_s=offset_us(container, stream, *sounds) / MICROSECONDS,
            has_sound=bool(sounds),
            can_seek=container.format.name not in DISCONTINUOUS,
        )


def clip_command(
    source: Path, target: Path, cut: Cut, facts: SourceInfo, *, crop: Crop | None, count: int
) -> list[str]:
    """The ffmpeg command for a clip of `count` pictures, whose clock starts at 0 with the cut.

    Everything from the key picture before the start is decoded and then dropped but for the last one
    begun: that is on screen when the clip starts, however long it has been there.
    """
    seek_s = max(0.0, cut.start_s - PREROLL_S) if facts.can_seek else 0.0
    opened = ffmpeg.input(
        f"file:{source}",
        protocol_whitelist=PROTOCOLS,
        format_whitelist=FORMATS,
        max_pixels=MAX_PIXELS,
        threads=THREADS,
        **({"noaccurate_seek": None, "ss": f"{seek_s:.6f}"} if seek_s else {}),
    )
    # Not by -itsoffset: where the clock may jump, ffmpeg would take the shift for a jump.
    later_s = facts.offset_s + seek_s - cut.start_s
    rate = f"{facts.rate.numerator}/{facts.rate.denominator}"
    picture = opened[str(facts.stream)].filter("bwdif", deint="interlaced").filter("settb", "AVTB")
    picture = picture.filter("setpts", f"PTS+({later_s - TOLERANCE_S:.6f})/TB")
    picture = picture.filter("fps", fps=rate, round="up", start_time=0)
    picture = picture.filter("tpad", stop_mode="clone", stop_duration=1)
    streams = [_shaped(picture, crop)]
    if facts.has_sound:
        streams.append(_sound(opened["a:0"], later_s, seconds=float(count / facts.rate)))
    output = ffmpeg.output(
        *streams,
        f"file:{target}",
        **VIDEO_CODING,
        **(SOUND_CODING if facts.has_sound else {}),
        **{"frames:v": count, "g": round(2 * facts.rate), "threads": THREADS, "map_metadata": -1},
        map_chapters=-1,
        movflags="+faststart",
        format="mp4",
    )
    return _quiet(output)


def poster_command(video: Path, target: Path, *, at_s: float) -> list[str]:
    """The ffmpeg command for the picture that is on screen at `at_s` of a clip."""
    opened = ffmpeg.input(f"file:{video}", ss=f"{max(0.0, at_s):.6f}", protocol_whitelist=PROTOCOLS)
    output = opened["0"].output(
        f"file:{target}", **{"frames:v": 1, "q:v": 3, "update": 1}, pix_fmt="yuvj420p", format="image2"
    )
    return _quiet(output)


def _shaped(picture: Any, crop: Crop | None) -> Any:
    """Square pixels, cut to `crop` from the middle, no larger than phones play, sides even."""
    picture = picture.filter("scale", "iw*sar", "ih").filter("setsar", 1)
    if crop:
        wide, high = crop
        picture = picture.filter("crop", f"min(iw,ih*{wide}/{high})", f"min(ih,iw*{high}/{wide})")
    shrink = f"min(1,{SHORT_SIDE}/min(iw,ih))"
    return picture.filter("scale", f"trunc(iw*{shrink}/2)*2", f"trunc(ih*{shrink}/2)*2", flags="bicubic")


def _sound(sound: Any, later_s: float, *, seconds: float) -> Any:
    """As long as the picture: silence where the video has none yet, or none any more."""
    sound = sound.filter("asetpts", f"PTS+({later_s:.6f})/TB").filter("atrim", start=0, end=seconds)
    sound = sound.filter("aresample", SOUND_CODING["ar"], **{"async": 1, "first_pts": 0})
    return sound.filter("apad", whole_dur=f"{seconds:.6f}")


def _quiet(output: Any) -> list[str]:
    quiet = output.global_args("-nostdin", "-hide_banner", "-loglevel", "error", "-y")
    arguments: list[str] = ffmpeg.compile(quiet, cmd=imageio_ffmpeg.get_ffmpeg_exe())
    return arguments


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    words = done.stderr.decode(errors="replace").strip()
    if "Cannot allocate memory" in words:
        raise MemoryError(words[-STDERR_TAIL_CHARS:])
    if done.returncode:
        last = words.splitlines()[-1][:STDERR_TAIL_CHARS] if words else f"ffmpeg ended with {done.returncode}"
        raise DecodeFailed(last, reason="clip_failed")


def _expect_pictures(video: Path, count: int) -> None:
    """A file that is broken in the middle ends the clip early, without an error."""
    with open_video(video) as container:
        found = container.streams.video[0].frames
    if found < count:
        raise DecodeFailed(f"only {found} of {count} pictures can be decoded", reason="clip_failed")


if __name__ == "__main__":
    main()
