"""Speech begins and ends where Silero's own function says; coughs are none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tasks.core.speech.spans import speech_runs, speech_spans


@pytest.fixture
def threads_kept() -> Iterator[None]:
    """What imports the package of Silero sets those of torch to one."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.4, 0.7])
@pytest.mark.parametrize("power", [1, 3])
def test_stretches_are_those_of_the_package(threshold: float, power: int, threads_kept: None) -> None:
    from silero_vad import get_speech_timestamps_from_probs

    drawn = np.random.default_rng(power).random(3000) ** power
    probabilities = [*drawn.tolist(), 0.0, 0.0, 0.0]
    theirs = get_speech_timestamps_from_probs(
        probabilities,
        threshold=threshold,
        min_speech_duration_ms=0,
        min_silence_duration_ms=64,
        speech_pad_ms=0,
    )
    ours = list(speech_runs(probabilities, frame_ms=32, threshold=threshold))
    assert ours == [(span["start"] // 16, span["end"] // 16) for span in theirs]
    assert len(ours) > 1 or threshold < 0.1


@pytest.mark.parametrize(
    ("frames", "spans"),
    [
        ("", []),
        ("..........", []),
        ("##########", [(0, 320)]),
        ("..#######..", []),  # 224 ms: a cough
        ("..####...####..", [(64, 192), (288, 416)]),  # a pause in 256 ms of talk
        ("..####..####..", [(64, 384)]),  # a shorter one is none: its last quiet frame begins 32 ms later
        ("..########..........###..", [(64, 320)]),  # a click 320 ms later
        ("..########........###..", [(64, 320), (576, 672)]),  # a short word 256 ms later
        ("...........#########", [(352, 630)]),  # up to the end of the video
    ],
)
def test_short_sounds_count_only_near_talk(frames: str, spans: list[tuple[int, int]]) -> None:
    probabilities = [0.9 if frame == "#" else 0.1 for frame in frames]
    found = speech_spans(
        probabilities, frame_ms=32, end_ms=630 if len(frames) == 20 else 10_000, threshold=0.4
    )
    assert found == spans
