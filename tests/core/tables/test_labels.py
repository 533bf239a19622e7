"""Labels are checked row by row, and matched with what was scored."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from tasks.core.errors import SettingsError
from tasks.core.records import Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.labels import (
    Label,
    as_stored,
    checked_labels,
    labels_table,
    matched,
    newest,
    under_current_names,
)
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.schemas import LABELS

TODAY = date(2026, 11, 24)
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    given = {"video_uri": "s3://b/a.mp4", "start": "0", "end": "59", "verdict": "published", "views": ""}
    return given | changes


def test_labels_of_a_csv_become_what_they_mean() -> None:
    (label,) = checked_labels([row(views="1200", labelled_on="2026-11-23", rank="1")], name="v.csv")
    assert label == Label(
        video_uri="s3://b/a.mp4",
        start=0.0,
        end=59.0,
        verdict="published",
        views=1200,
        labelled_on=date(2026, 11, 23),
    )


COMPOSED = "s3://b/Caf\N{LATIN SMALL LETTER E WITH ACUTE}.mp4"
DECOMPOSED = "s3://b/Cafe\N{COMBINING ACUTE ACCENT}.mp4"


@pytest.mark.parametrize(
    ("typed", "stored", "found"),
    [
        (COMPOSED, [DECOMPOSED], DECOMPOSED),
        (DECOMPOSED, [COMPOSED], COMPOSED),
        (DECOMPOSED, [COMPOSED, DECOMPOSED], DECOMPOSED),
        (COMPOSED, [COMPOSED, DECOMPOSED], COMPOSED),
        (COMPOSED, ["s3://b/cafe.mp4"], COMPOSED),
    ],
)
def test_a_label_gets_the_uri_as_it_is_stored(typed: str, stored: list[str], found: str) -> None:
    labels = checked_labels([row(video_uri=typed)], name="v.csv")
    assert [label.video_uri for label in as_stored(labels, stored, name="v.csv")] == [found]


def test_a_segment_labelled_in_both_forms_is_there_twice() -> None:
    labels = checked_labels([row(video_uri=COMPOSED), row(video_uri=DECOMPOSED)], name="v.csv")
    with pytest.raises(SettingsError, match=r"^v.csv: the segment .* is there twice"):
        as_stored(labels, [DECOMPOSED], name="v.csv")
    assert len(as_stored(labels, [COMPOSED, DECOMPOSED], name="v.csv")) == 2


def test_rows_that_have_not_been_labelled_are_left_out() -> None:
    rows = [row(verdict=""), row(verdict=None, views=None), row(start="3", end="62")]
    assert [label.start for label in checked_labels(rows, name="v.csv")] == [3.0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdict": "publish"}, "verdict is 'publish': input should be 'published' or 'rejected'"),
        ({"verdict": "", "views": "7"}, "verdict is None"),
        ({"start": "0:30"}, "start is '0:30': input should be a valid number"),
        ({"start": "nan"}, "start is 'nan': input should be a finite number"),
        ({"start": "-1"}, "start is '-1': input should be greater than or equal to 0"),
        ({"start": "70"}, "end 62.0 is not after start 70.0: give both in seconds"),
        ({"views": "many"}, "views is 'many': input should be a valid integer"),
        ({"views": "7", "verdict": "rejected"}, "views 7 of a rejected segment: leave them out"),
        ({"labelled_on": "yesterday"}, "labelled_on is 'yesterday'"),
        ({"video_uri": ""}, "video_uri is None"),
    ],
)
def test_a_wrong_row_is_named_with_its_value_and_the_fix(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        checked_labels([row(), row(start="3", end="62") | changes], name="v.csv")
    assert f"v.csv, row 2: {says}" in str(refused.value)


def test_a_segment_labelled_twice_is_named() -> None:
    with pytest.raises(SettingsError, match=r"row 3: the segment of row 1 again"):
        checked_labels([row(), row(start="3"), row(start="0.0", verdict="rejected")], name="v.csv")


def test_of_many_wrong_rows_the_first_are_named() -> None:
    with pytest.raises(SettingsError) as refused:
        checked_labels([row(verdict="?") for _ in range(50)], name="v.csv")
    assert str(refused.value).count("verdict is") == 20
    assert "... and 30 more" in str(refused.value)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SettingsError, match="no column end, verdict"):
        checked_labels([{"video_uri": "a", "start": 0}], name="v.csv")


def entry(name: str, *, ranked: bool = True) -> LibraryEntry:
    video = VideoRef(f"s3://b/{name}", "etag", 9)
    timeline = Timeline(video, "", 122, 1, 28, 28, 121.5, "decord") if ranked else None
    return LibraryEntry(video, Digests("s", "r", "b"), TODAY, timeline, "run-1", TODAY)


ENTRIES = {item.video.uri: item for item in (entry("a.mp4"), entry("refused.mp4", ranked=False))}
RANKED = {"s3://b/a.mp4": [(0.0, 59.0), (3.0, 62.0)]}
WINDOWS = {"s3://b/a.mp4": [(0.0, 59.0), (3.0, 62.0), (62.52, 121.46)]}


@pytest.mark.parametrize(
    ("changes", "match", "span"),
    [
        ({}, "ranked", (0.0, 59.0)),
        ({"video_etag": "etag"}, "ranked", (0.0, 59.0)),
        ({"start": 3.04, "end": 61.95}, "ranked", (3.0, 62.0)),
        ({"start": 62.5, "end": 121.5}, "window", (62.52, 121.46)),
        ({"start": 3.1, "end": 62.0}, "overlap", (3.0, 62.0)),
        ({"start": 12.4, "end": 47.1}, "overlap", (0.0, 59.0)),
        ({"start": 12.4, "end": 40.0}, "no_window", (12.4, 40.0)),
        ({"video_etag": "old"}, "other_version", (0.0, 59.0)),
        ({"video_uri": "s3://b/refused.mp4"}, "no_video", (0.0, 59.0)),
        ({"video_uri": "s3://b/unknown.mp4"}, "no_video", (0.0, 59.0)),
    ],
)
def test_a_label_is_matched_with_its_window(
    changes: dict[str, Any], match: str, span: tuple[float, float]
) -> None:
    labels = checked_labels([row() | changes], name="v.csv")
    (found,) = matched(labels, ENTRIES, ranked=RANKED, windows=WINDOWS)
    assert found.match == match
    assert (found.label.start, found.label.end) == span
    assert found.scored_in == ("run-1" if match in ("ranked", "window", "overlap") else None)


def test_a_final_cut_is_of_the_window_that_it_overlaps_most_and_says_how_much() -> None:
    """Each window once: of two cuts of one window, the other has the next best, or the nearest is named."""
    given = [("2", "61"), ("0", "56"), ("10", "62"), ("119", "121")]
    cuts = [row(start=start, end=end) for start, end in given]
    labels = checked_labels(cuts, name="v.csv")
    found = list(matched(labels, ENTRIES, ranked=RANKED, windows=WINDOWS))
    by_given = {item.given or (item.label.start, item.label.end): item for item in found}
    first, second = by_given[2, 61], by_given[0, 56]
    assert (first.label.start, first.label.end, first.iou) == (3.0, 62.0, pytest.approx(58 / 60))
    assert (second.label.start, second.label.end, second.iou) == (0.0, 59.0, pytest.approx(56 / 59))
    lost = by_given[10, 62]
    assert (lost.match, lost.nearest, lost.scored_in) == ("no_window", (3.0, 62.0), None)
    assert by_given[119, 121].nearest == (62.52, 121.46)
    table = labels_table(found, imported_at=NOW).to_pylist()
    assert [(row["given_start"], row["given_end"]) for row in table if row["iou"]] == [(0, 56), (2, 61)]


def test_a_label_of_the_exact_window_comes_before_one_that_overlaps_it() -> None:
    labels = checked_labels([row(start="1", end="59.5"), row()], name="v.csv")
    found = {item.match: item for item in matched(labels, ENTRIES, ranked=RANKED, windows=WINDOWS)}
    assert (found["ranked"].label.start, found["overlap"].label.start) == (0.0, 3.0)


@pytest.mark.parametrize(
    ("changes", "ranked", "name"),
    [
        ({}, {"s3://b/new.mp4": "etag"}, "s3://b/new.mp4"),
        (
            {"video_uri": "s3://b/forgotten.mp4", "video_etag": "etag"},
            {"s3://b/a.mp4": "etag"},
            "s3://b/a.mp4",
        ),
        ({}, {"s3://b/a.mp4": "etag", "s3://b/A copy.mp4": "etag"}, "s3://b/a.mp4"),
        ({"video_etag": "old"}, {"s3://b/new.mp4": "etag"}, "s3://b/a.mp4"),
        ({"video_uri": "s3://b/unknown.mp4"}, {"s3://b/a.mp4": "etag"}, "s3://b/unknown.mp4"),
    ],
)
def test_a_label_follows_a_renamed_video(changes: dict[str, Any], ranked: dict[str, str], name: str) -> None:
    labels = checked_labels([row() | changes], name="v.csv")
    (label,) = under_current_names(labels, ENTRIES, ranked)
    assert label.video_uri == name


def test_the_newest_label_of_a_segment_counts() -> None:
    def imported(hour: int, **changes: Any) -> pa.Table:
        labels = checked_labels([row() | changes], name="v.csv")
        found = matched(labels, ENTRIES, ranked=RANKED, windows=WINDOWS)
        return labels_table(found, imported_at=NOW.replace(hour=hour))

    tables = [imported(9, views=5), imported(10, views=700), imported(8), imported(7, start=3.0, end=62.0)]
    kept = newest(pa.concat_tables(tables))
    assert kept.schema.equals(LABELS)
    assert kept.select(["start", "views"]).to_pylist() == [
        {"start": 0.0, "views": 700}, {"start": 3.0, "views": None}
    ]  # fmt: skip
    assert len(newest(LABELS.empty_table())) == 0


def test_verdicts_on_two_versions_of_a_video_go_in_together_and_that_on_the_scored_one_counts() -> None:
    """As the report exports them once a video has been replaced."""
    rows = [row(video_etag="old", verdict="rejected"), row(video_etag="etag")]
    labels = as_stored(checked_labels(rows, name="v.csv"), ENTRIES, name="v.csv")
    found = list(matched(labels, ENTRIES, ranked=RANKED, windows=WINDOWS))
    assert {item.match: item.label.verdict for item in found} == {
        "other_version": "rejected",
        "ranked": "published",
    }
    (kept,) = newest(labels_table(found, imported_at=NOW)).to_pylist()
    assert (kept["verdict"], kept["match"]) == ("published", "ranked")
