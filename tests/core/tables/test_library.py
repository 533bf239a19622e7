"""What is remembered of a video is read back as it was, and holds as long as nothing changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from tasks.core.records import Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry, library_table, read_library
from tasks.core.tables.schemas import LIBRARY

TODAY = date(2026, 11, 22)
DIGESTS = Digests("scoring", "rejecting", "50000-90000/28")
UPLOADED = datetime(2026, 11, 20, 12, tzinfo=UTC)
A, B = VideoRef("s3://b/a.mp4", "etag", 9, UPLOADED), VideoRef("s3://b/b.mp4", "etag", 9)
TIMELINE = Timeline(
    *(A, "", 122, 1, 28, 56, 121.5, "ffmpeg", "Cut off.", 1.5, 2.5),
    "",
    *("hevc", 1080, 1920, 29.97, "More behind."),
    source_timecode="01:00:00;00",
    source_rate=30000 / 1001,
)
RANKED = LibraryEntry(A, DIGESTS, TODAY, TIMELINE, "run-1", TODAY, 2, 3.5, 4.5, "run-2")
REJECTED = LibraryEntry(B, DIGESTS, TODAY)


def test_entries_are_read_back_by_uri() -> None:
    table = library_table([REJECTED, RANKED], listed={A.uri})
    assert table.schema.equals(LIBRARY)
    assert table.column("status").to_pylist() == ["ranked", "rejected"]
    assert table.column("listed").to_pylist() == [True, False]
    read = read_library(table)
    assert read == {A.uri: RANKED, B.uri: REJECTED}
    assert read[A.uri].video.modified_at == UPLOADED


def test_a_library_of_an_earlier_version_is_read_without_what_came_later() -> None:
    later = LIBRARY.names[LIBRARY.names.index("last_modified") :]
    (entry,) = read_library(library_table([RANKED], listed={A.uri}).drop_columns(later)).values()
    assert entry.timeline == replace(
        TIMELINE,
        **dict.fromkeys(("codec", "source_width", "source_height", "source_fps", "unused", "sound_damage")),
        **dict.fromkeys(("fetch_seconds", "decode_seconds", "source_timecode", "source_rate")),
    )
    (row,) = library_table([entry], listed={A.uri}).to_pylist()
    assert {row[name] for name in later if name != "listed"} == {None}


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"video_uri": ["a"]}),
        library_table([RANKED], listed={A.uri}).drop_columns("size_bytes"),
        library_table([RANKED], listed={A.uri}).set_column(2, "size_bytes", pa.array(["many"])),
    ],
)
def test_what_is_no_library_is_refused(table: pa.Table) -> None:
    with pytest.raises((ValueError, KeyError)):
        read_library(table)


@pytest.mark.parametrize(
    ("video", "digests", "ranked_holds", "refusal_holds"),
    [
        ({}, {}, True, True),
        ({"uri": "s3://b/other.mp4"}, {}, False, False),
        ({"etag": "another"}, {}, False, False),
        ({"size_bytes": 10}, {}, False, False),
        ({}, {"scoring": "another"}, False, True),
        ({}, {"rejecting": "another"}, True, False),
        ({}, {"frame_budget": "another"}, False, False),
    ],
)
def test_it_holds_until_something_that_decides_it_changes(
    video: dict[str, Any], digests: dict[str, Any], ranked_holds: bool, refusal_holds: bool
) -> None:
    now = replace(DIGESTS, **digests)
    assert RANKED.holds_for(replace(A, **video), now, at_any_size=False) is ranked_holds
    assert REJECTED.holds_for(replace(B, **video), now, at_any_size=False) is refusal_holds


def test_where_nobody_knows_the_size_of_frames_any_will_do() -> None:
    unknown = replace(DIGESTS, frame_budget="another")
    assert RANKED.holds_for(A, unknown, at_any_size=True)
    assert not RANKED.holds_for(A, replace(unknown, scoring="another"), at_any_size=True)


def test_a_uri_that_is_no_text_is_not_remembered() -> None:
    odd = VideoRef("file:///a\udcff.mp4", "etag", 9)
    remembered = read_library(library_table([replace(REJECTED, video=odd)], listed={A.uri}))
    assert not any(entry.holds_for(odd, DIGESTS, at_any_size=False) for entry in remembered.values())
