"""Chunks of speech: what is written down at once, cut by where the whole video pauses.

Which words are written depends on where a chunk begins and ends. So no chunk depends on what is asked about:
the same video always has the same chunks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tasks.core.speech.spans import Span

RATE = 16_000
"""Of the sound that models hear: samples a second."""
MAX_CHUNK_MS = 28_000
"""Whisper hears 30 s at once."""
LONG_PAUSE_MS = 3_000
"""Over a longer pause no chunk goes on: in silence and music a model hears words that nobody says."""
PAD_MS = 200
"""Voice activity detection is late by up to 150 ms."""
LANGUAGE_CHUNKS = 8
"""Chunks of a video, evenly spread, by which its language is told."""

ReadSound = Callable[[int, int], npt.NDArray[np.float32]]
"""Gives the sound of a video from and to these milliseconds: `RATE`, mono, -1 to 1."""


def chunks(speech: Sequence[Span], *, end_ms: int) -> list[Span]:
    """All speech of a video that ends at `end_ms`, in chunks that do not overlap, in order.

    A chunk ends at the longest pause that makes it long, and has a part of the pauses around it.
    """
    bare = [chunk for talk in _talks(speech) for chunk in _cut(talk)]
    if not bare:
        return []
    starts, ends = [max(0, bare[0][0] - PAD_MS)], []
    for (_, end), (start, _) in pairwise(bare):
        side = min(PAD_MS, (start - end) // 2)
        ends.append(end + side)
        starts.append(start - side)
    ends.append(min(bare[-1][1] + PAD_MS, max(end_ms, bare[-1][1])))
    return list(zip(starts, ends, strict=True))


def touching(chunked: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Those of the chunks that have something in common with one of the spans."""
    return [chunk for chunk in chunked if any(chunk[0] < end and start < chunk[1] for start, end in spans)]


def telling(chunked: Sequence[Span]) -> list[Span]:
    """The chunks by which the language of a video is told: some `LANGUAGE_CHUNKS` of them, evenly spread.

    >>> telling([(k, k + 1) for k in range(20)])[:3]
    [(1, 2), (3, 4), (6, 7)]
    """
    count = min(LANGUAGE_CHUNKS, len(chunked))
    return [chunked[(2 * k + 1) * len(chunked) // (2 * count)] for k in range(count)]


def vote(
    languages: Sequence[str], probabilities: Sequence[Sequence[float]], heard: Sequence[Span]
) -> str | None:
    """The language that has half of the votes of these chunks, each of which counts by its length.

    >>> vote(["en", "es"], [[0.9, 0.1], [0.2, 0.8]], [(0, 28000), (28000, 31000)])
    'en'
    """
    if not heard:
        return None
    lengths = [end - start for start, end in heard]
    shares = np.average(np.array(probabilities, np.float64), axis=0, weights=lengths)
    best = int(shares.argmax())
    return languages[best] if shares[best] >= 0.5 else None


def _talks(speech: Sequence[Span]) -> Iterator[list[Span]]:
    """Speech between long pauses; of what goes on for too long without any, equal parts."""
    talk: list[Span] = []
    for start, end in speech:
        if talk and start - talk[-1][1] >= LONG_PAUSE_MS:
            yield talk
            talk = []
        parts = -(-(end - start) // MAX_CHUNK_MS)
        edges = [start + (end - start) * k // parts for k in range(parts + 1)]
        talk += pairwise(edges)
    if talk:
        yield talk


def _cut(talk: Sequence[Span]) -> Iterator[Span]:
    """Chunks of a talk. Each but the last ends at the longest pause of those that make it long enough."""
    ends, first = [end for _, end in talk], 0
    while ends[-1] - (begin := talk[first][0]) > MAX_CHUNK_MS:
        fitting = bisect_right(ends, begin + MAX_CHUNK_MS) - 1
        long = bisect_left(ends, begin + MAX_CHUNK_MS // 2)
        last = max(range(min(long, fitting), fitting + 1), key=lambda n: (talk[n + 1][0] - ends[n], n))
        yield begin, ends[last]
        first = last + 1
    yield begin, ends[-1]
