"""The last word on where candidates are cut: what is said in them tells where sentences end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tasks.core.records import ScoredWindow, Timeline
from tasks.core.scoring.candidates import overlaps_more_than
from tasks.core.scoring.said import span_of
from tasks.core.scoring.window_cuts import cut_of, cutter_of, reach_of, stretch_of
from tasks.core.speech.chunks import chunks, touching
from tasks.core.speech.spans import Span
from tasks.core.speech.transcripts import words_in


def needed_chunks(candidate: ScoredWindow, timeline: Timeline, chunked: Sequence[Span]) -> list[Span]:
    """Of the chunks of a video those that tell what is said in a candidate, and where sentences end near it.

    None where nobody speaks in it.
    """
    own = touching(chunked, [span_of(candidate, timeline)])
    return touching(chunked, [reach_of(candidate.window, timeline)]) if own and candidate.cut else own


def with_final_cuts(
    scored: Sequence[ScoredWindow], timeline: Timeline, *, max_overlap: Decimal
) -> list[ScoredWindow]:
    """The windows of a video, whose candidates are cut at the ends of sentences where there are some.

    One after the other, the strongest first, is cut anew by the words of its `needed_chunks`, and by no
    others: whoever knows more of the video cuts alike. It stays as it was where one of these chunks is not
    written down, or where two candidates would overlap more than `max_overlap`. Audited windows are cut as
    candidates are, but may overlap.
    """
    final, heard, cutter = list(scored), timeline.heard, cutter_of(timeline)
    if cutter is None or heard is None or heard.transcript is None:
        return final
    chunked, written = chunks(heard.speech, end_ms=heard.end_ms), set(heard.transcript.chunks)
    candidates = [place for place, each in enumerate(scored) if each.is_candidate]
    audited = [place for place, each in enumerate(scored) if each.audit_probability]
    by_strength = sorted(candidates, key=lambda place: (-scored[place].score, scored[place].window))
    for place in (*by_strength, *audited):
        needed = needed_chunks(scored[place], timeline, chunked)
        if not needed or not written.issuperset(needed):
            continue
        words = words_in(heard.transcript.words, needed)
        recut = replace(final[place], cut=cut_of(final[place].window, timeline, cutter, words))
        others = [stretch_of(final[other]) for other in candidates if other != place]
        repeats = any(overlaps_more_than(stretch_of(recut), other, max_overlap) for other in others)
        if not repeats or not recut.is_candidate:
            final[place] = recut
    return final
