"""Windows moved to where nobody speaks: integers only (milliseconds), and nothing is drawn by chance."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from unicodedata import category, normalize

from tasks.core.speech.heard import Word
from tasks.core.speech.spans import Span

LONG_PAUSE_MS = 600
"""So long speakers pause between two thoughts; most shorter ones lie between words."""
LEAD_MS, TAIL_MS = 150, 250
"""How long before speech a cut begins, and how long after it one ends; at most the middle of the pause."""
LATE_END_MS = 50
"""Voice activity detection finds the end of speech some 75 ms late, its start seldom as much: the middle of
the silence lies before that of the pause. (Measured with synthetic voices in eight languages.)"""
MAX_SHIFT_MS = 3000
SHIFTS_PER_WINDOW = 4
"""Each end of a window is moved by at most `MAX_SHIFT_MS`, and a quarter of the window."""
SECOND_MS, MINUTE_MS = 1000, 59_900
"""A window of 59 s may become a cut of 59.9 s: it is so long because platforms take less than a minute."""
SENTENCE_END = (".", "!", "?", "。", "؟", "।")
"""How the last word of a sentence ends, less the quotes and brackets that close with it."""
NEAR_MS = 500
"""A word that ends longer before a pause is not the last one before it: others between are not known."""

SENTENCE, LONG, SHORT, SPOKEN = 0, 1, 2, 5
"""How bad a place to cut is: where a sentence or all speech ends, a long pause, a short one, where somebody
speaks. Two short pauses are better than one place where somebody speaks."""

Option = tuple[int, int, int]
"""How bad a place is, how far away, and when: the least is the best."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a window becomes, in milliseconds `[start_ms, end_ms)` on the video's own clock.

    `is_clean`: nobody is cut off at either end. `speech_ratio` is how much of it somebody speaks.
    """

    start_ms: int
    end_ms: int
    is_clean: bool
    speech_ratio: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where nobody is cut off, from `begin` to `end`: clips begin best at its end, and end at its begin."""

    begin: int
    end: int
    badness: int


class Cutter:
    """Finds the cuts of one video, in which `speech` and silence follow each other until `end_ms`."""

    def __init__(self, speech: Sequence[Span], *, end_ms: int) -> None:
        self._end_ms = end_ms
        self._speech = speech
        self._spoken_ms = [0, *accumulate(end - begin for begin, end in speech)]
        edges = [0, *chain.from_iterable(speech), end_ms]
        self._pauses = list(zip(edges[::2], edges[1::2], strict=True))
        self._places = list(_places(self._pauses))
        self._begins = [place.begin for place in self._places]
        self._ends = [place.end for place in self._places]

    def cut(self, start_ms: int, end_ms: int, words: Sequence[Word] = ()) -> Cut:
        """The best cut near a window, and never longer than `longest`.

        Ends of sentences before long pauses before short ones, both ends together; then the smallest shifts;
        then the earlier. Where nothing is better, an end stays where it is. `words` are those near the window
        in order of time, as far as they are known: they tell where sentences end.
        """
        most, shift = longest(end_ms - start_ms), max_shift(end_ms - start_ms)
        starts = self._options(start_ms, self._ends, words, edge=0, shift=shift)
        ends = self._options(end_ms, self._begins, words, edge=self._end_ms, shift=shift)
        badness, _, start, end = min(
            (a[0] + b[0], a[1] + b[1], a[2], b[2]) for a in starts for b in ends if b[2] - a[2] <= most
        )
        return Cut(start, end, badness < SPOKEN, round(self._spoken(start, end) / max(1, end - start), 3))

    def _options(
        self, at: int, times: Sequence[int], words: Sequence[Word], *, edge: int, shift: int
    ) -> list[Option]:
        """Every place to cut within `shift`: the time itself, the edge of the video, pauses."""
        holds = bisect_right(self._begins, at) - 1
        stays = self._badness(holds, words) if at <= self._ends[holds] else SPOKEN
        options = [(stays, 0, at)]
        if abs(edge - at) <= shift:
            options.append((SENTENCE, abs(edge - at), edge))
        near = range(bisect_left(times, at - shift), bisect_right(times, at + shift))
        return options + [(self._badness(i, words), abs(times[i] - at), times[i]) for i in near]

    def _badness(self, number: int, words: Sequence[Word]) -> int:
        """How bad a place to cut is, as far as its length and these words tell."""
        begin, end = self._pauses[number]
        before = bisect_left(words, begin + end, key=lambda word: word.start_ms + word.end_ms)
        ends_sentence = before > 0 and _ends_sentence(words[before - 1], begin)
        return SENTENCE if ends_sentence else self._places[number].badness

    def _spoken(self, start_ms: int, end_ms: int) -> int:
        """How many milliseconds of it somebody speaks."""
        return self._spoken_before(end_ms) - self._spoken_before(start_ms)

    def _spoken_before(self, at: int) -> int:
        count = bisect_left(self._speech, (at, 0))
        rest = self._speech[count - 1][1] - at if count else 0
        return self._spoken_ms[count] - max(0, rest)


def longest(length_ms: int) -> int:
    """How long the cut of a window of this length may be.

    >>> longest(15_000), longest(59_000)
    (15000, 59900)
    """
    return MINUTE_MS if MINUTE_MS - SECOND_MS < length_ms < MINUTE_MS else length_ms


def max_shift(length_ms: int) -> int:
    """How far each end of a window of this length may be moved."""
    return min(MAX_SHIFT_MS, length_ms // SHIFTS_PER_WINDOW)


def _places(pauses: Sequence[Span]) -> Iterator[Place]:
    """The pauses as places to cut. The first and the last lie before and after all speech."""
    last = len(pauses) - 1
    for number, (begin, end) in enumerate(pauses):
        middle = max(begin, (begin + end - LATE_END_MS) // 2)
        badness = LONG if end - begin >= LONG_PAUSE_MS else SHORT
        if number in (0, last):
            badness = SENTENCE
        yield Place(
            min(begin + TAIL_MS, middle) if number else begin,
            max(end - LEAD_MS, middle) if number < last else end,
            badness,
        )


def _ends_sentence(word: Word, pause_ms: int) -> bool:
    """Whether a sentence ends with this word, the last known one before a pause that begins at this time."""
    text = normalize("NFKC", word.word).strip()
    while text and (text[-1] in "\"'" or category(text[-1]) in ("Pe", "Pf")):
        text = text[:-1]
    return text.endswith(SENTENCE_END) and pause_ms - word.end_ms <= NEAR_MS
