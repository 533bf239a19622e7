"""What entered, left and moved between two runs, and why."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from tasks.core.manifest import Manifest
from tasks.core.tables.differences import Change, ComparedRun, changed, changes

SCHEMA = pa.schema(
    [
        ("video_uri", pa.string()),
        ("video_etag", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("rank", pa.int32()),
        ("score", pa.int32()),
        ("videomae_score", pa.int32()),
        ("deep_status", pa.string()),
        ("virality_score", pa.int32()),
    ]
)
MANIFEST = {
    "settings": {
        "ranking": {"top_n": 2, "deep_weight": "0.6"},
        "deep": {"cache": "output"},
        "limits": {"a": 1},
    },
    "models": {"videollama3": "2B", "settings_hash": "1"},
}


def segment(video: str, start: float, rank: int, score: int, **more: Any) -> dict[str, Any]:
    row = {"video_uri": video, "start": start, "end": start + 59, "rank": rank, "score": score}
    return row | {"video_etag": video, "videomae_score": 50, "deep_status": "ok", "virality_score": 60} | more


def made_by(**changes: Any) -> Manifest:
    return Manifest(run_id="run", run_date=date(2026, 11, 24), state="Completed", **(MANIFEST | changes))


def night(*rows: dict[str, Any], failures: dict[str, str] | None = None, **manifest: Any) -> ComparedRun:
    return ComparedRun(made_by(**manifest), pa.Table.from_pylist(list(rows), schema=SCHEMA), failures or {})


BEFORE = night(segment("a", 0, 1, 80), segment("a", 90, 2, 70))
OTHER_SETTINGS = {"settings": {"ranking": {"top_n": 2, "deep_weight": "0.5"}}}
OTHER_MODEL = {"models": {"videollama3": "7B", "settings_hash": "2"}}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        pytest.param(BEFORE, BEFORE, [], id="nothing"),
        pytest.param(
            BEFORE,
            night(segment("a", 0, 1, 80), segment("a", 90, 2, 70), segment("b", 0, 1, 9)),
            [("entered", "b", 0, None, 1, "new_video")],
            id="a new video",
        ),
        pytest.param(
            night(failures={"a": "deadline"}),
            night(segment("a", 0, 1, 80)),
            [("entered", "a", 0, None, 1, "failed")],
            id="a video that had failed",
        ),
        pytest.param(
            BEFORE,
            night(),
            [("left", "a", 0, 1, None, "gone"), ("left", "a", 90, 2, None, "gone")],
            id="a video that is no longer listed",
        ),
        pytest.param(
            night(segment("a", 0, 1, 80)),
            night(failures={"a": "truncated"}),
            [("left", "a", 0, 1, None, "failed")],
            id="a video that fails now",
        ),
        pytest.param(
            night(segment("a", 0, 1, 80)),
            night(segment("a", 0, 1, 85, video_etag="f"), segment("a", 90, 2, 70, video_etag="f")),
            [("moved", "a", 0, 1, 1, "replaced"), ("entered", "a", 90, None, 2, "replaced")],
            id="another file of this name",
        ),
        pytest.param(
            BEFORE,
            night(
                segment("a", 0, 1, 80, video_etag="touched"), segment("a", 90, 2, 70, video_etag="touched")
            ),
            [],
            id="the same bytes, written again",
        ),
        pytest.param(
            BEFORE,
            night(segment("b", 0, 1, 80, video_etag="a"), segment("b", 90, 2, 70, video_etag="a")),
            [("renamed", "b", None, None, None, "renamed")],
            id="a video with another name",
        ),
        pytest.param(
            night(segment("a", 0, 1, 80)),
            night(segment("a", 0, 1, 80), segment("b", 0, 1, 80, video_etag="a")),
            [("copied", "b", None, None, None, "copied")],
            id="a copy",
        ),
        pytest.param(
            BEFORE,
            night(
                segment("b", 0, 2, 60, video_etag="a"), segment("b", 90, 1, 70, video_etag="a"), **OTHER_MODEL
            ),
            [
                ("renamed", "b", None, None, None, "renamed"),
                ("moved", "b", 0, 1, 2, "models"),
                ("moved", "b", 90, 2, 1, "others"),
            ],
            id="another name and another model",
        ),
        pytest.param(
            BEFORE,
            night(segment("a", 3, 1, 90), segment("a", 0, 2, 80), virality_score=60),
            [
                ("moved", "a", 0, 1, 2, "others"),
                ("entered", "a", 3, None, 1, "answers"),
                ("left", "a", 90, 2, None, "answers"),
            ],
            id="overtaken by another answer",
        ),
        pytest.param(
            BEFORE,
            night(segment("a", 0, 1, 75), segment("a", 90, 2, 70), **OTHER_SETTINGS),
            [("moved", "a", 0, 1, 1, "settings")],
            id="other weights",
        ),
        pytest.param(
            BEFORE,
            night(segment("a", 0, 2, 60, virality_score=None), segment("a", 90, 1, 70), **OTHER_MODEL),
            [("moved", "a", 0, 1, 2, "models"), ("moved", "a", 90, 2, 1, "others")],
            id="another model",
        ),
    ],
)
def test_every_change_has_a_cause(
    before: ComparedRun, after: ComparedRun, found: list[tuple[Any, ...]]
) -> None:
    assert [
        (change.what, change.video_uri, change.start, change.rank_before, change.rank, change.why)
        for change in changes(before, after)
    ] == found


def test_a_change_says_which_scores_are_others() -> None:
    after = night(segment("a", 0, 1, 64, videomae_score=70, virality_score=None), segment("a", 90, 2, 70))
    (change,) = changes(BEFORE, after)
    answers = "deep 60 -> None, fast 50 -> 70. Other answers of VideoLLaMA3."
    assert change == Change("moved", "a", 0.0, 59.0, 1, 1, 80, 64, "answers", answers)


def test_only_what_decides_about_rows_counts_as_set_otherwise() -> None:
    other = made_by(
        settings={
            "ranking": {"top_n": 2, "deep_weight": "0.5"},
            "deep": {"cache": "off", "max_frames": 4},
            "limits": {"a": 2},
        },
        models={"videollama3": None, "settings_hash": "2"},
    )
    assert changed(made_by(), other) == {
        "ranking.deep_weight": "0.6 -> 0.5",
        "deep.max_frames": "None -> 4",
        "models.videollama3": "2B -> None",
    }
    assert changed(made_by(), made_by()) == {}
