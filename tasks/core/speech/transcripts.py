"""What is said in a part of a video, as it is written down in tables, and quoted for the judge."""

from __future__ import annotations

import json
import math
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from tasks.core.speech.chunks import MAX_CHUNK_MS, PAD_MS, chunks, touching
from tasks.core.speech.heard import Heard, Transcript, Word
from tasks.core.speech.spans import Span

MAX_QUOTED_CHARS = 1_500
"""Of what is said in a segment the judge reads so much: some 100 s of quick talk."""
FRAME_MS = 20
"""No word is shorter."""
GAP_MS = 100
"""A shorter pause may lie inside of a word: a stop, such as that of a k."""
MAX_WORD_MS = MAX_CHUNK_MS + 2 * PAD_MS
"""No word is longer than its chunk."""
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These change the direction in which text is written, that of others around it too."""


def plain(text: str) -> str:
    """Text on one line: no control characters, none that turn the direction of writing, single spaces.

    A space at the beginning stays: in most languages it tells where a word begins.

    >>> plain(" one\\ntwo \\u202e")
    ' one two'
    """
    line = "".join(" " if _is_invisible(char) else char for char in text)
    return " " * line.startswith(" ") + " ".join(line.split())


def _is_invisible(char: str) -> bool:
    return char in TURNING or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def said(words: Sequence[Word], span: Span) -> str:
    """What is said from and to these milliseconds: the words whose middle lies there."""
    return plain("".join(each.word for each in words_in(words, [span]))).strip()


def words_in(words: Sequence[Word], spans: Sequence[Span]) -> list[Word]:
    """The words whose middle lies in one of these spans. Both are in order of time, and no spans overlap."""
    if not spans:
        return []
    first = bisect_left(words, spans[0][0] - MAX_WORD_MS, key=_start)
    end = bisect_left(words, spans[-1][1], key=_start)
    return [word for word in words[first:end] if _lies_in_any(word, spans)]


def _start(word: Word) -> int:
    return word.start_ms


def added(known: Transcript | None, new: Transcript) -> Transcript:
    """A transcript with the chunks that are written down by now; one of another model is left behind."""
    if known is None or known.model != new.model:
        return new
    others = [word for word in known.words if not _lies_in_any(word, new.chunks)]
    # What begins at the same time stays in the order in which it is said.
    words = sorted((*others, *new.words), key=_start)
    return replace(known, words=tuple(words), chunks=tuple(sorted({*known.chunks, *new.chunks})))


def _lies_in_any(word: Word, spans: Sequence[Span]) -> bool:
    middle = (word.start_ms + word.end_ms) / 2
    before = bisect_right(spans, (middle, math.inf))
    return before > 0 and middle < spans[before - 1][1]


def unwritten(heard: Heard, spans: Sequence[Span], model: Sequence[str]) -> list[Span]:
    """The chunks of speech which these stretches of a video have a part of, and which no model has written.

    Of another `model` than this nothing counts.
    """
    known = heard.transcript
    written = set(known.chunks if known and known.model == tuple(model) else ())
    wanted = touching(chunks(heard.speech, end_ms=heard.end_ms), spans)
    return [chunk for chunk in wanted if chunk not in written]


def quoted(text: str) -> str:
    """Text in double quotes, on one line, bounded: nothing in it ends the quotation.

    >>> quoted('He said "go".')
    '"He said \\\\"go\\\\"."'
    """
    line = plain(text).strip()
    if len(line) > MAX_QUOTED_CHARS:
        line = line[: MAX_QUOTED_CHARS - 1].rstrip() + "…"
    return json.dumps(line, ensure_ascii=False)


def in_speech(words: Sequence[Word], speech: Sequence[Span]) -> list[Word]:
    """Words at times at which somebody speaks: their times are coarse, those of the speech are not.

    A word that reaches into a pause ends with the speech before it, or begins with the speech behind it. One
    that reaches across is said on one side of it: what ends with a mark, such as a comma, where more of it
    lies, as the mark takes up the pause behind it; anything else behind the pause, as a word begins where the
    one before it ends, unless next to nothing of it lies there. One that lies in a pause is moved to the
    nearer end of it. None begins before the one that is said before it.
    """
    placed, latest_ms = list[Word](), 0
    for word in words:
        moved = _in_speech(word, speech)
        latest_ms = max(latest_ms, moved.start_ms)
        placed.append(Word(latest_ms, max(latest_ms, moved.end_ms), moved.word, moved.probability))
    return placed


def _in_speech(word: Word, speech: Sequence[Span]) -> Word:
    first = bisect_right(speech, word.start_ms, key=lambda span: span[1])
    behind = bisect_left(speech, (word.end_ms,))
    if first < behind:  # these have something of it
        parts = [(max(word.start_ms, a), min(word.end_ms, b)) for a, b in _joined(speech[first:behind])]
        has_mark = unicodedata.category(word.word.rstrip()[-1:] or " ").startswith("P")
        is_behind = not has_mark and parts[-1][1] - parts[-1][0] >= GAP_MS
        start_ms, end_ms = parts[-1] if is_behind else max(parts, key=lambda part: part[1] - part[0])
        return Word(start_ms, end_ms, word.word, word.probability)
    middle = (word.start_ms + word.end_ms) // 2
    near = speech[max(0, first - 1) : first + 1]
    begin, end = min(near, key=lambda span: max(span[0] - middle, middle - span[1]))
    if middle < begin:
        return Word(begin, min(begin + FRAME_MS, end), word.word, word.probability)
    return Word(max(end - FRAME_MS, begin), end, word.word, word.probability)


def _joined(speech: Sequence[Span]) -> list[Span]:
    """The same without the gaps that may lie inside of a word."""
    joined = [speech[0]]
    for begin, end in speech[1:]:
        if begin - joined[-1][1] < GAP_MS:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined
