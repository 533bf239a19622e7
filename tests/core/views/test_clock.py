"""Times as programs for cutting write them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tasks.core.views.clock import timecode


@pytest.mark.parametrize(
    ("fps", "seconds", "written"),
    [
        (23.976, 3600.0, "00:59:56:09"),
        (24.0, 3600.0, "01:00:00:00"),
        (25.0, 59.96, "00:00:59:24"),
        (29.97, 3600.0, "01:00:00;00"),
        (29.97, 10.01, "00:00:10;00"),
        (30.0, 90.5, "00:01:30:15"),
        (50.0, 0.98, "00:00:00:49"),
        (59.94, 60.06, "00:01:00;04"),
        (60.0, 7200.0, "02:00:00:00"),
        (12.3, 2.5, "00:00:02:06"),  # of no standard: the picture within the second
    ],
)
def test_a_time_is_written_as_the_rate_of_the_video_counts(fps: float, seconds: float, written: str) -> None:
    assert timecode(seconds, fps) == written


@pytest.mark.parametrize(("fps", "nominal"), [(29.97, 30), (59.94, 60)])
def test_numbers_are_dropped_as_smpte_says(fps: float, nominal: int) -> None:
    """Each minute but every tenth begins with the third or fifth number; all others are in use."""
    numbers = (
        (minute, second, picture)
        for minute in range(21)
        for second in range(60)
        for picture in range(nominal // 15 if second == 0 and minute % 10 else 0, nominal)
    )
    for number, (minute, second, picture) in enumerate(numbers):
        written = f"00:{minute:02}:{second:02};{picture:02}"
        assert timecode(number * 1001 / (nominal * 1000), fps) == written


@pytest.mark.parametrize("fps", [23.976, 25.0, 27.5, 29.97])
def test_later_is_never_written_as_earlier(fps: float) -> None:
    written = [timecode(tenth / 10, fps).replace(";", ":") for tenth in range(0, 7000, 3)]
    assert all(earlier <= later for earlier, later in pairwise(written))
