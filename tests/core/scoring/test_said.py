"""What is said in windows of a video is text, or nothing at all where nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.records import ScoredWindow, Timeline, VideoRef, Window
from tasks.core.scoring.said import said_in
from tasks.core.speech import transcripts
from tasks.core.speech.chunks import chunks
from tasks.core.speech.heard import Heard, Transcript, Word
from tasks.core.speech.spans import Span

TALK = [(10_000 * k + 500, 10_000 * k + 5_000) for k in range(30)]
HEARD = Heard.of(TALK, end_ms=300_000)
CHUNKS = chunks(TALK, end_ms=300_000)
WORDS = tuple(Word(start, start + 400, f" {start // 10_000}", 0.9) for start, _ in TALK)


def timeline(heard: Heard | None) -> Timeline:
    return Timeline(VideoRef("a", "e", 1), "", 300, 1, 28, 28, 300.0, "pyav", heard=heard)


def windows(*seconds: Span) -> list[ScoredWindow]:
    return [ScoredWindow(Window(*each), 50) for each in seconds]


@pytest.mark.parametrize(
    ("heard", "texts"),
    [
        (None, [None, None, None]),
        (Heard.failed("sound_unreadable", end_ms=300_000), [None, None, None]),
        (HEARD, [None, None, ""]),
        (Heard.of([], end_ms=300_000), ["", "", ""]),
        (replace(HEARD, transcript=Transcript(WORDS[:1], "en", (CHUNKS[0],), ("m",))), ["0", None, ""]),
        (replace(HEARD, transcript=Transcript(WORDS, "en", tuple(CHUNKS), ("m",))), ["0", "1 2", ""]),
    ],
)
def test_where_a_chunk_is_not_written_down_nobody_knows(heard: Heard | None, texts: list[str | None]) -> None:
    assert said_in(windows((0, 5), (10, 25), (6, 10)), timeline(heard)) == texts


def test_the_chunks_of_a_video_are_found_once_for_all_its_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def counted(speech: object, *, end_ms: int) -> list[Span]:
        found.append(end_ms)
        return chunks(TALK, end_ms=end_ms)

    monkeypatch.setattr(transcripts, "chunks", counted)
    said_in(windows(*((10 * k, 10 * k + 5) for k in range(30))), timeline(HEARD))
    assert found == [300_000]
