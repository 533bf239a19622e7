"""What is said in a window, as far as it is known."""

from __future__ import annotations

from dataclasses import replace

from tasks.core.records import ScoredWindow, Segment, Timeline
from tasks.core.scoring.window_cuts import seconds_of
from tasks.core.speech.spans import Span
from tasks.core.speech.transcripts import said, unwritten


def span_of(item: ScoredWindow | Segment, timeline: Timeline) -> Span:
    """From when to when it is watched, in milliseconds."""
    start_s, end_s = seconds_of(item, timeline)
    return round(start_s * 1000), round(end_s * 1000)


def said_in(item: ScoredWindow | Segment, timeline: Timeline) -> str | None:
    """What is said in it: empty if nobody speaks, None if nobody knows."""
    heard = timeline.heard
    if heard is None or heard.status == "failed":
        return None
    span, transcript = span_of(item, timeline), heard.transcript
    if unwritten(heard, [span], transcript.model if transcript else ()):
        return None
    return said(transcript.words, span) if transcript else ""


def with_transcript(segment: Segment, timeline: Timeline) -> Segment:
    """The same segment with what is said in it."""
    heard = timeline.heard
    language = heard.transcript.language if heard and heard.transcript else None
    return replace(segment, transcript=said_in(segment, timeline), language=language)
