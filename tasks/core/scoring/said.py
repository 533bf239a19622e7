"""What is said in windows of a video, as far as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tasks.core.records import ScoredWindow, Segment, Timeline
from tasks.core.scoring.window_cuts import seconds_of
from tasks.core.speech.chunks import touching
from tasks.core.speech.spans import Span
from tasks.core.speech.transcripts import said, unwritten


def span_of(item: ScoredWindow | Segment, timeline: Timeline) -> Span:
    """From when to when it is watched, in milliseconds."""
    start_s, end_s = seconds_of(item, timeline)
    return round(start_s * 1000), round(end_s * 1000)


def said_in(items: Sequence[ScoredWindow] | Sequence[Segment], timeline: Timeline) -> list[str | None]:
    """What is said in each of them: empty if nobody speaks, None if nobody knows."""
    heard = timeline.heard
    if heard is None or heard.status == "failed":
        return [None] * len(items)
    spans, transcript = [span_of(item, timeline) for item in items], heard.transcript
    missing = unwritten(heard, spans, transcript.model if transcript else ())
    words = transcript.words if transcript else ()
    return [None if touching(missing, [span]) else said(words, span) for span in spans]


def with_transcripts(segments: Sequence[Segment], timeline: Timeline) -> list[Segment]:
    """The same segments with what is said in them."""
    heard, texts = timeline.heard, said_in(segments, timeline)
    language = heard.transcript.language if heard and heard.transcript else None
    return [
        replace(segment, transcript=text, language=language)
        for segment, text in zip(segments, texts, strict=True)
    ]
