"""A picture of videos over time: the curve of the fast scores, with the ranked segments on it, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from tasks.core.records import RankedVideo
from tasks.core.scoring.window_cuts import seconds_of
from tasks.core.secrets import redacted
from tasks.core.views.clock import clock
from tasks.core.views.escaping import last_part, one_line

WIDTH, ROW_HEIGHT, CURVE_HEIGHT, MARGIN = 900, 130, 80, 10
POINTS = 300
"""Of a long video neighbouring windows share a point, at the best score among them."""

NAME_WIDTH = 80


def timeline_picture(videos: Sequence[RankedVideo]) -> str:
    """An SVG of one row a video. Ranked segments are orange; the best is red, with its score."""
    height = ROW_HEIGHT * len(videos) + MARGIN
    rows = "".join(_row(video, MARGIN + ROW_HEIGHT * index) for index, video in enumerate(videos))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>{rows}</svg>'
    )


def _row(video: RankedVideo, top: int) -> str:
    timeline = video.timeline
    base = top + 20 + CURVE_HEIGHT
    name = last_part(one_line(redacted(timeline.video.label)), width=NAME_WIDTH)
    curve = " ".join(
        f"{_x(x, video):.1f},{base - score * CURVE_HEIGHT / 100:.1f}" for x, score in _curve(video)
    )
    return (
        f'<text x="{MARGIN}" y="{top + 12}" fill="#1f2937">{escape(name)}</text>'
        f'<rect x="{MARGIN}" y="{base - CURVE_HEIGHT}" width="{WIDTH - 2 * MARGIN}" '
        f'height="{CURVE_HEIGHT}" fill="#f1f5f9"/>'
        f"{_segments(video, base)}"
        f'<polyline points="{curve}" fill="none" stroke="#1d4ed8" stroke-width="1.5"/>'
        f'<text x="{MARGIN}" y="{base + 15}" fill="#64748b">{clock(0)}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{base + 15}" fill="#64748b" text-anchor="end">'
        f"{clock(timeline.duration_s)}</text>"
    )


def _segments(video: RankedVideo, base: int) -> str:
    """The ranked segments as bands, the best on top and labelled."""
    drawn = []
    for segment in sorted(video.segments, key=lambda segment: -segment.rank):
        left, right = (_x(at_s, video) for at_s in seconds_of(segment, video.timeline))
        fill, opacity = ("#dc2626", 0.6) if segment.rank == 1 else ("#f97316", 0.15)
        drawn.append(
            f'<rect x="{left:.1f}" y="{base - CURVE_HEIGHT}" width="{max(right - left, 1):.1f}" '
            f'height="{CURVE_HEIGHT}" fill="{fill}" fill-opacity="{opacity}" '
            'stroke="#ea580c" stroke-opacity="0.5"/>'
        )
    best = min(video.segments, key=lambda segment: segment.rank, default=None)
    if best:
        middle_s = sum(seconds_of(best, video.timeline)) / 2
        drawn.append(
            f'<text x="{_x(middle_s, video):.1f}" y="{base + 15}" fill="#c2410c" '
            f'text-anchor="middle" font-weight="bold">▲ {best.score}</text>'
        )
    return "".join(drawn)


def _curve(video: RankedVideo) -> list[tuple[float, int]]:
    """Middle of the windows in seconds, and the best score there."""
    timeline = video.timeline
    points = [
        ((timeline.seconds(w.window.start) + timeline.seconds(w.window.end)) / 2, w.score)
        for w in video.scored.windows
    ]
    step = max(timeline.duration_s / POINTS, 1e-9)
    buckets = groupby(sorted(points), key=lambda point: int(point[0] / step))
    return [max(bucket, key=lambda point: point[1]) for _, bucket in buckets]


def _x(seconds: float, video: RankedVideo) -> float:
    return MARGIN + seconds / max(video.timeline.duration_s, 1e-9) * (WIDTH - 2 * MARGIN)
