"""Audited windows are drawn by lot among those below the cut, and the same ones every time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from tasks.core.learning.audit import judged, videos_to_audit, with_audit
from tasks.core.records import ScoredVideo, ScoredWindow, Timeline, VideoRef, Window
from tasks.core.scoring.candidates import choose_candidates


def video(windows: int = 40, *, etag: str = "etag", candidates: int = 10) -> ScoredVideo:
    """A video of windows of 5 s that do not overlap, of which the first are candidates."""
    scored = [ScoredWindow(Window(5 * k, 5 * k + 5), max(0, 100 - k)) for k in range(windows)]
    chosen = choose_candidates(scored, count=candidates, max_overlap=Decimal("0.75"), rank_all=True)
    timeline = Timeline(VideoRef("s3://b/a.mp4", etag, 1), "", 5 * windows, 1, 28, 28, 5.0 * windows, "pyav")
    return ScoredVideo(timeline, tuple(chosen), np.zeros((windows, 4), np.float16), "salience")


def drawn(scored: ScoredVideo, *, seed: int = 0) -> list[int]:
    windows = with_audit(scored, count=2, seed=seed).windows
    return [n for n, item in enumerate(windows) if item.audit_probability]


def test_only_windows_below_the_cut_are_drawn_and_each_knows_how_likely_that_was() -> None:
    audited = with_audit(video(), count=3, seed=0)
    found = [item for item in audited.windows if item.audit_probability]
    assert len(found) == 3
    assert {item.audit_probability for item in found} == {3 / 30}
    assert not any(item.is_candidate for item in found)
    assert [item.window for item in judged(audited)] == sorted(
        [*(item.window for item in audited.candidates), *(item.window for item in found)]
    )


def test_a_window_that_a_stronger_one_keeps_out_is_never_drawn() -> None:
    scored = video()
    windows = [replace(item, pack_rank=None) if n >= 12 else item for n, item in enumerate(scored.windows)]
    audited = with_audit(replace(scored, windows=tuple(windows)), count=10, seed=0)
    assert [n for n, item in enumerate(audited.windows) if item.audit_probability] == [10, 11]
    assert audited.windows[10].audit_probability == 1.0


def test_where_the_fast_score_leaves_nothing_out_nothing_is_drawn() -> None:
    assert drawn(video(10)) == []


def test_the_same_video_has_the_same_windows_until_the_seed_is_another() -> None:
    assert drawn(video()) == drawn(video())
    seeds = {tuple(drawn(video(), seed=seed)) for seed in range(20)}
    assert len(seeds) > 10


def test_every_window_is_as_likely_as_every_other() -> None:
    counts = Counter(n for k in range(2000) for n in drawn(video(20, etag=f"etag {k}")))
    assert set(counts) == set(range(10, 20))
    # Binomial with 2,000 draws at 0.2: sd 17.9.
    assert all(abs(count - 400) < 80 for count in counts.values())


@pytest.mark.parametrize(
    ("windows", "most", "videos"), [(2, 200, 30), (2, 21, 10), (0, 200, 0), (3, 2, 0), (2, 0, 0)]
)
def test_no_more_videos_are_audited_than_a_night_may_cost(windows: int, most: int, videos: int) -> None:
    refs = [VideoRef(f"s3://b/{k}.mp4", f"etag {k}", 1) for k in range(30)]
    found = videos_to_audit(refs, windows=windows, most=most, seed=0)
    assert len(found) == videos
    assert videos_to_audit(refs[::-1], windows=windows, most=most, seed=0) == found
