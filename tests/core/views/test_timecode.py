"""Timecode counts as OpenTimelineIO does."""

from __future__ import annotations

from fractions import Fraction

import opentimelineio as otio
import pytest

from tasks.core.views.timecode import RATES, frames_of, rate_near, timecode

DAY_S = 24 * 3600


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("is_drop", [False, True], ids=["all", "drop"])
def test_every_picture_has_its_timecode(rate: Fraction, is_drop: bool) -> None:
    if is_drop and rate not in (Fraction(30000, 1001), Fraction(60000, 1001)):
        assert frames_of("01:00:00;00", rate) == (3600 * round(rate), False)  # there is no drop-frame
        return
    near_minutes = [
        minute * 60 * round(rate) + near for minute in range(0, 130) for near in (-30, -1, 0, 1, 2, 5)
    ]
    for frames in (*filter(lambda each: each >= 0, near_minutes), int(DAY_S * rate) - 200):
        shown = timecode(frames, rate, is_drop=is_drop)
        at = otio.opentime.RationalTime(frames, float(rate))
        assert shown == otio.opentime.to_timecode(at, float(rate), is_drop)
        assert frames_of(shown, rate) == (frames, is_drop)


@pytest.mark.parametrize(
    "text", ["", "soon", "00:60:00:00", "00:00:00:30", "1:00:00:00", "\u0660\u0660:00:00:00"]
)
def test_what_is_no_timecode_is_none(text: str) -> None:
    assert frames_of(text, Fraction(30000, 1001)) is None


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        *((23.976, "24000/1001"), (24.0, "24"), (25.0, "25"), (29.97, "30000/1001"), (30.0, "30")),
        *((50.0, "50"), (59.94, "60000/1001"), (60.0, "60"), (12.5, "25"), (119.88, "60000/1001")),
        *((1.0, "24"), (48.0, "24"), (10.0, "30"), (72.0, "24"), (90.0, "30"), (240.0, "60"), (33.3, "30")),
        *((-25.0, "30"), (float("inf"), "30"), (float("nan"), "30"), (0.0, "30")),
    ],
)
def test_the_rate_of_a_timeline_is_one_that_programs_know(fps: float, rate: str) -> None:
    assert str(rate_near(fps)) == rate


@pytest.mark.parametrize(
    ("fps", "start", "rate"),
    [
        *((30.0, "01:00:00;00", "30000/1001"), (30.0, "01:00:00:00", "30"), (30.0, "soon;", "30")),
        *(
            (60.0, "01:00:00;00", "60000/1001"),
            (25.0, "01:00:00;00", "25"),
            (29.97, "01:00:00;00", "30000/1001"),
        ),
    ],
)
def test_drop_frame_has_a_rate_that_knows_it(fps: float, start: str, rate: str) -> None:
    assert str(rate_near(fps, start)) == rate
