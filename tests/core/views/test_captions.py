"""Captions hold every word, on two lines at the most, at the time at which it is said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.speech.heard import Word
from tasks.core.views.captions import LINE_COLUMNS, columns, cues, srt, vtt, words_between

TALK = (
    "So I told him. You can't just leave a dog in there, can you? "
    "It was the hottest day of that year, and he said"
)


def words_of(text: str, *, every_ms: int = 300, from_ms: int = 0) -> list[Word]:
    """The words of a text, one after the other, with the space before each, as Whisper has them."""
    return [
        Word(from_ms + k * every_ms, from_ms + k * every_ms + every_ms - 20, f" {word}", 0.9)
        for k, word in enumerate(text.split(" "))
    ]


def texts(captions: list) -> list[list[str]]:
    return [["".join(word.word for word in line).strip() for line in cue.lines] for cue in captions]


def test_captions_end_with_sentences_and_have_lines_of_much_the_same_width() -> None:
    assert texts(cues(words_of(TALK), end_ms=60_000)) == [
        ["So I told him."],
        ["You can't just leave a", "dog in there, can you?"],
        ["It was the hottest day", "of that year, and he said"],
    ]


def test_a_caption_is_there_from_its_first_word_until_a_little_after_its_last() -> None:
    first, *_, last = cues(words_of(TALK), end_ms=60_000)
    assert (first.start_ms, first.end_ms) == (0, 1200)  # the next begins there
    assert last.end_ms - last.words[-1].end_ms == 300
    (only,) = cues(words_of("one two"), end_ms=600)
    assert only.end_ms == 600


def test_a_pause_ends_a_caption() -> None:
    said = [*words_of("one two"), *words_of("three", from_ms=1300)]
    assert texts(cues(said, end_ms=9000)) == [["one two"], ["three"]]


def test_languages_without_spaces_are_broken_as_well() -> None:
    said = [Word(k * 100, k * 100 + 90, char, 1.0) for k, char in enumerate("字幕" * 30)]
    captions = cues(said, end_ms=9000)
    assert "".join("".join(lines) for lines in texts(captions)) == "字幕" * 30
    assert all(columns(line) <= LINE_COLUMNS for lines in texts(captions) for line in lines)


WORDS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 900), st.text(max_size=60)), max_size=30)


@given(WORDS)
def test_every_word_is_shown_once_in_order_and_in_time(drawn: list[tuple[int, int, str]]) -> None:
    said = [Word(start, start + length, f" {text}", 0.5) for start, length, text in sorted(drawn)]
    captions = cues(said, end_ms=6000)
    shown = "".join(word.word for cue in captions for word in cue.words)
    kept = "".join("".join(word.word.split()) for word in said if word.word.isprintable())
    if all(word.word.isprintable() for word in said):
        assert "".join(shown.split()) == kept
    edges = [edge for cue in captions for edge in (cue.start_ms, cue.end_ms)]
    assert edges == sorted(edges)
    assert all(cue.start_ms < cue.end_ms and len(cue.lines) <= 2 for cue in captions)
    starts = [word.start_ms for cue in captions for word in cue.words]
    assert starts == sorted(set(starts))


def test_words_between_are_those_whose_middle_lies_there_on_the_clock_of_the_clip() -> None:
    said = words_of("one two three four")
    assert words_between(said, (200, 750)) == [Word(100, 380, " two", 0.9), Word(400, 550, " three", 0.9)]
    assert words_between([], (0, 1)) == []


HOSTILE = "<b>{\\an8}--> &amp;\n\n2\n00:00:00,000 \u202eevil"


def test_files_cannot_be_broken_out_of() -> None:
    captions = cues([Word(0, 900, HOSTILE, 1.0)], end_ms=3_723_004)
    lines = srt(captions).splitlines()
    assert sum(line.isdigit() for line in lines) == len(captions)
    assert len(
        re.findall(r"^\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}$", srt(captions), re.MULTILINE)
    ) == len(captions)
    assert "<b>" not in srt(captions)
    assert "{\\" not in srt(captions)
    assert "\u202e" not in srt(captions) + vtt(captions)
    assert "&lt;b&gt;{\\an8}--&gt; &amp;amp;" in vtt(captions)


def test_the_clock_of_both_kinds() -> None:
    captions = cues([Word(3_723_004, 3_723_500, " hi", 1.0)], end_ms=3_800_000)
    assert srt(captions) == "1\n01:02:03,004 --> 01:02:03,800\nhi\n"
    assert vtt(captions) == "WEBVTT\n\n01:02:03.004 --> 01:02:03.800\nhi\n"


@pytest.mark.parametrize("text", ["", " ", "\n", "\u202e", " \u200b", "\u0301"])
def test_nothing_to_read_is_no_caption(text: str) -> None:
    assert cues([Word(0, 100, text, 1.0)], end_ms=1000) == []
