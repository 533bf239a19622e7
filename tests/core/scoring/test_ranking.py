"""Scores are combined exactly, and ranks follow a total order."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Analysis, Answer, ScoredWindow, Why, Window
from tasks.core.scoring.ranking import combined_score, explained, rank_segments

DEFAULT = {"deep_weight": Decimal("0.6"), "fast_weight": Decimal("0.4")}


def analysis(score: int, expected: float | None = None) -> Analysis:
    answer = Answer(score, 50, 50, (), (), "because", "publish")
    return Analysis.ok(answer, expected_score=expected)


def candidate(start: int, score: int) -> ScoredWindow:
    return ScoredWindow(Window(start, start + 59), score, is_candidate=True)


def test_deep_82_and_fast_72_give_78() -> None:
    assert combined_score(82, 72, **DEFAULT) == 78


def test_every_pair_of_scores_is_combined_exactly() -> None:
    for deep in range(101):
        for fast in range(101):
            exact = Fraction(6, 10) * deep + Fraction(4, 10) * fast
            assert combined_score(deep, fast, **DEFAULT) == exact.numerator // exact.denominator


@given(st.integers(0, 100), st.integers(0, 100), st.decimals(0, 1, places=3))
def test_the_combined_score_lies_between_both(deep: int, fast: int, weight: Decimal) -> None:
    score = combined_score(deep, fast, deep_weight=weight, fast_weight=1 - weight)
    assert min(deep, fast) <= score <= max(deep, fast)


@pytest.mark.parametrize(
    ("name", "stronger", "weaker"),
    [
        ("score", (0, 90, analysis(90)), (60, 10, analysis(10))),
        ("expected deep score", (60, 50, analysis(50, 50.4)), (0, 50, analysis(50, 50.1))),
        ("an expected deep score before none", (60, 50, analysis(50, 0.1)), (0, 50, analysis(50))),
        ("fast score", (60, 51, analysis(50)), (0, 50, analysis(50))),
        ("start", (0, 50, analysis(50)), (60, 50, analysis(50))),
    ],
)
def test_ties_are_broken_by(
    name: str, stronger: tuple[int, int, Analysis], weaker: tuple[int, int, Analysis]
) -> None:
    given_candidates = [candidate(start, fast) for start, fast, _ in (weaker, stronger)]
    analyses = {Window(start, start + 59): found for start, _, found in (weaker, stronger)}
    ranked = rank_segments(given_candidates, analyses, top_n=2, **DEFAULT)
    assert [segment.window.start for segment in ranked] == [stronger[0], weaker[0]], name
    assert [segment.rank for segment in ranked] == [1, 2]


def test_a_failed_analysis_is_ranked_by_the_fast_score_alone() -> None:
    failed = Analysis.failed("out_of_memory", "no room")
    (segment,) = rank_segments([candidate(0, 64)], {Window(0, 59): failed}, top_n=15, **DEFAULT)
    assert segment.score == 64
    assert segment.analysis.answer is None


def test_only_the_best_are_kept() -> None:
    given_candidates = [candidate(start, start) for start in range(30)]
    analyses = {item.window: analysis(50) for item in given_candidates}
    ranked = rank_segments(given_candidates, analyses, top_n=15, **DEFAULT)
    assert [segment.rank for segment in ranked] == list(range(1, 16))
    assert [segment.fast_score for segment in ranked] == list(range(29, 14, -1))


def test_every_rank_is_explained() -> None:
    covered = ScoredWindow(Window(3, 62), 60, suppressed_by=Window(0, 59))
    windows = [
        candidate(0, 90),
        covered,
        candidate(100, 60),
        candidate(200, 40),
        ScoredWindow(Window(9, 68), 7),
    ]
    failed = Analysis.failed("out_of_memory", "no room")
    analyses = {Window(0, 59): analysis(80), Window(100, 159): failed, Window(200, 259): analysis(35)}
    every = rank_segments([item for item in windows if item.is_candidate], analyses, top_n=3, **DEFAULT)
    first, second = explained(every[:2], every[2:], windows, **DEFAULT)
    assert (first.score, first.why) == (84, Why(0.6, 0.4, 90.0, 84 - 37, (covered,)))
    assert (second.score, second.why) == (60, Why(None, 1.0, 60.0, 60 - 37))


def test_where_no_candidate_missed_the_ranking_there_is_no_margin() -> None:
    (segment,) = rank_segments([candidate(0, 64)], {Window(0, 59): analysis(80)}, top_n=1, **DEFAULT)
    (same,) = explained([segment], [], [candidate(0, 64)], **DEFAULT)
    assert same.why
    assert (same.why.margin, same.why.video_percentile) == (None, 50.0)
