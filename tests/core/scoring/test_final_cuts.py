"""Candidates end with sentences where these are known, and still do not repeat each other."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Timeline, VideoRef, Window
from tasks.core.scoring.candidates import choose_candidates, overlaps_more_than
from tasks.core.scoring.final_cuts import needed_chunks, with_final_cuts
from tasks.core.scoring.window_cuts import scored_windows, stretch_of
from tasks.core.scoring.windows import windows
from tasks.core.speech.chunks import chunks
from tasks.core.speech.heard import Heard, Transcript, Word
from tasks.core.speech.spans import Span

HALF = Decimal("0.5")
TALK = [(0, 8_000), (8_200, 10_000), (11_000, 22_000), (23_000, 58_000)]
SENTENCE = Word(7_500, 7_990, " so.", 0.9)


def timeline(
    speech: list[Span], *, seconds: int, words: list[Word] | None = None, unwritten: int | None = None
) -> Timeline:
    heard = Heard.of(speech, end_ms=1000 * seconds)
    chunked = chunks(speech, end_ms=1000 * seconds)
    if words is not None:
        written = tuple(chunk for number, chunk in enumerate(chunked) if number != unwritten)
        heard = replace(heard, transcript=Transcript(tuple(words), "en", written, ("model",)))
    video = VideoRef("s3://b/v.mp4", "e", 1)
    return Timeline(video, "", seconds, 1, 28, 28, float(seconds), "pyav", heard=heard)


@pytest.mark.parametrize(
    ("words", "unwritten", "start_ms"),
    [
        (None, None, 10_850),  # before the longest pause near
        ([], None, 10_850),
        ([SENTENCE], None, 8_075),
        ([SENTENCE], 1, 10_850),  # it is not known how a sentence near the end goes
        ([SENTENCE], 2, 8_075),  # that is no matter
    ],
)
def test_a_candidate_begins_with_a_sentence_if_all_that_tells_is_known(
    words: list[Word] | None, unwritten: int | None, start_ms: int
) -> None:
    video = timeline([*TALK, (62_000, 90_000)], seconds=95, words=words, unwritten=unwritten)
    (candidate,) = choose_candidates(scored_windows([Window(9, 24)], [50], video), count=1, max_overlap=HALF)
    assert candidate.cut
    assert candidate.cut.start_ms == 10_850
    (final,) = with_final_cuts([candidate], video, max_overlap=HALF)
    assert final.cut
    assert final.cut.start_ms == start_ms


def test_whoever_knows_more_of_the_video_cuts_alike() -> None:
    """Before a long pause a sentence ends, and not every run writes down the chunk in which it does."""
    speech = [(0, 5_000), (12_000, 13_000), (13_700, 26_000), (27_000, 40_000)]
    video = timeline(speech, seconds=60, words=[Word(4_800, 5_000, " so.", 0.9)])
    chosen = choose_candidates(scored_windows([Window(13, 28)], [50], video), count=1, max_overlap=HALF)
    (final,) = with_final_cuts(chosen, video, max_overlap=HALF)
    assert final.cut
    assert final.cut.start_ms == 13_550


def test_what_is_no_candidate_stays() -> None:
    video = timeline(TALK, seconds=60, words=[SENTENCE])
    scored = scored_windows([Window(9, 24)], [50], video)
    assert with_final_cuts(scored, video, max_overlap=HALF) == scored


def test_an_audited_window_is_cut_as_a_candidate_is_though_it_may_repeat_one() -> None:
    video = timeline(TALK, seconds=60, words=[SENTENCE])
    scored = scored_windows([Window(9, 24), Window(6, 21)], [50, 60], video)
    drawn = [replace(scored[0], audit_probability=0.5), replace(scored[1], is_candidate=True)]
    audited, candidate = with_final_cuts(drawn, video, max_overlap=HALF)
    assert audited.cut
    assert candidate.cut
    assert [audited.cut.start_ms, candidate.cut.start_ms] == [8_075, 8_075]


@pytest.mark.parametrize(("limit", "start_ms"), [(Decimal("0.9"), 10_850), (Decimal(1), 8_075)])
def test_two_candidates_do_not_come_to_repeat_each_other(limit: Decimal, start_ms: int) -> None:
    video = timeline(TALK, seconds=60, words=[SENTENCE])
    scored = scored_windows([Window(9, 24), Window(6, 21)], [60, 50], video)
    chosen = choose_candidates(scored, count=2, max_overlap=limit)
    strong, weak = with_final_cuts(chosen, video, max_overlap=limit)
    assert strong.cut
    assert weak.cut
    assert (strong.cut.start_ms, strong.cut.end_ms) == (start_ms, 22_250)
    assert (weak.cut.start_ms, weak.cut.end_ms) == (8_075, 22_250)


def test_where_nobody_speaks_no_chunk_is_needed() -> None:
    video = timeline([(12_000, 20_000)], seconds=40)
    chunked = [(11_800, 20_200)]
    silent, spoken = scored_windows([Window(22, 32), Window(0, 12)], [50, 50], video)
    assert needed_chunks(silent, video, chunked) == []
    assert needed_chunks(spoken, video, chunked) == chunked
    assert needed_chunks(replace(silent, cut=None), video, chunked) == []


@given(
    st.lists(
        st.tuples(st.integers(64, 3_000), st.integers(300, 9_000), st.booleans()), min_size=5, max_size=30
    ),
    st.lists(st.integers(0, 100), min_size=60, max_size=60),
    st.sampled_from([5, 15, 59]),
    st.sampled_from([Decimal(0), HALF, Decimal("0.8"), Decimal(1)]),
    st.data(),
)
def test_candidates_overlap_no_more_than_they_may_and_everyone_cuts_alike(
    steps: list[tuple[int, int, bool]], scores: list[int], length: int, limit: Decimal, data: st.DataObject
) -> None:
    speech, words, now = list[Span](), list[Word](), 0
    for pause, spoken, ends in steps:
        now += pause
        speech.append((now, now + spoken))
        words.append(Word(now + spoken - 200, now + spoken, " so." if ends else " so", 0.9))
        now += spoken
    seconds = max(now // 1000 + 1, length)
    video = timeline(speech, seconds=seconds, words=words)
    every = windows(seconds, lengths=[length], stride=3)[:60]
    first = choose_candidates(scored_windows(every, scores[: len(every)], video), count=8, max_overlap=limit)
    final = with_final_cuts(first, video, max_overlap=limit)
    assert [replace(each, cut=None) for each in final] == [replace(each, cut=None) for each in first]
    candidates = [each for each in final if each.is_candidate]
    assert not any(
        overlaps_more_than(stretch_of(a), stretch_of(b), limit) for a, b in combinations(candidates, 2)
    )
    # Another run knows only what these candidates need, and maybe some more.
    assert video.heard
    assert video.heard.transcript
    chunked = chunks(speech, end_ms=1000 * seconds)
    needed = {chunk for each in first if each.is_candidate for chunk in needed_chunks(each, video, chunked)}
    known = tuple(chunk for chunk in chunked if chunk in needed or data.draw(st.booleans()))
    said = tuple(word for word in words if any(a <= (word.start_ms + word.end_ms) / 2 < b for a, b in known))
    transcript = Transcript(said, "en", known, ("model",))
    other = replace(video, heard=replace(video.heard, transcript=transcript))
    assert with_final_cuts(first, other, max_overlap=limit) == final
