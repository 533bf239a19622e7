"""Where a segment stands in its run, and where it stood in the run before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters.storage.parquet_files import ParquetRows, write_tables
from tasks.core.learning.calibration import platt
from tasks.core.scoring.fast_scores import mid_ranks
from tasks.core.tables import run_ranking
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.run_ranking import (
    BEST_FIRST,
    PreviousRanking,
    ranked_videos,
    segment_keys,
    with_column,
)
from tasks.core.tables.schemas import LABELS, RANKINGS
from tasks.core.tables.sorted_rows import Tables, in_order

NULLABLE = pa.schema([field.with_nullable(True) for field in RANKINGS])


@pytest.fixture(autouse=True, scope="module")
def _nullable() -> Iterator[None]:
    """Rows of few columns will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_ranking, "RANKINGS", NULLABLE)
        yield


def tables_of(table: pa.Table, *, rows: int = 2) -> Tables:
    """The rows as they come from a file, some at a time."""
    return lambda columns: (
        table.slice(start, rows).select(columns or table.column_names) for start in range(0, len(table), rows)
    )


def ranked(made: pa.Table, previous: PreviousRanking | None = None) -> pa.Table:
    known = run_ranking.survey(made, previous)
    tables = run_ranking.run_ranking(made, previous, known, run_id="run-1")
    return pa.concat_tables([NULLABLE.empty_table(), *tables])


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
    assert column(ranked(TODAY), "library_percentile") == [87.5, 50.0, 50.0, 12.5]
    assert column(ranked(ranking(("a", 0.0, 3))), "library_percentile") == [50.0]


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
    previous = PreviousRanking("run-0", tables_of(before))
    table = ranked(TODAY, previous)
    assert column(table, "previous_run_id") == ["run-0"] * 4
    assert column(table, "previous_rank") == column(table, "previous_run_rank") == ranks


def test_a_video_with_another_name_has_its_ranks_also_where_the_old_one_stays() -> None:
    before = ranking(("a", 0.0, 9), ("b", 0.0, 8), **{"a": "same", "b": "same"})
    previous = PreviousRanking("run-0", tables_of(before), pa.array(["b"]))
    table = ranked(ranking(("new", 0.0, 1), new="same"), previous)
    assert column(table, "video_uri") == ["a", "new"]
    assert column(table, "previous_run_rank") == [1, 2]


def test_without_a_run_before_nothing_is_said_of_it() -> None:
    for name in ("previous_run_id", "previous_rank", "previous_run_rank"):
        assert column(ranked(TODAY), name) == [None] * 4


def test_a_segment_is_known_by_video_start_and_end() -> None:
    others = ranking(("a", 0.0, 1), ("a", 0.1, 1), ("b", 0.0, 1), ("0.0 a", 0.0, 1))
    assert len(set(segment_keys(others).to_pylist())) == 4
    assert segment_keys(ranking()).to_pylist() == []


def test_an_empty_ranking_stays_empty() -> None:
    empty = ranked(ranking(), PreviousRanking("run-0", tables_of(TODAY)))
    assert (len(empty), empty.schema) == (0, NULLABLE)


def test_the_videos_of_a_ranking_are_named_once_each() -> None:
    assert str(ranked_videos([TODAY.slice(0, 2), TODAY.slice(2)])) == str(pa.array(["b"]))
    assert ranked_videos([TODAY.slice(2), TODAY.slice(0, 2)]) is None
    assert ranked_videos([TODAY.take([1, 0, 2, 3])]) is None
    with pytest.raises(ValueError, match="101"):
        ranked_videos([ranking(("a", 0.0, 101))])


def test_only_some_rows_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_ranking, "ROW_GROUP_ROWS", 4)
    before = ranking(*((f"video {n:02}", 0.0, 99 - n) for n in range(60)))
    read = 0

    def rows(columns: Sequence[str] | None) -> Iterator[pa.Table]:
        nonlocal read
        read = 0
        for start in range(0, len(before), 4):
            read += 4
            yield before.slice(start, 4).select(columns or before.column_names)

    previous = PreviousRanking("run-0", rows, pa.array(["video 03", "video 30"]))
    made = ranking(("new", 0.0, 70), ("newer", 0.0, 50))
    known, written = run_ranking.survey(made, previous), 0
    for table in run_ranking.run_ranking(made, previous, known, run_id="run-1"):
        written += len(table)
        assert read <= written + 8
    assert written == 60


@st.composite
def rows(draw: st.DrawFn, videos: str) -> pa.Table:
    """The ranking of some videos, with many ties."""
    made = []
    for video in draw(st.lists(st.sampled_from(videos), unique=True)):
        for rank, start in enumerate(draw(st.lists(st.integers(0, 9), max_size=4, unique=True)), start=1):
            expected = draw(st.sampled_from([None, 0.5, 1.5, float("nan")]))
            made.append(
                {
                    **dict.fromkeys(RANKINGS.names, None),
                    **{"run_id": "run-0", "video_uri": video, "video_etag": f"etag {video.lower()}"},
                    **{"rank": rank, "run_rank": 0, "start": float(start), "end": start + 5.0},
                    **{"score": draw(st.integers(0, 2)), "videomae_score": draw(st.integers(0, 1))},
                    "videollama3": draw(st.sampled_from([None, {"expected_score": expected}])),
                    "moment": draw(st.integers(0, 99)),
                }
            )
    return in_order(pa.Table.from_pylist(made, schema=NULLABLE), BEST_FIRST)


