"""Videos whose picture is white, and whose sound beeps, every 2 s of presentation time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from tasks.adapters.video.probe import open_video, probe, real_video

EVERY_S = 2
FPS = 25
WIDTH, HEIGHT = 64, 48
BLOCK = 1024
"""Samples of one frame of sound."""
CLOCK = Fraction(1, 90_000)


def beeping_video(
    path: Path,
    *,
    seconds: float = 9,
    picture_at_s: float = 0,
    sound_at_s: float = 0,
    sound_until_s: float | None = None,
    starts_at_s: float = 0,
    pause_s: tuple[float, float] = (0, 0),
    drift: float = 0,
    codec: str = "aac",
    rate: int = 48_000,
    layout: str = "mono",
    keep_times: bool = False,
) -> Path:
    """Picture and sound from their own times on, of a presentation that starts at `starts_at_s`.

    There is no sound in the `pause_s`. `drift` is how much slower the clock of the sound's times goes.
    `keep_times` writes times from before 0 as they are.
    """
    options = {"avoid_negative_ts": "disabled"} if keep_times else {}
    with av.open(str(path), "w", options=options) as out:
        video = out.add_stream("libx264", FPS, options={"preset": "ultrafast", "bf": "2"})
        video.width, video.height, video.pix_fmt, video.time_base = WIDTH, HEIGHT, "yuv420p", CLOCK
        sound = out.add_stream(codec, rate)
        sound.layout = layout
        pictures = (picture_at_s + k / FPS for k in range(round((seconds - picture_at_s) * FPS)))
        blocks = round(((sound_until_s or seconds) - sound_at_s) * rate / BLOCK)
        sounds = (sound_at_s + k * BLOCK / rate for k in range(blocks))
        heard = (at for at in sounds if not pause_s[0] <= at < pause_s[1])
        for at, is_sound in sorted([*((at, False) for at in pictures), *((at, True) for at in heard)]):
            frame = _beep(at, rate, sound.layout.nb_channels, layout) if is_sound else _flash(at)
            shown = at + starts_at_s + (drift * (at - sound_at_s) if is_sound else 0)
            frame.time_base = Fraction(1, rate) if is_sound else CLOCK
            frame.pts = round(shown / frame.time_base)
            out.mux((sound if is_sound else video).encode(frame))
        for stream in (video, sound):
            out.mux(stream.encode(None))
    return path


def _flash(at_s: float) -> av.VideoFrame:
    beat = at_s / EVERY_S
    white = at_s > 1 and abs(beat - round(beat)) * EVERY_S < 0.5 / FPS
    shade = np.full((HEIGHT, WIDTH), 255 if white else 0, np.uint8)
    return av.VideoFrame.from_ndarray(shade, "gray").reformat(format="yuv420p")


def _beep(at_s: float, rate: int, channels: int, layout: str) -> av.AudioFrame:
    times = at_s + np.arange(BLOCK) / rate
    into = np.mod(times + 1e-9, EVERY_S)
    tone = np.where((into < 0.1) & (times > 1), 0.6 * np.cos(2000 * np.pi * into), 0)
    samples = np.repeat((tone * 32767).astype(np.int16), channels)[None]
    frame = av.AudioFrame.from_ndarray(samples, "s16", layout)
    frame.sample_rate = rate
    return frame


def white_pictures_s(path: Path) -> list[float]:
    """When the white pictures are shown, on the timeline's clock."""
    found = probe(path, name=path.name)
    times, before = [], False
    with open_video(path) as container:
        stream = real_video(container, name=path.name)
        stream.codec_context.thread_count = 1
        for pts, picture in zip(found.pts, container.decode(stream), strict=True):
            white = picture.to_ndarray(format="gray").mean() > 200
            if white and not before:
                times.append(float(pts * found.time_base))
            before = white
    return times


def beeps_s(sound: npt.NDArray[np.int16], *, rate: int = 16_000) -> list[float]:
    """When beeps begin in a sound: where it is loud after half a second that is not."""
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 3000)
    begins = loud[np.diff(loud, prepend=-rate) > rate / 2]
    return [float(at) for at in begins / rate]
