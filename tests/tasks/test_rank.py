"""What is wrong with a file that is ranked all the same is a row of `failures`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.records import Timeline, VideoRef
from tasks.rank import damage

WHOLE = Timeline(VideoRef("s3://b/a.mp4", "etag", 9), "", 6, 1, 28, 28, 6.0, "pyav")


@pytest.mark.parametrize(
    ("missing", "unused", "reasons"),
    [
        (None, None, []),
        ("Cut off.", None, ["truncated"]),
        (None, "More behind.", ["joined"]),
        ("Cut off.", "More behind.", ["truncated", "joined"]),
    ],
)
def test_what_is_missing_and_what_is_not_used_are_rows_of_their_own(
    missing: str | None, unused: str | None, reasons: list[str]
) -> None:
    rows = list(damage(replace(WHOLE, damage=missing, unused=unused)))
    assert [row.reason for row in rows] == reasons
    assert all(said in "".join(row.detail for row in rows) for said in (missing, unused) if said)
