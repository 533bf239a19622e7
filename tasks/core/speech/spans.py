"""From how likely somebody speaks to when somebody does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

HYSTERESIS = 0.15
"""Speech goes on until the probability is this much below the threshold (Silero's `neg_threshold`)."""
MIN_PAUSE_MS = 64
"""Shorter ones lie inside of words."""
MIN_SPEECH_MS = 250
"""What is shorter, with what lies near it, is a cough or a click."""
NEAR_MS = 300
"""Speech after a shorter pause is the same talk."""

Span = tuple[int, int]
"""From when to when, in milliseconds on the video's own clock."""


def speech_spans(
    probabilities: Sequence[float], *, frame_ms: int, end_ms: int, threshold: float
) -> list[Span]:
    """When somebody speaks, in order; what lies between are pauses.

    `probabilities` are those of frames of `frame_ms`, the first of which begins at 0; the last one may reach
    beyond `end_ms`.
    """
    talks = _talks(speech_runs(probabilities, frame_ms=frame_ms, threshold=threshold))
    return [(begin, min(end, end_ms)) for talk in talks for begin, end in talk]


def speech_runs(probabilities: Sequence[float], *, frame_ms: int, threshold: float) -> Iterator[Span]:
    """Stretches of speech between pauses, however short: what Silero's own function finds."""
    begin = pause = None
    for number, probability in enumerate([*probabilities, *[0.0] * (1 + MIN_PAUSE_MS // frame_ms)]):
        now = min(number, len(probabilities)) * frame_ms
        if probability >= threshold:
            begin, pause = now if begin is None else begin, None
        elif begin is not None and probability < max(threshold - HYSTERESIS, 0.01):
            pause = now if pause is None else pause
            if number * frame_ms - pause >= MIN_PAUSE_MS:
                yield begin, pause
                begin = pause = None


def _talks(runs: Iterator[Span]) -> Iterator[list[Span]]:
    """Stretches of speech that lie near each other, and are long enough together."""
    every = list(runs)
    talk = every[:1]
    for before, run in pairwise(every):
        if run[0] - before[1] >= NEAR_MS:
            yield from _long_enough(talk)
            talk = []
        talk.append(run)
    yield from _long_enough(talk)


def _long_enough(talk: list[Span]) -> Iterator[list[Span]]:
    if sum(end - begin for begin, end in talk) >= MIN_SPEECH_MS:
        yield talk
