"""What listening costs on a CPU: its parts, Whisper, and its share of a whole run.

    python benchmarks/hearing.py VIDEO      writes benchmarks/results/hearing.json

All are CPU seconds of every thread and process together, which other programs make hardly longer. Whisper has
the size of openai/whisper-base, is untrained, and writes `TOKENS` for each chunk: as many as quick talk has.
What a run takes longer when it listens is the difference of runs with a tiny VideoMAE, in turn. Its share is
that of a run with one of true size and without the deep stage, which would only make it smaller.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from children import cpu_seconds
from cyclopts import App
from deep_stage_report import at_most, machine, provenance
from speed_fast import write_videomae
from speed_whole import rank
from untrained import WHISPER_BASE

from hookline.demo_whisper import write_whisper
from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.whisper import decoding
from tasks.adapters.models.whisper.model import load_whisper
from tasks.adapters.video.probe import open_video, packets, probe
from tasks.adapters.video.sound.extract import RATE, write_sound
from tasks.adapters.video.sound.loudness import momentary_loudness
from tasks.adapters.video.sound.vad import FRAME_MS, speech_probabilities
from tasks.core.settings import Speech
from tasks.core.speech.chunks import chunks
from tasks.core.speech.spans import Span, speech_spans

RESULTS = Path(__file__).parent / "results" / "hearing.json"
TOKENS, CHUNKS = 100, 4
app = App(help=__doc__)


@app.default
def main(video: Path, *, repeats: int = 3, output: Path = RESULTS) -> None:
    """Measure, and write down."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        parts, speech, end_ms = listening(video, folder / "sound.s16")
        whisper = writing(folder, folder / "sound.s16", speech, end_ms)
        whole = runs(video, folder, repeats=repeats)
    report = {
        **provenance(["python", "benchmarks/hearing.py", "VIDEO"]),
        "machine": machine(),
        "video": video.name,
        "listening": parts,
        "whisper": whisper,
        "whole run": whole,
        "goals": [
            at_most("CPU seconds an hour to take the sound", parts["sound"] * 60, 10),
            at_most("CPU seconds a minute to find speech", parts["speech"], 0.5),
            at_most("share of a run", whole["share"], 0.03),
        ],
    }
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(output.read_text(encoding="utf-8"))


def listening(video: Path, sound: Path) -> tuple[dict[str, float], list[Span], int]:
    """CPU seconds for a minute of video, by what is done; and when somebody speaks in it."""
    found = probe(video, name=video.name)
    assert found.sound
    track, duration_s = found.sound, float(found.end_s)
    end_ms = int(duration_s * 1000)

    def take() -> None:
        with open_video(video) as container:
            stream = container.streams[track.stream]
            clock = {"time_of": track.clock.continued, "offset_us": found.offset_us}
            write_sound(packets(container, stream), stream, sound, duration_s=duration_s, **clock)

    def find() -> list[Span]:
        probabilities = speech_probabilities(sound).tolist()
        return speech_spans(probabilities, frame_ms=FRAME_MS, end_ms=end_ms, threshold=Speech().threshold)

    seconds = {
        "sound": cpu_s(take),
        "speech": cpu_s(find),
        "loudness": cpu_s(lambda: momentary_loudness(sound)),
    }
    return {name: 60 * each / duration_s for name, each in seconds.items()}, find(), end_ms


def writing(folder: Path, sound: Path, speech: list[Span], end_ms: int) -> dict[str, Any]:
    """CPU seconds that Whisper takes for a second of sound."""
    write_whisper(folder / "whisper", sizes=WHISPER_BASE)
    model = load_whisper(resolve_checkpoint(str(folder / "whisper")), device="cpu")
    samples = np.memmap(sound, np.int16)

    def read(start_ms: int, end_ms: int) -> Any:
        return samples[start_ms * RATE // 1000 : end_ms * RATE // 1000].astype(np.float32) / 32768

    some, written = chunks(speech, end_ms=end_ms)[:CHUNKS], list[int]()
    write = model.decoder.write

    def counted(*given: Any) -> Any:
        rows = write(*given)
        written.extend(len(row.tokens) for row in rows)
        return rows

    for forbidden in (model.decoder._forbidden, model.decoder._forbidden_first):
        forbidden[model.tokens.end] = -torch.inf
    with patch.object(decoding, "MAX_TOKENS", TOKENS), patch.object(model.decoder, "write", counted):
        spent = cpu_s(lambda: list(model.hear(read, some, language="en")), times=1)
    heard_s = sum(end - start for start, end in some) / 1000
    return {
        "chunks": len(some),
        "tokens": written,
        "seconds of sound": heard_s,
        "for a second": spent / heard_s,
    }


def runs(video: Path, folder: Path, *, repeats: int) -> dict[str, Any]:
    """CPU seconds of whole runs that listen and that do not, in turn."""
    (folder / "videos").mkdir()
    (folder / "videos" / video.name).symlink_to(video.resolve())
    tiny = write_videomae(folder / "tiny", quick=True)
    true = write_videomae(folder / "videomae", quick=False)

    def run(fast: Checkpoint, name: str, *, listens: bool) -> float:
        before = cpu_seconds()
        options = ("--deep.enabled=false", f"--speech.enabled={str(listens).lower()}")
        rank(folder / "videos", folder / name, fast, Checkpoint(folder, "unused", ""), *options)
        return cpu_seconds() - before

    spent: dict[bool, list[float]] = {True: [], False: []}
    for number in range(repeats):
        for listens, seconds in spent.items():
            seconds.append(run(tiny, f"{number}-{listens}", listens=listens))
    whole = run(true, "true", listens=False)
    more = median(spent[True]) - median(spent[False])
    return {
        "tiny, listening": spent[True],
        "tiny, not": spent[False],
        "true size, not": whole,
        "share": more / whole,
    }


def cpu_s(work: Callable[[], object], *, times: int = 3) -> float:
    """The median of some tries, in CPU seconds of this process."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return median(spent)


if __name__ == "__main__":
    sys.exit(app())
