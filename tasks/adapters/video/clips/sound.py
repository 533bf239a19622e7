"""The sound of a clip: as long as its pictures, and as loud as platforms play it if that is wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from tasks.adapters.video.clips.program import quiet, run
from tasks.adapters.video.clips.source import SourceInfo
from tasks.core.views.pictures import Cut

RATE = 48_000
TARGET_LUFS = -14
"""So loud platforms play sound: they make louder one quieter, and leave quieter one as it is."""
MAX_PEAK_DB = -2.5
"""Of true peaks; coding as AAC adds up to 1 dB."""
MAX_GAIN_DB = 20
"""What is quieter is noise, and stays quiet."""
SILENCE_LUFS = -70
ROUNDS = 2
"""How often the gain is set anew for what limiting took away."""
OVERSAMPLED = 4 * RATE
"""True peaks lie between samples (ITU-R BS.1770-5, annex 2)."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What brings sound to its loudness: by how much it is made louder, and whether its peaks are limited."""

    db: float
    limited: bool = False


def sound_of(opened: Any, cut: Cut, info: SourceInfo, *, seconds: float) -> Any:
    """The sound of a cut, filled up with silence at both ends."""
    audio = opened[str(info.sound)].filter("asetpts", f"PTS+({info.shift_s(cut.start_s):.6f})/TB")
    audio = audio.filter("atrim", start=0, end=seconds)
    audio = audio.filter("aresample", RATE, **{"async": 1, "first_pts": 0})
    return audio.filter("apad", whole_dur=f"{seconds:.6f}")


def gain_of(source: Path, cut: Cut, info: SourceInfo, *, seconds: float) -> Gain | None:
    """What makes the sound of a cut as loud as `TARGET_LUFS`; None where there is none, or silence."""
    if info.sound is None:
        return None

    def measured(gain: Gain) -> tuple[float, float]:
        opened = info.opened(source, start_s=cut.start_s)
        return _loudness(levelled(sound_of(opened, cut, info, seconds=seconds), gain))

    loud, peak = measured(Gain(0))
    if loud <= SILENCE_LUFS:
        return None
    target = min(TARGET_LUFS, loud + MAX_GAIN_DB)
    gain = Gain(target - loud)
    if peak + gain.db <= MAX_PEAK_DB:
        return gain
    for _ in range(ROUNDS):
        gain = Gain(gain.db, limited=True)
        gain = Gain(gain.db + target - measured(gain)[0], limited=True)
    return gain


def levelled(audio: Any, gain: Gain) -> Any:
    """The same sound with this gain, in stereo, as it is coded: the loudness of other channels differs."""
    audio = audio.filter("aformat", sample_fmts="dbl", channel_layouts="stereo")
    audio = audio.filter("volume", f"{gain.db:.2f}dB", precision="double")
    if not gain.limited:
        return audio
    most = 10 ** (MAX_PEAK_DB / 20)
    audio = audio.filter("aresample", OVERSAMPLED).filter("alimiter", limit=f"{most:.4f}", level=0, latency=1)
    return audio.filter("aresample", RATE)


def _loudness(audio: Any) -> tuple[float, float]:
    """The integrated loudness of sound in LUFS, and its true peak in dB, both of EBU R128."""
    output = ffmpeg.output(audio.filter("loudnorm", print_format="json"), "-", format="null")
    said = run(quiet(output, level="info")).stderr
    report = json.loads(said[said.rindex("{") : said.rindex("}") + 1])
    return float(report["input_i"]), float(report["input_tp"])
