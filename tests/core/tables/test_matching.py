"""Listed videos are told apart by what earlier runs found out about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Failure, FailureKind, Stage, Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import KEPT_DAYS, LibraryEntry, library_table, read_library
from tasks.core.tables.matching import Matches, match_videos
from tasks.core.tables.reuse import PreviousRun
from tasks.core.tables.schemas import LIBRARY
from tasks.core.tables.sorted_rows import no_rows

YESTERDAY = date(2026, 11, 21)
TODAY = date(2026, 11, 22)
DIGESTS = Digests("scoring", "rejecting", "budget")
NEWER = datetime(2026, 11, 22, 1, tzinfo=UTC)


def ref(name: str, **changes: Any) -> VideoRef:
    return replace(VideoRef(f"s3://b/{name}", "etag", 9, NEWER), **changes)


def entry(name: str, *, damage: str | None = None, **changes: Any) -> LibraryEntry:
    video = ref(name, modified_at=None)
    timeline = Timeline(video, "", 12, 1, 28, 28, 11.5, "decord", damage)
    return replace(LibraryEntry(video, DIGESTS, YESTERDAY, timeline, "run-1", YESTERDAY), **changes)


ENTRIES = (
    entry("damaged", damage="Cut off."),
    entry("elsewhere"),
    entry("long gone", last_listed=YESTERDAY - timedelta(days=60)),
    entry("ranked"),
    entry("rejected", timeline=None),
    entry("rejected without a reason", timeline=None),
    entry("replaced", video=ref("replaced", etag="old")),
    entry("unanswered", unanswered=1),
    entry("untranscribed", untranscribed=True),
    entry("without rows"),
)
RANKED = ("damaged", "ranked", "replaced", "unanswered", "untranscribed")
REFUSAL = Failure(ref("rejected", size_bytes=0), Stage.PROBE, FailureKind.REJECTED, "empty", "It is empty.")
LISTED = [
    ref(name)
    for name in (
        *("a new one", "damaged", "new", "ranked", "rejected", "rejected without a reason", "replaced"),
        *("unanswered", "untranscribed", "without rows", "zuletzt"),
    )
]


@dataclass
class Found:
    """What came of the listed videos, and the rows of the library that stay."""

    matches: Matches
    library: pa.Table

    @property
    def gone(self) -> list[str]:
        return [uri.rsplit("/", 1)[1] for uri in pa.concat_arrays(self.matches.gone).to_pylist()]


def match(
    listed: Sequence[VideoRef] = LISTED,
    entries: Sequence[LibraryEntry] = ENTRIES,
    *,
    ranked: Sequence[str] | None = RANKED,
    rows_at_once: int = 3,
    digests: Digests = DIGESTS,
    **how: Any,
) -> Found:
    library = library_table(entries, listed=set())

    def tables(columns: object) -> Iterator[pa.Table]:
        for start in range(0, len(library), rows_at_once):
            yield library.slice(start, rows_at_once)

    uris = None if ranked is None else pa.array([ref(name).uri for name in ranked], pa.string())
    previous = PreviousRun("run-1", tables, {REFUSAL.video.uri: REFUSAL}, no_rows, uris)
    kept: list[pa.Table] = [LIBRARY.empty_table()]
    matches = match_videos(listed, previous, digests, today=TODAY, keep=kept.append, **how)
    return Found(matches, pa.concat_tables(kept))


def names(found: Sequence[LibraryEntry]) -> list[str]:
    return [item.video.name for item in found]


@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
def test_videos_are_told_apart(rows_at_once: int) -> None:
    found = match(rows_at_once=rows_at_once)
    assert found.matches.settled == 2
    assert names(found.matches.damaged) == ["damaged"]
    assert names(found.matches.scored) == ["unanswered", "untranscribed", "without rows"]
    assert {item.last_listed for item in found.matches.scored} == {TODAY}
    assert {item.video.modified_at for item in found.matches.scored} == {NEWER}
    assert found.matches.refused == [replace(REFUSAL, video=ref("rejected"))]
    assert [video.name for video in found.matches.to_open] == [
        *("a new one", "new", "rejected without a reason", "replaced", "zuletzt")
    ]
    assert found.gone == ["replaced", "unanswered", "untranscribed"]


def test_what_is_known_and_need_not_be_asked_again_stays_in_the_library() -> None:
    rows = match().library.to_pylist()
    assert [row["video_uri"].rsplit("/", 1)[1] for row in rows] == [
        "damaged",
        "elsewhere",
        "ranked",
        "rejected",
    ]
    assert [row["last_listed"] for row in rows] == [TODAY, YESTERDAY, TODAY, TODAY]
    assert [row["listed"] for row in rows] == [True, False, True, True]
    assert [row["last_modified"] for row in rows] == [NEWER, None, NEWER, None]
    assert match(also_listed=[ref("elsewhere").uri]).library["listed"].to_pylist() == [True] * 4


def test_by_other_settings_all_are_ranked_again() -> None:
    found = match(ranked=None)
    assert found.matches.settled == 0
    again = ["damaged", "ranked", "unanswered", "untranscribed", "without rows"]
    assert names(found.matches.scored) == again


def test_to_score_anew_means_to_know_nothing_of_what_is_listed() -> None:
    found = match(rescore=True)
    assert found.matches.to_open == LISTED
    assert found.library["video_uri"].to_pylist() == [ref("elsewhere").uri]
    assert found.gone == list(RANKED)


def test_what_is_not_listed_is_forgotten_after_some_time() -> None:
    old = [entry(str(days), last_listed=TODAY - timedelta(days=days)) for days in (KEPT_DAYS, KEPT_DAYS + 1)]
    assert match([], old).library["video_uri"].to_pylist() == [old[0].video.uri]


def test_a_name_that_is_no_text_is_not_taken_for_its_escaped_form() -> None:
    odd = ref("a\udcff")
    remembered = entry("a\\udcff")
    found = match([odd], [remembered], ranked=["a\\udcff"])
    assert found.matches.to_open == [odd]
    assert (found.matches.settled, found.library.num_rows) == (0, 0)
    both = match([ref("a\\udcff"), odd], [remembered], ranked=["a\\udcff"])
    assert both.matches.to_open == [ref("a\\udcff"), odd]
    assert both.matches.settled == 0


changes = st.fixed_dictionaries(
    {},
    optional={
        "etag": st.just("other"),
        "size_bytes": st.just(1),
        "scoring": st.just("other"),
        "rejecting": st.just("other"),
        "frame_budget": st.just("other"),
    },
)


@given(st.lists(st.tuples(st.booleans(), changes), max_size=5), st.booleans(), st.integers(1, 3))
def test_it_holds_as_one_entry_does(
    videos: list[tuple[bool, dict[str, Any]]], at_any_size: bool, rows_at_once: int
) -> None:
    entries, listed = [], []
    for number, (is_ranked, changed) in enumerate(videos):
        known = entry(str(number))
        digests = replace(DIGESTS, **{k: v for k, v in changed.items() if k in Digests.__slots__})
        entries.append(replace(known, digests=digests, timeline=known.timeline if is_ranked else None))
        listed.append(ref(str(number), **{k: v for k, v in changed.items() if k in VideoRef.__slots__}))
    found = match(listed, entries, ranked=(), rows_at_once=rows_at_once, at_any_size=at_any_size)
    holding = [
        known
        for known, video in zip(entries, listed, strict=True)
        if known.holds_for(video, DIGESTS, at_any_size=at_any_size) and known.timeline
    ]
    assert names(found.matches.scored) == names(holding)
    assert len(found.matches.to_open) == len(listed) - len(holding)
    assert read_library(found.library) == {}


HEAD = replace(DIGESTS, scoring="by another head", embedding="seen")
SEEN = replace(DIGESTS, embedding="seen")


def test_another_head_needs_no_look_at_what_was_seen_by_the_same_model() -> None:
    entries = (
        entry("by salience", digests=Digests("seen", "rejecting", "budget")),  # of an earlier version
        entry("other size", digests=replace(SEEN, frame_budget="other")),
        entry("other windows", digests=replace(SEEN, embedding="other")),
        entry("rejected", timeline=None, digests=SEEN),
        entry("replaced", video=ref("replaced", etag="old"), digests=SEEN),
        entry("seen", digests=SEEN),
    )
    listed = [known.video for known in entries[:4]] + [ref("replaced"), ref("seen")]
    found = match(listed, entries, ranked=None, digests=HEAD)
    assert names(found.matches.scored) == ["by salience", "seen"]
    assert [video.name for video in found.matches.to_open] == ["other size", "other windows", "replaced"]


@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
@pytest.mark.parametrize(("turns", "scored"), [(0, []), (2, ["0", "1"]), (9, ["0", "1", "2", "3"])])
def test_what_waits_for_a_head_keeps_its_rows_until_it_is_its_turn(
    rows_at_once: int, turns: int, scored: list[str]
) -> None:
    waiting = [entry(str(number), digests=SEEN, waits_for=HEAD.scoring) for number in range(4)]
    listed, ranked = [known.video for known in waiting], [known.video.name for known in waiting]
    how: dict[str, Any] = {"rows_at_once": rows_at_once, "ranked": ranked, "most_reopened": turns}
    found = match(listed, waiting, digests=HEAD, **how)
    assert names(found.matches.scored) == found.gone == scored
    assert found.matches.settled == found.matches.waiting == 4 - len(scored)
    assert found.library["waits_for"].to_pylist() == [HEAD.scoring] * (4 - len(scored))
    yet_another = match(listed, waiting, digests=replace(HEAD, scoring="newer"), **how)
    assert names(yet_another.matches.scored) == ranked
