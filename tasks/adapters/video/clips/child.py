"""The program that cuts one clip with ffmpeg; `tasks.adapters.video.clips.cutting` runs it in the sandbox."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import ffmpeg

from tasks.adapters.video.clips.captions import check_fonts, write_script
from tasks.adapters.video.clips.cutting import ClipJob
from tasks.adapters.video.clips.framing import framing_of, position
from tasks.adapters.video.clips.program import quiet, run
from tasks.adapters.video.clips.shots import free_of_flashes
from tasks.adapters.video.clips.sound import RATE, Gain, gain_of, levelled, sound_of
from tasks.adapters.video.clips.source import THREADS, TOLERANCE_S, SourceInfo, read_info
from tasks.adapters.video.probe import open_video
from tasks.adapters.video.shaping import colour_table, table_filters
from tasks.core.errors import DecodeFailed, VideoRefused
from tasks.core.views.pictures import Crop, Cut, Framing

SHORT_SIDE = 1080

MAX_LONG_SIDE = 4096
"""What hardware decodes of H.264 (level 5.2). A strip gets no longer, and no higher than that allows."""

VIDEO_CODING = {
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 21,
    "maxrate": "12M",
    "bufsize": "24M",
    "profile:v": "high",
    "pix_fmt": "yuv420p",
}
AUDIO_CODING = {"c:a": "aac", "b:a": "160k", "ar": RATE, "ac": 2}


def do_job(job: ClipJob) -> dict[str, Any]:
    """Writes the clip and its poster; the start and the end of the cut that was made, and its framing.

    Raises `DecodeFailed`, with a message about the clip.
    """
    try:
        cut, framing = cut_out(job)
    except MemoryError as error:
        message = f"Cutting a clip of '{job.name}' ran out of memory: raise limits.memory_gb."
        raise DecodeFailed(message, reason="out_of_memory") from error
    except (DecodeFailed, VideoRefused, av.FFmpegError) as error:
        message = f"No clip could be cut out of '{job.name}' ({error})."
        raise DecodeFailed(message, reason="clip_failed") from error
    return {"start_s": cut.start_s, "end_s": cut.end_s, "framing": [asdict(each) for each in framing]}


def cut_out(job: ClipJob) -> tuple[Cut, list[Framing]]:
    """Writes the clip and its poster; the cut that was made, and its framing."""
    source, video, poster, cut = Path(job.source), Path(job.video), Path(job.poster), Cut(**job.cut)
    info = read_info(source, name=job.name)
    cut = free_of_flashes(cut, source, info)
    count = max(1, round((cut.end_s - cut.start_s) * info.rate))
    seconds = float(count / info.rate)
    framing = framing_of(job, cut, info, count=count)
    crop_x = position(framing, cut, info)
    gain = gain_of(source, cut, info, seconds=seconds) if job.loudness else None
    captions = write_script(job.words, cut, job.crop or info.size, folder=video.parent)
    with colour_table(info.colours, folder=video.parent) as table:
        shown = partial(_shaped, crop=job.crop, crop_x=crop_x, enlarged=job.enlarged)
        command = clip_command(
            source, video, cut, info, shaped=shown, count=count, table=table, captions=captions, gain=gain
        )
        check_fonts(run(command).stderr)
    _expect_pictures(video, count)
    number = max(1, min(math.ceil((cut.poster_s - cut.start_s) * info.rate - TOLERANCE_S), count)) - 1
    run(poster_command(video, poster, at_s=max(0.0, float((number - Fraction(1, 2)) / info.rate))))
    return cut, framing


def clip_command(
    source: Path,
    target: Path,
    cut: Cut,
    info: SourceInfo,
    *,
    shaped: Callable[[Any], Any],
    count: int,
    table: Path | None,
    captions: Path | None,
    gain: Gain | None,
) -> list[str]:
    """The ffmpeg command for a clip of `count` pictures, whose clock starts at 0 with the cut.

    `shaped` adds the filters that give a picture the shape of the clip.
    """
    opened = info.opened(source, start_s=cut.start_s)
    picture = info.pictures(opened, start_s=cut.start_s)
    picture = picture.filter("tpad", stop_mode="clone", stop_duration=1)
    picture = _coloured(shaped(info.upright(picture)), table)
    streams = [picture.filter("ass", str(captions)) if captions else picture]
    if info.sound is not None:
        sound = sound_of(opened, cut, info, seconds=float(count / info.rate))
        streams.append(levelled(sound, gain) if gain else sound)
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
    return quiet(output, level="warning" if captions else "error")


def poster_command(video: Path, target: Path, *, at_s: float) -> list[str]:
    """The ffmpeg command for the first picture that begins at `at_s` of a clip or later."""
    opened = ffmpeg.input(f"file:{video}", ss=f"{at_s:.6f}", protocol_whitelist="file")
    # JPEG has the matrix of BT.601, whatever its pixels say (ITU-T T.871, 6.2).
    picture = opened["0"].filter("scale", out_color_matrix="smpte170m", out_range="pc")
    output = picture.output(
        f"file:{target}", **{"frames:v": 1, "q:v": 3, "update": 1}, pix_fmt="yuvj420p", format="image2"
    )
    return quiet(output)


def _shaped(picture: Any, *, crop: Crop | None, crop_x: str, enlarged: bool) -> Any:
    """Makes pixels square, crops around the expression `crop_x`, scales to `SHORT_SIDE`, makes sides even.

    What is smaller is left as it is, unless it is to be `enlarged`.
    """
    picture = picture.filter("scale", "iw*sar", "ih").filter("setsar", 1)
    if crop:
        wide, high = crop
        size = (f"min(iw,ih*{wide}/{high})", f"min(ih,iw*{high}/{wide})")
        picture = picture.filter("crop", *size, x=f"clip(iw*({crop_x})-ow/2,0,iw-ow)")
    if enlarged and crop:
        sides = [str(round(SHORT_SIDE * side / min(crop) / 2) * 2) for side in crop]
    else:
        most = f"min({SHORT_SIDE}/min(iw,ih),{MAX_LONG_SIDE}/max(iw,ih))"
        scale = most if enlarged else f"min(1,{most})"
        sides = [f"max(2,trunc({side}*{scale}/2+1e-6)*2)" for side in ("iw", "ih")]
    return picture.filter("scale", *sides, flags="bicubic").filter("setsar", 1)


def _coloured(picture: Any, table: Path | None) -> Any:
    """Limited range; where there is a `colour_table`, BT.709 without what describes the colours before."""
    if table is None:
        return picture.filter("scale", out_range="tv")
    for name, options in table_filters(table):
        picture = picture.filter(name, **options)
    picture = picture.filter("sidedata", mode="delete")
    picture = picture.filter("setparams", color_primaries="bt709", color_trc="bt709")
    return picture.filter("scale", out_color_matrix="bt709", out_range="tv")


def _expect_pictures(video: Path, count: int) -> None:
    """Raises `DecodeFailed` for a clip cut short: ffmpeg reports no error if the source is broken midway."""
    with open_video(video) as container:
        found = container.streams.video[0].frames
    if found < count:
        raise DecodeFailed(f"only {found} of {count} pictures can be decoded", reason="clip_failed")
