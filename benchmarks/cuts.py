"""How many windows of real talks leave nobody cut off, before and after their ends are moved into pauses.

    python benchmarks/cuts.py VIDEO ...    writes benchmarks/results/cuts.json

Windows begin every second. `outside of speech`: at neither end voice activity detection hears somebody.
`clean`: cut so, with room before and after. `loud` are the clean places with a sound within 60 ms that is
louder than the quieter half of all speech: somebody may be cut off there after all.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from cyclopts import App

from tasks.adapters.video.sound.extract import RATE
from tasks.adapters.video.timeline import SOUND_NAME, DecodeLimits, decode_timeline
from tasks.core.geometry import FrameBudget
from tasks.core.records import VideoRef
from tasks.core.settings import Speech
from tasks.core.speech.cuts import Cutter
from tasks.core.speech.heard import Heard

RESULTS = Path(__file__).parent / "results" / "cuts.json"
SECONDS = (15, 59)
NEAR_MS, FRAME_MS = 60, 20
SMALL = FrameBudget(max_pixels=112 * 112, min_pixels=28 * 28, multiple_of=28)
LIMITS = DecodeLimits(deadline_s=1800, memory_bytes=4 * 10**9, max_duration_s=36_000, max_frames_bytes=10**10)

app = App(help=__doc__)


@app.default
def main(*videos: Path, output: Path = RESULTS) -> None:
    """Listen to the videos, cut all their windows, and write down how that went."""
    talks = {video.name: measured(video) for video in videos}
    result = {"command": "python benchmarks/cuts.py VIDEO ...", "talks": talks}
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(output.read_text(encoding="utf-8"))


def measured(video: Path) -> dict[str, Any]:
    """What comes of the windows of one talk, by their length."""
    with TemporaryDirectory() as folder:
        ref = VideoRef(str(video), "", video.stat().st_size)
        speech = {"speech_threshold": Speech().threshold}
        timeline = decode_timeline(video, ref, Path(folder), fps=1, budget=SMALL, limits=LIMITS, **speech)
        sound = np.fromfile(Path(folder, SOUND_NAME), np.int16).astype(np.float32)
    assert timeline.heard
    heard, levels = timeline.heard, levels_of(sound)
    spoken = sum(end - begin for begin, end in heard.speech) / heard.end_ms
    lengths = {seconds: windows_of(heard, levels, 1000 * seconds) for seconds in SECONDS}
    found = {f"{seconds} s": counts for seconds, counts in lengths.items() if counts}
    return {"seconds": round(timeline.duration_s, 1), "speech": round(spoken, 3), **found}


def windows_of(heard: Heard, levels: npt.NDArray[np.float64], length_ms: int) -> dict[str, Any] | None:
    """What comes of the windows of one length; None if the talk is shorter."""
    starts = range(0, heard.end_ms - length_ms + 1, 1000)
    if not starts:
        return None
    cutter = Cutter(heard.speech, end_ms=heard.end_ms)
    windows = [(start, start + length_ms) for start in starts]
    cuts = [cutter.cut(*window) for window in windows]
    before = [not is_spoken(a, heard) and not is_spoken(b, heard) for a, b in windows]
    after = [not is_spoken(cut.start_ms, heard) and not is_spoken(cut.end_ms, heard) for cut in cuts]
    lost = [length_ms - (cut.end_ms - cut.start_ms) for cut in cuts]
    places = {at for cut in cuts if cut.is_clean for at in (cut.start_ms, cut.end_ms)}
    return {
        "windows": len(windows),
        "outside of speech before": share(before),
        "clean": share([cut.is_clean for cut in cuts]),
        "worse": share([then and not now for then, now in zip(before, after, strict=True)]),
        "seconds shorter": round(sum(lost) / len(lost) / 1000, 2),
        "places": len(places),
        "loud": sorted(at / 1000 for at in places if is_loud(at, levels, heard)),
    }


def is_spoken(at: int, heard: Heard) -> bool:
    """Whether voice activity detection hears somebody at this time, and went on hearing them."""
    number = bisect_left(heard.speech, (at, 0)) - 1
    return number >= 0 and at < heard.speech[number][1]


def is_loud(at: int, levels: npt.NDArray[np.float64], heard: Heard) -> bool:
    """Whether a frame within `NEAR_MS` is louder than the quieter half of all that is speech."""
    spoken = np.concatenate([levels[a // FRAME_MS : b // FRAME_MS] for a, b in heard.speech])
    near = levels[max(0, at - NEAR_MS) // FRAME_MS : -(-(at + NEAR_MS) // FRAME_MS)]
    return bool(near.max(initial=-200) > np.median(spoken))


def levels_of(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The level of each `FRAME_MS` in dB."""
    frames = sound[: len(sound) // (size := RATE * FRAME_MS // 1000) * size].reshape(-1, size)
    return 20 * np.log10(np.maximum(1e-9, np.sqrt((frames.astype(np.float64) ** 2).mean(1)) / 32768))


def share(true: list[bool]) -> float:
    return round(sum(true) / len(true), 3)


if __name__ == "__main__":
    app()
