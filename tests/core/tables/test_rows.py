"""The rows that are published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import (
    Analysis,
    Answer,
    Failure,
    FailureKind,
    Moment,
    RankedVideo,
    ScoredVideo,
    ScoredWindow,
    Segment,
    Stage,
    Timeline,
    VideoRef,
    Why,
    Window,
)
from tasks.core.speech.cuts import Cut
from tasks.core.speech.heard import Heard
from tasks.core.tables.rows import RunStamp, failures_table, read_failures, windows_table
from tasks.core.tables.run_ranking import PreviousRanking
from tasks.core.tables.schemas import FAILURES, RANKINGS
from tests.library import ABOUT_THE_RUN_BEFORE
from tests.rankings import rankings_table

STAMP = RunStamp("run-1", 70, {"videomae": "tiny"})
ANSWER = Answer(82, 90, 75, ("surprise",), (Moment(12.0, "the jump"),), "It works.", "publish")


def video(name: str, *, segments: list[Segment] | None = None) -> RankedVideo:
    timeline = Timeline(VideoRef(f"s3://b/{name}", "etag", 9), "frames", 122, 1, 28, 28, 121.5, "decord")
    windows = (
        ScoredWindow(Window(0, 59), 72, is_candidate=True),
        ScoredWindow(Window(3, 62), 60, suppressed_by=Window(0, 59)),
        ScoredWindow(Window(60, 119), 40, is_candidate=True),
        ScoredWindow(Window(63, 122), 10),
    )
    if segments is None:
        analysis = Analysis.ok(
            ANSWER,
            expected_score=81.5,
            expected_hook_quality=90.25,
            expected_engagement_potential=74.5,
            frames=59,
            batch_size=8,
        )
        segments = [Segment(Window(0, 59), 78, 72, analysis, rank=1)]
    scored = ScoredVideo(timeline, windows, np.eye(4, 8, dtype=np.float16), "salience")
    return RankedVideo(scored, tuple(segments))


def column(table: pa.Table, name: str) -> list[Any]:
    return table.column(name).to_pylist()


def test_a_ranked_segment_with_an_answer() -> None:
    (row,) = rankings_table([video("a.mp4")], STAMP).to_pylist()
    assert row["score"] == 78
    assert row["is_viral"]
    assert (row["start"], row["end"], row["duration"], row["video_duration"]) == (0.0, 59.0, 59.0, 121.5)
    assert (row["rank"], row["run_rank"]) == (1, 1)
    assert row["analysis_method"] == "VideoMAE + VideoLLaMA3"
    assert row["videollama3"] == {
        "virality_score": 82,
        "hook_quality": 90,
        "engagement_potential": 75,
        "expected_score": 81.5,
        "expected_hook_quality": 90.25,
        "expected_engagement_potential": 74.5,
        "viral_elements": ["surprise"],
        "viral_moments": [{"timestamp": 12.0, "why": "the jump"}],
        "reasoning": "It works.",
        "recommendation": "publish",
        "frames": 59,
        "batch_size": 8,
    }


def test_windows_say_what_is_heard_in_them_if_there_is_sound() -> None:
    silent, loud = video("a.mp4"), video("b.mp4")
    loudness = np.repeat(np.array([-70, -20], np.float32), [600, 615])
    timeline = replace(loud.timeline, heard=Heard.of([(0, 29_500)], end_ms=121_500), loudness=loudness)
    loud = replace(loud, scored=replace(loud.scored, timeline=timeline))
    table = windows_table([silent, loud], STAMP, dimensions=8)
    heard = table.select(["loudness", "loudness_peak", "bursts", "silence_before_burst", "speech_ratio"])
    rows = [list(row.values()) for row in heard.to_pylist()]
    assert rows[:4] == [[None] * 5] * 4
    assert rows[4] == [-70, -70, 0, None, 0.5]
    assert rows[6] == pytest.approx([-20, -20, 1, 60.3, 0], abs=1e-5)
    assert rows[7] == [-20, -20, 0, None, 0]


HEARD = Heard.of([(0, 29_500)], end_ms=121_500)
CUT = Cut(250, 58_900, is_clean=False, speech_ratio=0.499)


@pytest.mark.parametrize(
    ("heard", "cut", "listens", "found"),
    [
        (HEARD, CUT, True, [0.25, 58.9, False, 0.499, "ok", None]),
        (Heard("no_sound", 121_500), replace(CUT, is_clean=True, speech_ratio=0.0), True,
         [0.25, 58.9, True, None, "no_sound", None]),
        (Heard.failed("sound_unreadable", end_ms=121_500), None, True,
         [None] * 4 + ["failed", "sound_unreadable"]),
        (None, None, True, [None] * 6),
        (None, None, False, [None] * 4 + ["off", None]),
    ],
    ids=["ok", "no_sound", "failed", "unknown", "off"],
)  # fmt: skip
def test_a_segment_says_where_to_cut_it_as_far_as_that_is_known(
    heard: Heard | None, cut: Cut | None, listens: bool, found: list[Any]
) -> None:
    segment = Segment(Window(0, 59), 72, 72, Analysis.skipped("disabled"), 1, cut=cut)
    ranked = video("a.mp4", segments=[segment])
    scored = ranked.scored
    windows = tuple(replace(item, cut=cut) for item in scored.windows)
    scored = replace(scored, timeline=replace(scored.timeline, heard=heard), windows=windows)
    ranked = replace(ranked, scored=scored)
    (row,) = rankings_table([ranked], replace(STAMP, listens=listens)).to_pylist()
    names = ("cut_start", "cut_end", "cut_clean", "speech_ratio", "speech_status", "speech_reason")
    assert [row[name] for name in names] == pytest.approx(found)
    assert (row["start"], row["end"]) == (0.0, 59.0)
    table = windows_table([ranked], STAMP, dimensions=8)
    assert column(table, "cut_start") == [found[0]] * 4
    assert column(table, "cut_end") == [found[1]] * 4


def test_a_segment_without_an_answer_has_nulls_and_a_reason() -> None:
    failed = Analysis.failed("out_of_memory", "no room")
    (row,) = rankings_table(
        [video("a.mp4", segments=[Segment(Window(0, 59), 72, 72, failed, 1)])], STAMP
    ).to_pylist()
    assert row["videollama3"] is None
    assert (row["deep_status"], row["deep_reason"]) == ("failed", "out_of_memory")
    assert row["analysis_method"] == "VideoMAE only"


def test_windows_say_what_the_deep_model_said_of_candidates_ranked_or_not() -> None:
    ranked = video("a.mp4")
    failed = Analysis.failed("out_of_memory", "no room")
    missed = Segment(Window(60, 119), 40, 40, failed, 2)
    table = windows_table([replace(ranked, missed=(missed,))], STAMP, dimensions=8)
    assert column(table, "deep_status") == ["ok", None, "failed", None]
    assert column(table, "deep_score") == [82, None, None, None]
    assert column(table, "deep_expected_score") == [81.5, None, None, None]
    assert column(table, "audit_probability") == [1.0, None, 1.0, None]
    assert column(table, "audited") == [False] * 4


def test_rows_tell_the_contents_of_the_head_that_made_their_fast_scores() -> None:
    stamp = replace(STAMP, models={**STAMP.models, "head": "heads/a", "head_revision": "sha256:0123456789ab"})
    (row,) = rankings_table([video("a.mp4")], stamp).to_pylist()
    assert row["head_revision"] == "sha256:0123456789ab"
    assert "head_revision" not in row["models"]


def test_rows_tell_the_adapter_that_answered() -> None:
    tuned = {"adapter": "adapters/a", "adapter_revision": "sha256:0123456789ab"}
    (row,) = rankings_table([video("a.mp4")], replace(STAMP, models={**STAMP.models, **tuned})).to_pylist()
    assert {name: row[name] for name in tuned} == tuned
    (row,) = rankings_table([video("a.mp4")], STAMP).to_pylist()
    assert [row[name] for name in tuned] == [None, None]


def test_the_last_segment_ends_with_the_video_not_with_the_grid() -> None:
    skipped = Analysis.skipped("disabled")
    (row,) = rankings_table(
        [video("a.mp4", segments=[Segment(Window(63, 122), 1, 1, skipped, 1)])], STAMP
    ).to_pylist()
    assert (row["start"], row["end"], row["duration"]) == (63.0, 121.5, 58.5)


def test_the_best_of_the_run_come_first_whatever_the_order_of_the_videos() -> None:
    weak = Segment(Window(0, 59), 20, 20, Analysis.skipped("disabled"), 1)
    videos = [video("b.mp4"), video("a.mp4", segments=[weak]), video("c.mp4")]
    table = rankings_table(videos, STAMP)
    assert column(table, "video_uri") == ["s3://b/b.mp4", "s3://b/c.mp4", "s3://b/a.mp4"]
    assert column(table, "run_rank") == [1, 2, 3]
    assert rankings_table(videos[::-1], STAMP).equals(table)


segments = st.builds(
    lambda start, score, fast, expected: Segment(
        Window(start, start + 5), score, fast, Analysis.ok(ANSWER, expected_score=expected), rank=start + 1
    ),
    st.integers(0, 5),
    st.integers(0, 3),
    st.integers(0, 3),
    st.none() | st.sampled_from([0.5, 1.5]),
)
videos = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.lists(segments, max_size=6, unique_by=lambda segment: segment.window)
)


@given(videos, st.sets(st.sampled_from(["a", "b", "c"])))
def test_it_makes_no_difference_which_rows_are_carried_over(
    made: dict[str, list[Segment]], unchanged: set[str]
) -> None:
    every = [video(name, segments=ranked) for name, ranked in made.items()]
    whole = rankings_table(every, STAMP)
    assert column(whole, "run_rank") == list(range(1, len(whole) + 1))
    keys = [
        (-row["score"], -(row["videollama3"]["expected_score"] or -1), -row["videomae_score"],
         row["video_uri"], row["rank"])
        for row in whole.to_pylist()
    ]  # fmt: skip
    assert keys == sorted(keys)
    before = rankings_table(
        [video(name, segments=ranked) for name, ranked in made.items() if name in unchanged],
        RunStamp("run-0", 70, STAMP.models),
    )
    anew = [video(name, segments=ranked) for name, ranked in made.items() if name not in unchanged]
    previous = PreviousRanking("run-0", lambda columns: [before], pa.array([], pa.string()))
    again = rankings_table(anew, STAMP, previous=previous)
    assert again.drop_columns(ABOUT_THE_RUN_BEFORE).equals(whole.drop_columns(ABOUT_THE_RUN_BEFORE))


def test_every_window_says_why_it_is_not_in_the_ranking() -> None:
    table = windows_table([video("a.mp4")], STAMP, dimensions=8)
    assert column(table, "reason") == [None, "overlap", "below_top_n", "below_cut"]
    assert column(table, "suppressed_by") == [None, 0.0, None, None]
    assert column(table, "is_candidate") == [True, False, True, False]
    assert column(table, "start") == [0.0, 3.0, 60.0, 63.0]
    assert column(table, "suppressed_by_end") == [None, 59.0, None, None]
    assert column(table, "embedding")[1] == [0.0, 1.0] + [0.0] * 6


def test_every_candidate_has_its_combined_score_in_the_windows() -> None:
    missed = Segment(Window(60, 119), 33, 40, Analysis.ok(ANSWER), rank=2)
    table = windows_table([replace(video("a.mp4"), missed=(missed,))], STAMP, dimensions=8)
    assert column(table, "score") == [78, None, 33, None]


def test_a_row_says_why_it_has_its_rank() -> None:
    why = Why(0.6, 0.4, 97.5, 12, (ScoredWindow(Window(63, 122), 60, suppressed_by=Window(60, 119)),))
    segment = Segment(Window(60, 119), 78, 72, Analysis.ok(ANSWER), rank=1, why=why)
    (row,) = rankings_table([video("a.mp4", segments=[segment])], STAMP).to_pylist()
    assert (row["deep_weight"], row["fast_weight"], row["video_percentile"], row["margin"]) == (
        0.6, 0.4, 97.5, 12
    )  # fmt: skip
    assert row["suppressed"] == [{"start": 63.0, "end": 121.5, "videomae_score": 60}]


def test_failures_are_sorted_and_keep_their_nulls() -> None:
    ref = VideoRef("s3://b/z.mp4", "etag", 0)
    rows = [
        Failure(ref, Stage.DEEP, FailureKind.FAILED, "out_of_memory", "no room", start_s=3.0, end_s=62.0),
        Failure(
            VideoRef("s3://b/a.mp4", "e", 0), Stage.PROBE, FailureKind.REJECTED, "empty", "The file is empty."
        ),
    ]
    table = failures_table(rows, STAMP)
    assert column(table, "video_uri") == ["s3://b/a.mp4", "s3://b/z.mp4"]
    assert column(table, "start") == [None, 3.0]
    assert column(table, "kind") == ["rejected", "failed"]


def test_failures_are_read_back() -> None:
    row = Failure(
        VideoRef("s3://b/a.mp4", "e", 0),
        Stage.PROBE,
        FailureKind.REJECTED,
        "empty",
        "The file is empty.",
        2,
        3.0,
    )
    assert read_failures(failures_table([row], STAMP)) == [row]


def test_a_detail_that_is_no_text_is_escaped() -> None:
    gone = Failure(
        VideoRef("file:///a\udcff", "e", 0),
        Stage.FETCH,
        FailureKind.FAILED,
        "changed",
        "file:///a\udcff is gone",
    )
    (row,) = failures_table([gone], STAMP).to_pylist()
    assert (row["video_uri"], row["detail"]) == (r"file:///a\udcff", r"file:///a\udcff is gone")


def test_empty_runs_have_the_same_columns() -> None:
    assert rankings_table([], STAMP).schema.equals(RANKINGS)
    assert failures_table([], STAMP).schema.equals(FAILURES)
    some, none = (windows_table(videos, STAMP, dimensions=8) for videos in ([video("a.mp4")], []))
    assert none.schema.equals(some.schema)