@given(
    rows("abcdA"), rows("abcdABC"), st.sets(st.sampled_from("abcdA")), st.integers(1, 4), st.integers(1, 4)
)
def test_merging_streams_gives_the_file_of_sorting_all(
    before: pa.Table, made: pa.Table, gone: set[str], read: int, written: int
) -> None:
    before = with_column(before, "run_rank", pa.array(range(1, len(before) + 1), pa.int32()))
    gone |= set(made["video_uri"].to_pylist())
    previous = PreviousRanking("run-0", tables_of(before, rows=read), pa.array(sorted(gone), pa.string()))
    expected = sorted_whole(before, made, gone)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_ranking, "SEARCHED_ROWS", 3)
        patch.setattr(run_ranking, "ROW_GROUP_ROWS", written)
        files = [Path(folder, name) for name in ("whole.parquet", "streamed.parquet")]
        options = write_options(expected) | {"row_group_size": written}
        pq.write_table(expected, files[0], **options)
        known = run_ranking.survey(made, previous)
        tables = run_ranking.run_ranking(made, previous, known, run_id="run-1")
        write_tables(files[1], tables, NULLABLE, rows=known.rows)
        assert known.rows == len(expected)
        assert files[1].read_bytes() == files[0].read_bytes()


def sorted_whole(before: pa.Table, made: pa.Table, gone: set[str]) -> pa.Table:
    """The ranking of a run, made of all its rows at once."""
    old = before.to_pylist()
    kept = [row for row in old if row["video_uri"] not in gone]
    now = [*made.to_pylist(), *kept]
    known, names = {row["video_uri"] for row in old}, {row["video_uri"] for row in now}
    places = {(row["video_uri"], row["start"]): row for row in old}
    for row in now:
        name = row["video_uri"]
        if name not in known:  # by its ETag, first a name that is gone
            others = (each["video_uri"] for each in old if each["video_etag"] == row["video_etag"])
            name = min(others, key=lambda uri: (uri in names, uri), default=name)
        place = places.get((name, row["start"]), {"rank": None, "run_rank": None})
        row |= {"run_id": "run-1", "previous_run_id": "run-0"}
        row |= {f"previous_{each}": place[each] for each in ("rank", "run_rank")}
    scores = [row["score"] for row in now]
    for row, percentile in zip(now, mid_ranks(scores, among=scores), strict=True):
        row["library_percentile"] = float(percentile)
    table = in_order(pa.Table.from_pylist(now, schema=NULLABLE), BEST_FIRST).combine_chunks()
    return with_column(table, "run_rank", pa.array(range(1, len(table) + 1), pa.int32()))


def judged(count: int, *, first: int = 0) -> pa.Table:
    """Segments of as many videos, best first, with what the deep model expects of all but the last."""
    rows = ranking(*((f"v{n:03}", 0.0, 100 - n) for n in range(first, first + count))).to_pylist()
    for n, row in enumerate(rows, start=first):
        row["videollama3"] = {"expected_score": 100.0 - n}
    rows[-1]["videollama3"] = None
    return pa.Table.from_pylist(rows, schema=NULLABLE)


def verdicts(count: int, *, published: int) -> pa.Table:
    """Labels of as many of these videos: what the deep model likes is published, with some exceptions."""
    when = datetime(2026, 11, 22, tzinfo=UTC)
    return pa.Table.from_pylist(
        [
            {
                "video_uri": f"v{n:03}",
                "video_etag": f"v{n:03}",
                "start": 0.0,
                "end": 59.0,
                "verdict": "published" if (n < published) is (n % 5 > 0) else "rejected",
                "match": "ranked",
                "scored_in": "run-0",
                "imported_at": when,
            }
            for n in range(count)
        ],
        schema=LABELS,
    )


def test_labels_tell_the_chance_of_every_row_once_there_are_enough(tmp_path: Path) -> None:
    made, before = judged(30), judged(30, first=30)
    write_tables(tmp_path / "before.parquet", [before], NULLABLE, rows=30)
    gone = pa.array([], pa.string())
    previous = PreviousRanking("run-0", ParquetRows(tmp_path / "before.parquet"), gone)
    labels = verdicts(50, published=25)
    chance = run_ranking.publish_chance(made, previous, labels)
    known = run_ranking.survey(made, previous)
    rows = pa.concat_tables(run_ranking.run_ranking(made, previous, known, run_id="run-1", chance=chance))
    found = {row["video_uri"]: row["publish_probability"] for row in rows.to_pylist()}
    assert len(found) == 60
    assert {uri for uri, value in found.items() if value is None} == {"v029", "v059"}  # it said nothing
    score, published = (np.array(each) for each in zip(*(
        (100.0 - n, labels["verdict"][n].as_py() == "published") for n in range(50) if n != 29
    ), strict=True))  # fmt: skip
    expected = platt(score, published)
    assert expected
    assert [found["v000"], found["v058"]] == pytest.approx(expected(np.array([100.0, 42.0])).tolist())
    assert found["v000"] > 0.6 > 0.4 > found["v058"]


@pytest.mark.parametrize(("count", "published"), [(39, 20), (60, 10)])
def test_before_that_no_chance_is_told(count: int, published: int) -> None:
    made, labels = judged(60), verdicts(count, published=published)
    assert run_ranking.publish_chance(made, None, labels) is None
    assert set(column(ranked(made), "publish_probability")) == {None}


def test_labels_of_what_is_not_ranked_any_more_do_not_count() -> None:
    assert run_ranking.publish_chance(judged(60), None, verdicts(50, published=25))
    assert run_ranking.publish_chance(judged(60, first=30), None, verdicts(50, published=25)) is None
