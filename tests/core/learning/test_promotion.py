"""A head that is no better is not promoted, one that is better is, and an exam needs videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.core.learning.metrics import Estimate
from tasks.core.learning.promotion import Exam, Score, exam, is_held_out
from tasks.core.learning.videos import Floats, ScoredVideoRows
from tests.core.learning.test_gate import video

TRIES = 100


def videos(rng: np.random.Generator, count: int, *, audits: int = 2) -> list[ScoredVideoRows]:
    return [video(rng, audits=audits)[0] for _ in range(count)]


def noisy(rng: np.random.Generator, quality: float) -> Score:
    """A score that is worth so much of the judge's."""

    def score(rows: ScoredVideoRows) -> Floats:
        deep = np.nan_to_num(rows.deep, nan=50)
        return np.asarray(quality * deep + rng.normal(0, 10, len(deep)))

    return score


def promoted(champion: float, challenger: float, *, tries: int = TRIES) -> int:
    rng, passed = np.random.default_rng(0), 0
    for _ in range(tries):
        of_try = videos(rng, 60)
        found = exam(of_try, champion=noisy(rng, champion), challenger=noisy(rng, challenger))
        passed += not found.verdict
    return passed


def test_an_equal_head_is_promoted_in_two_tries_of_a_hundred_at_most() -> None:
    assert promoted(0.4, 0.4) <= 0.02 * TRIES


def test_a_much_better_head_is_promoted_and_a_worse_one_never() -> None:
    assert promoted(0.1, 0.8, tries=15) == 15
    assert promoted(0.8, 0.1, tries=15) == 0


@pytest.mark.parametrize(
    ("candidates", "audits", "cut", "why"),
    [
        (Estimate(0.2, 0.1, 0.3, 59), Estimate(), 0, "59 held-out videos can be compared, 60 are needed"),
        (Estimate(0.2, -0.01, 0.3, 60), Estimate(), 0, "it may be no better: the difference is at least"),
        (Estimate(0.009, 0.001, 0.1, 60), Estimate(), 0, "it is +0.009 better, +0.010 is needed"),
        (Estimate(0.2, 0.1, 0.3, 60), Estimate(), 7, "no audits"),
        (Estimate(0.2, 0.1, 0.3, 60), Estimate(-0.02), 7, "with the audited windows it is -0.020"),
        (Estimate(0.2, 0.1, 0.3, 60), Estimate(-0.01), 7, ""),
        (Estimate(0.2, 0.1, 0.3, 60), Estimate(), 0, ""),
    ],
)
def test_the_verdict_says_why_the_champion_stays(
    candidates: Estimate, audits: Estimate, cut: int, why: str
) -> None:
    found = "; ".join(Exam(candidates, audits, cut).verdict)
    assert why in found
    assert bool(why) == bool(found)


def test_a_video_without_audits_does_not_count_among_those_with() -> None:
    rng = np.random.default_rng(0)
    with_some, without = videos(rng, 5), videos(rng, 5, audits=0)
    whole = [replace(rows, in_packing=rows.is_candidate) for rows in videos(rng, 3, audits=0)]
    found = exam([*with_some, *without, *whole], champion=noisy(rng, 0.1), challenger=noisy(rng, 0.9))
    assert (found.candidates.videos, found.audits.videos, found.cut) == (13, 5, 10)


def test_every_fifth_video_is_held_out_and_always_the_same() -> None:
    held = [f"etag {n}" for n in range(5000) if is_held_out(f"etag {n}")]
    assert 900 < len(held) < 1100
    assert all(is_held_out(etag) for etag in held)
