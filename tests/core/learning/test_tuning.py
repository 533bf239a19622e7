"""What labels teach: the scores that are wanted, how they are drawn, and what the exam says."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.core.learning.tuning import (
    Judged,
    LabelledWindow,
    chances_of,
    missing,
    next_digits,
    tuning_exam,
    wanted_scores,
)
from tasks.core.records import ScoredWindow, VideoRef, Window


def label(video: str, start: int, views: int | None = None, *, published: bool = True) -> LabelledWindow:
    ref = VideoRef(f"s3://b/{video}.mp4", f"etag {video}", 9)
    return LabelledWindow(ref, ScoredWindow(Window(start, start + 59), 50), published, views)


def test_views_are_counted_within_their_video_and_rejections_lie_below_all() -> None:
    """The second video has a hundred times the views, for whatever reason."""
    small = [label("a", i, views) for i, views in enumerate((10, 20, 40, 80))]
    large = [label("b", i, 100 * views) for i, views in enumerate((10, 20, 40, 80))]
    scores = wanted_scores([*small, *large, label("a", 99, published=False), label("b", 99)])
    assert scores[-2:] == [20, 70]
    assert scores[:4] == sorted(scores[:4])
    assert scores[4:8] == sorted(scores[4:8])
    assert scores[3] > scores[4] - 10, "the best of a small video stands beside those of a large one"
    assert (min(scores[:8]), max(scores[:8])) == (53, 97)
    logs = np.log1p([10, 20, 40, 80, 1000, 2000, 4000, 8000])
    plain = 50 + 50 * (logs.argsort().argsort() + 0.5) / 8
    assert np.ptp(scores[4:8]) > np.ptp(plain[4:8])


@pytest.mark.parametrize("score", [0, 3, 9, 10, 11, 20, 50, 69, 70, 97, 99, 100])
def test_the_wanted_score_is_what_greedy_decoding_writes(score: int) -> None:
    """Digit by digit, also next to another ten."""
    chances, written = chances_of(score), ""
    assert chances.sum() == pytest.approx(1)
    while len(written) < 3 and written != "0" and (digit := int(next_digits(chances, written).argmax())) < 10:
        written += str(digit)
    assert int(written) == score


def test_digits_are_drawn_as_their_numbers_are() -> None:
    chances = chances_of(98)
    for number in range(94, 101):
        path = 1.0
        for place, digit in enumerate(str(number)):
            path *= next_digits(chances, str(number)[:place])[int(digit)]
        end = next_digits(chances, str(number))[10]
        assert path * end == pytest.approx(chances[number])


def test_what_is_missing_is_counted() -> None:
    many = [label(str(i % 30), i, published=i % 2 == 0) for i in range(200)]
    assert missing(many) == []
    assert missing(many[:-1]) == ["199 labels of windows, 200 are needed"]
    assert missing([label("a", i) for i in range(200)]) == [
        "1 video with labels, 30 are needed",
        "0 rejected, 20 are needed",
    ]


def judgements(*, videos: int, gain: float) -> list[Judged]:
    rng = np.random.default_rng(5)
    made = []
    for video in range(videos):
        for published in (True, False):
            before, after = rng.normal(50 + 3 * published, 8), rng.normal(50 + (3 + gain) * published, 8)
            made.append(Judged(f"s3://b/{video}", published, before, after))
    return made


def test_an_adapter_is_better_where_that_is_sure() -> None:
    exam = tuning_exam(judgements(videos=60, gain=25))
    assert exam.before
    assert exam.after
    assert exam.gain.value == pytest.approx(exam.after - exam.before)
    assert exam.verdict == ""
    assert "the difference is at least -" in tuning_exam(judgements(videos=60, gain=0)).verdict
    assert (
        tuning_exam(judgements(videos=9, gain=25)).verdict
        == "9 held-out videos with labels, 20 are needed to be sure"
    )


def test_without_both_verdicts_nobody_knows() -> None:
    one = [each for each in judgements(videos=30, gain=25) if each.is_published]
    assert tuning_exam(one).verdict == "30 labels of held-out videos, and not of both verdicts"
    assert tuning_exam([]).gain.value is None
