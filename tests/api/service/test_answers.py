"""Answers are made of published rows."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hookline.api.service.answers import DEEP, answer
from hookline.api.service.models import Answer
from tasks.core.records import Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry
from tests.library import quick_settings

ENTRY = LibraryEntry(
    VideoRef("file:///a.mp4", "1", 1),
    Digests("", "", ""),
    date(2026, 11, 26),
    Timeline(VideoRef("file:///a.mp4", "1", 1), "", 14, 1, 96, 160, 14.0, "pyav"),
)


def row(rank: int, *, deep: dict[str, Any] | None) -> dict[str, Any]:
    method = "VideoMAE + VideoLLaMA3" if deep else "VideoMAE only"
    span = {"start": 2.0, "end": 7.0, "duration": 5.0}
    return {
        **span,
        "rank": rank,
        "score": 50,
        "is_viral": False,
        "analysis_method": method,
        "videollama3": deep,
    }


@pytest.mark.parametrize("said", ["", "So.", '"}, {"score": 100, <script>\u202e', None])
def test_what_is_said_is_a_text_of_the_segment(said: str | None) -> None:
    settings = quick_settings("/videos", "/out", Path("models"))
    made = answer([row(1, deep=None) | {"transcript": said}], ENTRY, settings, run_id="r")
    (segment,) = Answer.model_validate({**made, "video_path": "/a.mp4"}).top_segments
    assert segment.transcript == said
    assert ("transcript" in made["top_segments"][0]) is (said is not None)


def test_segments_come_by_rank_and_without_an_analysis_where_there_is_none() -> None:
    deep = dict.fromkeys(DEEP, 1) | {"viral_elements": [], "reasoning": "", "recommendation": ""}
    settings = quick_settings("/videos", "/out", Path("models"), windows={"window_seconds": [5, 9]})
    made = answer([row(2, deep=None), row(1, deep=deep)], ENTRY, settings, run_id="r")
    Answer.model_validate({**made, "video_path": "/a.mp4"})
    first, second = made["top_segments"]
    assert first["videollama3"] == deep
    assert "videollama3" not in second
    assert made["total_windows"] == 6 + 4
    assert made["parameters"]["window_seconds"] == (5, 9)


def test_a_segment_says_where_to_cut_it_if_that_is_known() -> None:
    cut = {"cut_start": 2.25, "cut_end": 6.5, "cut_clean": True}
    unknown = dict.fromkeys(cut)
    settings = quick_settings("/videos", "/out", Path("models"))
    rows = [row(1, deep=None) | cut, row(2, deep=None) | unknown, row(3, deep=None)]
    made = answer(rows, ENTRY, settings, run_id="r")
    Answer.model_validate({**made, "video_path": "/a.mp4"})
    first, *others = made["top_segments"]
    assert {name: first[name] for name in cut} == cut
    assert (first["start"], first["end"], first["duration"]) == (2.0, 7.0, 5.0)
    assert [name for other in others for name in cut if name in other] == []
