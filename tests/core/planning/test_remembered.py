"""How long videos are is remembered, or told from their size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from tasks.core.planning.plan import why_opened
from tasks.core.planning.remembered import remember, work_of
from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.core.tables.schemas import LIBRARY

SETTINGS = Settings(source="in", output="out")


def row(name: str, size: int, seconds: float | None) -> dict[str, object]:
    frames = {"width": 640, "height": 360, "fps": 1} if seconds else {}
    return {
        "video_uri": f"s3://b/{name}",
        "video_etag": "old",
        "size_bytes": size,
        "duration_s": seconds,
        **frames,
    }


def ref(name: str, size: int, etag: str = "old") -> VideoRef:
    return VideoRef(f"s3://b/{name}", etag, size)


def library(*rows: dict[str, object]) -> object:
    table = pa.Table.from_pylist(
        list(rows), schema=pa.schema([field.with_nullable(True) for field in LIBRARY])
    )

    def tables(columns: Sequence[str]) -> Iterator[pa.Table]:
        for start in range(len(table)):
            yield table.slice(start, 1).select(columns)

    return tables


def test_lengths_are_those_remembered_or_those_of_their_size() -> None:
    known = remember(
        library(row("a", 1000, 100.0), row("b", 3000, 300.0), row("refused", 7, None)),  # type: ignore[arg-type]
        [ref("a", 1000, "new"), ref("new", 500), ref("refused", 7)],
    )
    assert known.seconds_of(ref("a", 1000, "new")) == 100.0
    assert known.seconds_of(ref("new", 500)) == pytest.approx(50.0)
    assert known.unsure_s == pytest.approx(0.0, abs=1e-3)
    assert known.frame_bytes == 3 * 640 * 360
    work = work_of([ref("a", 1000), ref("new", 35_500)], known, SETTINGS)
    assert work
    assert (work.videos, work.hours) == (2, pytest.approx((100 + 3550) / 3600))


def test_videos_of_one_size_may_have_other_lengths() -> None:
    known = remember(library(row("a", 1000, 50.0), row("b", 1000, 150.0)), [])  # type: ignore[arg-type]
    work = work_of([ref(str(n), 1000) for n in range(4)], known, SETTINGS)
    assert work
    assert work.unsure_hours == pytest.approx(2 * 50.0 * 2 / 3600)


def test_nobody_knows_the_length_of_the_first_videos() -> None:
    known = remember(library(row("refused", 7, None)), [ref("a", 1)])  # type: ignore[arg-type]
    assert known.seconds_of(ref("a", 1)) is None
    assert work_of([ref("a", 1)], known, SETTINGS) is None


def test_why_a_video_is_opened() -> None:
    known = remember(library(row("a", 1000, 50.0)), [ref("a", 1000)])  # type: ignore[arg-type]
    assert [why_opened(ref("a", 1000), known), why_opened(ref("a", 1000, "new"), known)] == [
        "anew",
        "changed",
    ]
    assert why_opened(ref("b", 1000), known) == "new"
