"""Where a segment stands in its run, and where it stood in the run before."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tasks.core.tables.reuse import PreviousRun
from tasks.core.tables.run_ranking import (
    RANK_COLUMNS,
    segment_keys,
    with_library_percentiles,
    with_previous_ranks,
)
from tasks.core.tables.schemas import RANKINGS

NULLABLE = pa.schema([field.with_nullable(True) for field in RANKINGS])


def ranking(*rows: tuple[str, float, int], **etag_of: str) -> pa.Table:
    """Rows of video, start and score, best first; a video's ETag is its name, or as given."""
    return pa.Table.from_pylist(
        [
            {
                **{"video_uri": uri, "video_etag": etag_of.get(uri, uri), "start": start, "end": start + 59},
                **{"score": score, "rank": n, "run_rank": n},
            }
            for n, (uri, start, score) in enumerate(rows, start=1)
        ],
        schema=NULLABLE,
    )


def column(table: pa.Table, name: str) -> list[Any]:
    return table.column(name).to_pylist()


TODAY = ranking(("b", 0.0, 90), ("a", 0.0, 70), ("a", 3.0, 70), ("c", 0.1, 10))


def test_the_percentile_in_the_library_is_the_share_that_is_lower() -> None:
    assert column(with_library_percentiles(TODAY), "library_percentile") == [87.5, 50.0, 50.0, 12.5]
    assert column(with_library_percentiles(ranking(("a", 0.0, 3))), "library_percentile") == [50.0]


@pytest.mark.parametrize(
    ("before", "ranks"),
    [
        (ranking(("a", 3.0, 9), ("a", 0.0, 5), ("z", 0.0, 1)), [None, 2, 1, None]),
        (ranking(("c", 0.1, 90), ("b", 0.0, 90)), [2, None, None, 1]),
        (ranking(("old name of a", 3.0, 9), ("b", 0.0, 8), **{"old name of a": "a"}), [2, None, 1, None]),
        (ranking(("b", 0.0, 9), ("copied as a", 0.0, 8), **{"copied as a": "b"}), [1, None, None, None]),
        (ranking(), [None] * 4),
    ],
)
def test_the_ranks_of_the_run_before(before: pa.Table, ranks: list[int | None]) -> None:
    table = with_previous_ranks(TODAY, PreviousRun("run-0", {}, {}, before.select(RANK_COLUMNS)))
    assert column(table, "previous_run_id") == ["run-0"] * 4
    assert column(table, "previous_rank") == column(table, "previous_run_rank") == ranks


def test_without_a_run_before_nothing_is_said_of_it() -> None:
    carried = with_previous_ranks(TODAY, PreviousRun("run-0", {}, {}, TODAY.select(RANK_COLUMNS)))
    again = with_previous_ranks(carried, None)
    for name in ("previous_run_id", "previous_rank", "previous_run_rank"):
        assert column(again, name) == [None] * 4


def test_a_segment_is_known_by_video_start_and_end() -> None:
    others = ranking(("a", 0.0, 1), ("a", 0.1, 1), ("b", 0.0, 1), ("0.0 a", 0.0, 1))
    assert len(set(segment_keys(others).to_pylist())) == 4
    assert segment_keys(ranking()).to_pylist() == []


def test_an_empty_ranking_stays_empty() -> None:
    empty = with_previous_ranks(ranking(), PreviousRun("run-0", {}, {}, TODAY.select(RANK_COLUMNS)))
    assert (len(empty), empty.schema) == (0, NULLABLE)
