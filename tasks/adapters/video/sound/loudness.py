"""How loud a sound is, by EBU R128, as ffmpeg measures it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from tasks.adapters.video.sound.extract import RATE

STEP_S = Fraction(1, 10)
"""How often the filter measures."""
SILENT_LUFS = -70.0
"""What is not louder counts as silence (the absolute gate of ITU-R BS.1770)."""
KEY = "lavfi.r128.M"


def momentary_loudness(sound: Path) -> list[float]:
    """The momentary loudness in LUFS after each tenth of a second of a sound: of the 400 ms before.

    The sound is raw int16, mono, 16 kHz. It is measured as coming from two loudspeakers, as that of a video
    does; silence is -70.
    """
    graph = Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="s16", layout="mono", time_base=Fraction(1, RATE))
    meter = graph.add("ebur128", "metadata=1:dualmono=1")
    source.link_to(meter)
    meter.link_to(graph.add("abuffersink"))
    graph.configure()
    return [
        max(SILENT_LUFS, round(float(measured.metadata[KEY]), 1))
        for frame in _frames(sound)
        for measured in _measured(graph, frame)
    ]


def _frames(sound: Path) -> Iterator[Any]:
    size, begin = int(RATE * STEP_S), 0
    with sound.open("rb") as file:
        while len(samples := np.fromfile(file, np.int16, size)) == size:
            frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
            begin += size
            yield frame


def _measured(graph: Graph, frame: Any) -> Iterator[Any]:
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except av.BlockingIOError:
            return
