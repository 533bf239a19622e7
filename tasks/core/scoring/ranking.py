"""From scores to ranks: exact arithmetic and a total order, so that a rerun gives the same rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal

from tasks.core.records import Analysis, ScoredWindow, Segment, Why, Window
from tasks.core.scoring.fast_scores import mid_ranks


def combined_score(deep: int, fast: int, *, deep_weight: Decimal, fast_weight: Decimal) -> int:
    """`floor(deep_weight * deep + fast_weight * fast)`, on decimals.

    Binary floats get 32 of the 10,201 pairs wrong: 0.6 * 6 + 0.4 * 1 is 4, not 3.99...

    >>> combined_score(82, 72, deep_weight=Decimal("0.6"), fast_weight=Decimal("0.4"))
    78
    >>> combined_score(6, 1, deep_weight=Decimal("0.6"), fast_weight=Decimal("0.4"))
    4
    """
    total = deep_weight * deep + fast_weight * fast
    return int(total.to_integral_value(rounding=ROUND_FLOOR))


def rank_segments(
    candidates: Iterable[ScoredWindow],
    analyses: Mapping[Window, Analysis],
    *,
    top_n: int,
    deep_weight: Decimal,
    fast_weight: Decimal,
) -> list[Segment]:
    """The best `top_n` candidates of one video, ranked from 1.

    A candidate without an answer keeps its fast score; it is not given a deep one.
    """
    segments = []
    for candidate in candidates:
        analysis = analyses[candidate.window]
        score = candidate.score
        if analysis.answer is not None:
            score = combined_score(
                analysis.answer.virality_score,
                candidate.score,
                deep_weight=deep_weight,
                fast_weight=fast_weight,
            )
        segments.append(
            Segment(candidate.window, score, candidate.score, analysis, rank=0, cut=candidate.cut)
        )
    best = sorted(segments, key=strength)[:top_n]
    return [replace(segment, rank=rank) for rank, segment in enumerate(best, start=1)]


def strength(segment: Segment) -> tuple[int, float, int, Window]:
    """Sort key, strongest first: score, expected deep score, fast score, then start (and length)."""
    expected = segment.analysis.expected_score
    return (-segment.score, 1 if expected is None else -expected, -segment.fast_score, segment.window)


def explained(
    ranked: Sequence[Segment],
    missed: Sequence[Segment],
    windows: Sequence[ScoredWindow],
    *,
    deep_weight: Decimal,
    fast_weight: Decimal,
    fast_reason: str | None = None,
) -> list[Segment]:
    """The ranked segments of one video, with the reasons for their ranks. `windows` are all of the video."""
    fast = mid_ranks([segment.fast_score for segment in ranked], among=[item.score for item in windows])
    suppressed = defaultdict(list)
    for item in windows:
        suppressed[item.suppressed_by].append(item)
    return [
        replace(
            segment,
            why=Why(
                deep_weight=float(deep_weight) if segment.analysis.answer else None,
                fast_weight=float(fast_weight) if segment.analysis.answer else 1.0,
                video_percentile=float(percentile),
                margin=segment.score - missed[0].score if missed else None,
                suppressed=tuple(suppressed[segment.window]),
                fast_reason=fast_reason,
            ),
        )
        for segment, percentile in zip(ranked, fast, strict=True)
    ]
