"""The recall of the gate is estimated from the audit, and is unknown without one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.core.learning.evaluation import evaluated
from tasks.core.learning.gate import gate_recall
from tasks.core.learning.promotion import is_held_out
from tasks.core.learning.videos import ScoredVideoRows

PACKED, CANDIDATES, TOP_N = 80, 30, 15


def video(rng: np.random.Generator, *, audits: int) -> tuple[ScoredVideoRows, float, float]:
    """A video of which the judge saw the candidates and some others; and the counts that the truth needs."""
    truth = rng.normal(50, 10, PACKED)
    fast = 0.5 * truth + rng.normal(0, 10, PACKED)
    order = np.argsort(-fast)
    truth, fast = truth[order], fast[order]
    is_candidate = np.arange(PACKED) < CANDIDATES
    drawn = rng.choice(np.arange(CANDIDATES, PACKED), audits, replace=False)
    audited = np.isin(np.arange(PACKED), drawn)
    bar = np.sort(truth[:CANDIDATES])[-TOP_N]
    start = 10.0 * np.arange(PACKED)
    rows = ScoredVideoRows(
        uri="s3://b/a.mp4",
        etag=str(rng.integers(1 << 60)),
        run_id="run",
        top_n=TOP_N,
        fast_kind="salience",
        start=start,
        end=start + 59,
        fast=fast,
        deep=np.where(is_candidate | audited, truth, np.nan),
        combined=np.where(is_candidate, truth, np.nan),
        is_candidate=is_candidate,
        in_packing=np.ones(PACKED, bool),
        audited=audited,
        probability=np.where(is_candidate, 1, np.where(audited, audits / (PACKED - CANDIDATES), np.nan)),
        salience=fast,
    )
    return rows, float((truth[:CANDIDATES] >= bar).sum()), float((truth >= bar).sum())


def test_it_is_unbiased_and_its_interval_holds_the_truth() -> None:
    rng, off, held = np.random.default_rng(0), [], 0
    for _ in range(100):
        videos = [video(rng, audits=2) for _ in range(60)]
        truth = sum(found for _, found, _ in videos) / sum(every for *_, every in videos)
        gate = gate_recall(rows for rows, *_ in videos)
        assert gate.recall.value is not None
        assert gate.recall.low is not None
        assert gate.recall.high is not None
        off.append(gate.recall.value - truth)
        held += gate.recall.low <= truth <= gate.recall.high
    assert abs(np.mean(off)) < 0.02
    assert held >= 88
    assert gate.chance.value == pytest.approx(CANDIDATES / PACKED)
    assert (gate.cut, gate.audited, gate.windows) == (60, 60, 120)


def test_without_audits_it_is_unknown_and_not_a_number_made_of_candidates() -> None:
    rng = np.random.default_rng(0)
    gate = gate_recall(video(rng, audits=0)[0] for _ in range(30))
    assert gate.recall.value is None
    assert (gate.cut, gate.audited) == (30, 0)


def test_an_audited_window_without_an_answer_is_not_taken_for_a_bad_one() -> None:
    rows, *_ = video(np.random.default_rng(3), audits=10)
    bar = np.sort(rows.deep[:CANDIDATES])[-TOP_N]
    good = rows.audited & (rows.deep >= bar)
    assert 0 < good.sum() < 10
    bad = np.flatnonzero(rows.audited & (rows.deep < bar))
    deep = rows.deep.copy()
    deep[bad] = np.nan  # only the good ones were answered
    gate = gate_recall([replace(rows, deep=deep)])
    assert gate.recall.value == pytest.approx(TOP_N / (TOP_N + PACKED - CANDIDATES))


def test_a_video_that_is_not_cut_says_nothing_about_the_gate() -> None:
    rows, *_ = video(np.random.default_rng(0), audits=0)
    whole = replace(rows, is_candidate=np.ones(PACKED, bool), deep=rows.fast)
    assert gate_recall([whole]).cut == 0


def test_a_head_is_not_measured_where_it_was_fitted() -> None:
    rng = np.random.default_rng(5)
    videos = [video(rng, audits=2)[0] for _ in range(200)]
    scored = [replace(each, fast_kind="head_percentile") for each in videos]
    held_out = sum(is_held_out(each.etag) for each in videos)
    assert 20 < held_out < 60
    for of_videos, counted in ((videos, 200), (scored, held_out)):
        found = [
            each for each in evaluated(of_videos, {}, alike={"run"}) if each.rows and each.score == "fast"
        ]
        assert {each.metric for each in found} >= {"recall_at_own_bar", "concordance_with_judge"}
        assert {each.scope for each in found} == {"all", "run"}
        assert {each.estimate.videos + each.estimate.undefined for each in found} == {counted}


def test_the_order_of_what_the_fast_score_chose_itself_tells_nothing_of_it() -> None:
    videos = [video(np.random.default_rng(seed), audits=0)[0] for seed in range(3)]
    (order,) = [
        each.estimate
        for each in evaluated(videos, {}, alike={"run"})
        if (each.metric, each.score) == ("concordance_with_judge", "fast")
    ]
    assert (order.value, order.undefined) == (None, 3)
