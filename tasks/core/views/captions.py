"""Captions of a clip: its words, two lines at a time, as the files that players read (SubRip and WebVTT)."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tasks.core.speech.cuts import SENTENCE_END
from tasks.core.speech.heard import Word
from tasks.core.speech.spans import Span
from tasks.core.speech.transcripts import plain

LINE_COLUMNS = 42
"""The longest line of a caption, as broadcasters have it; a wide character of East Asia takes two columns."""
LONG_WORD = 1.25
"""A word that is so much wider than a line has one of its own. What is longer is broken."""
PAUSE_MS = 700
"""After such a pause the next words are a caption of their own."""
LINGER_MS = 300
"""So long a caption stays after its last word, unless the next one comes before."""
MIN_WORD_MS = 20
"""No two words begin at the same time: the second is shown so much later."""

Line = tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Cue:
    """One or two lines that are shown at once, in milliseconds on the clip's own clock."""

    start_ms: int
    end_ms: int
    lines: tuple[Line, ...]

    @property
    def words(self) -> Line:
        return tuple(word for line in self.lines for word in line)


def columns(text: str) -> int:
    """How wide text is, in columns of a terminal.

    >>> columns("cafe\\u0301"), columns("字幕")
    (4, 4)
    """
    wide = (unicodedata.east_asian_width(char) in "WF" for char in text if not _takes_no_room(char))
    return sum(1 + is_wide for is_wide in wide)


def _takes_no_room(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Me", "Cf")


def words_between(words: Iterable[Word], span: Span) -> list[Word]:
    """The words whose middle lies in this span of a video, on the clock of a clip of it."""
    start_ms, end_ms = span
    inside = (word for word in words if 2 * start_ms <= word.start_ms + word.end_ms < 2 * end_ms)
    return [
        replace(
            word, start_ms=max(word.start_ms, start_ms) - start_ms, end_ms=min(word.end_ms, end_ms) - start_ms
        )
        for word in inside
    ]


def cues(
    words: Sequence[Word],
    *,
    end_ms: int,
    line: float = LINE_COLUMNS,
    width: Callable[[str], float] = columns,
) -> list[Cue]:
    """The captions of a clip that ends at `end_ms`, each of at most two lines of this width.

    A caption ends with a sentence, with a pause, or where the next word would need a third line.
    """
    pieces = _one_after_another(piece for word in words for piece in _pieces(word, line, width))
    groups = [group for group in _groups(list(pieces), line, width) if group]
    starts = [group[0].start_ms for group in groups]
    made = []
    for group, following in zip(groups, [*starts[1:], end_ms], strict=False):
        until = max(min(group[-1].end_ms + LINGER_MS, following), group[-1].start_ms + MIN_WORD_MS)
        made.append(Cue(group[0].start_ms, until, _lines(group, line, width)))
    return made


def srt(captions: Sequence[Cue]) -> str:
    """The captions as a SubRip file. It knows no escapes: what looks like a tag gets an invisible joiner."""
    blocks = (
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        + "\n".join(_text(line).replace("<", "<\u2060").replace("{", "{\u2060") for line in cue.lines)
        for number, cue in enumerate(captions, start=1)
    )
    return "\n\n".join(blocks) + "\n"


def vtt(captions: Sequence[Cue]) -> str:
    """The captions as a WebVTT file."""
    blocks = (
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + "\n".join(html.escape(_text(line), quote=False) for line in cue.lines)
        for cue in captions
    )
    return "\n\n".join(["WEBVTT", *blocks]) + "\n"


def _text(line: Line) -> str:
    return plain("".join(word.word for word in line)).strip()


def _clock(ms: int, point: str) -> str:
    seconds, rest = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _one_after_another(words: Iterable[Word]) -> Iterator[Word]:
    """The same words, each of which begins after the one before it."""
    latest_ms = -MIN_WORD_MS
    for word in words:
        latest_ms = max(word.start_ms, latest_ms + MIN_WORD_MS)
        yield replace(word, start_ms=latest_ms, end_ms=max(word.end_ms, latest_ms + MIN_WORD_MS))


def _pieces(word: Word, line: float, width: Callable[[str], float]) -> Iterator[Word]:
    """What can be read of a word; if it is wider than a line, in parts that are not."""
    text = plain(word.word)
    while width(text.strip()) > line * LONG_WORD:
        size = 1
        while width(text[: size + 1].strip()) <= line:
            size += 1
        yield replace(word, word=text[:size])
        text = text[size:]
    if columns(text.strip()):
        yield replace(word, word=text)


def _groups(words: Sequence[Word], line: float, width: Callable[[str], float]) -> Iterator[list[Word]]:
    group: list[Word] = list(words[:1])
    for before, word in pairwise(words):
        ends = _text((before,)).endswith(SENTENCE_END) or word.start_ms - before.end_ms >= PAUSE_MS
        if ends or not _fit((*group, word), line, width):
            yield group
            group = []
        group.append(word)
    yield group


def _fit(words: Line, line: float, width: Callable[[str], float]) -> bool:
    return all(len(part) == 1 or width(_text(part)) <= line for part in _lines(words, line, width))


def _lines(words: Sequence[Word], line: float, width: Callable[[str], float]) -> tuple[Line, ...]:
    """The words on one line, or on two of much the same width."""
    if width(_text(tuple(words))) <= line or len(words) == 1:
        return (tuple(words),)
    breaks = range(1, len(words))
    best = min(breaks, key=lambda at: max(width(_text(tuple(words[:at]))), width(_text(tuple(words[at:])))))
    return tuple(words[:best]), tuple(words[best:])
