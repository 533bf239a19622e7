"""The audit: a few windows that are no candidates are judged all the same, to see what the fast score misses.

They are drawn by lot, so that each says something about all windows it was drawn from. They are not ranked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from tasks.core.records import ScoredVideo, ScoredWindow, VideoRef


def videos_to_audit(videos: Sequence[VideoRef], *, windows: int, most: int, seed: int) -> frozenset[str]:
    """The keys of the videos in which `windows` are drawn: if all would be more than `most`, some, by lot."""
    count = most // windows if windows else 0
    drawn = sorted(videos, key=lambda video: (_lot(seed, video.etag), video.uri))
    return frozenset(video.key for video in drawn[:count])


def with_audit(scored: ScoredVideo, *, count: int, seed: int) -> ScoredVideo:
    """The same video, in which `count` windows of those that more candidates would reach have a probability.

    Every window has a lot of its own, and those with the lowest lots are drawn: a simple random sample
    without replacement. The lots are the same in every night, so that a video that is opened again has its
    audited windows in the cache.
    """
    etag = scored.timeline.video.etag
    below = [item.window for item in scored.windows if item.pack_rank and not item.is_candidate]
    lots = sorted(below, key=lambda window: _lot(seed, etag, window.start, window.end))
    drawn = {window: min(1.0, count / len(below)) for window in lots[:count]}
    windows = tuple(replace(item, audit_probability=drawn.get(item.window)) for item in scored.windows)
    return replace(scored, windows=windows)


def judged(scored: ScoredVideo) -> list[ScoredWindow]:
    """The windows that the deep model is shown: the candidates, and those that were drawn for the audit."""
    return [item for item in scored.windows if item.is_candidate or item.audit_probability]


def _lot(*drawn: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, drawn)).encode(errors="surrogatepass")).digest()
