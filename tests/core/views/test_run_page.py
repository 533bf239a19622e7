"""The page of a run says what happened, in cells that nothing breaks out of."""

from __future__ import annotations

import re
from typing import Any

from tasks.core.manifest import Manifest
from tasks.core.throughput import Throughput
from tasks.core.views.escaping import UNKNOWN
from tasks.core.views.run_page import failure_rows, progress, ranking_rows, summary

ANSWER = {
    "virality_score": 81,
    "hook_quality": 70,
    "engagement_potential": 0,
    "viral_elements": ["a|b", "<i>"],
    "recommendation": "Publish\nnow",
}


def ranked(**change: Any) -> dict[str, Any]:
    row = {
        "run_rank": 1,
        "video_uri": "s3://bucket/videos/more/a.mp4",
        "start": 65.0,
        "end": 124.0,
        "score": 75,
        "is_viral": True,
        "videomae_score": 66,
        "fast_reason": None,
        "videollama3": ANSWER,
        "deep_status": "ok",
        "deep_reason": None,
        "thumbnail_uri": None,
        "clip_uri": "s3://bucket/out/clip.mp4",
    }
    return row | change


def test_a_segment_is_a_row_with_its_links() -> None:
    (row,) = ranking_rows([ranked()], "s3://bucket/videos")
    assert row["video"] == "[more/a.mp4](s3://bucket/videos/more/a.mp4)"
    assert row["from - to"] == "1:05 - 2:04"
    assert (row["score"], row["fast"], row["deep"], row["hook"], row["engagement"]) == (75, 66, 81, 70, 0)
    assert row["elements"] == r"a\|b, \<i\>"
    assert row["recommendation"] == r"Publish\\nnow"
    assert row["files"] == "[clip](s3://bucket/out/clip.mp4)"


def test_a_segment_is_watched_from_cut_to_cut_where_one_is_known() -> None:
    rows = ranking_rows(
        [ranked(cut_start=66.2, cut_end=121.0), ranked(cut_start=None, cut_end=None)], "s3://b"
    )
    assert [row["from - to"] for row in rows] == ["1:06.2 - 2:01", "1:05 - 2:04"]


def test_a_segment_without_an_answer_has_no_score_of_one() -> None:
    nothing = ranked(videollama3=None, deep_status="failed", deep_reason="out_of_memory", clip_uri=None)
    (row,) = ranking_rows([nothing], "s3://bucket/videos")
    assert row["deep"] == row["hook"] == row["engagement"] == row["elements"] == row["files"] == UNKNOWN
    assert row["recommendation"] == "not analysed: out_of_memory"


def test_a_failure_is_a_row_with_its_reason() -> None:
    failure = {
        "video_uri": "s3://bucket/videos/<b>.mp4",
        "stage": "fetch",
        "kind": "failed",
        "reason": "unavailable",
        "detail": "GET https://me:pw@host/x?sig=1 | no",
        "attempts": 3,
        "start": None,
        "end": None,
    }
    (row,) = failure_rows([failure], "s3://bucket/videos")
    assert row["video"] == r"\<b\>.mp4"
    assert row["detail"] == r"GET https\://\*\*\*\@host/x?\*\*\* \| no"
    assert row["from - to"] == UNKNOWN


MANIFEST = Manifest.model_validate(
    {
        "run_id": "r1",
        "run_date": "2026-01-01",
        "state": "CompletedWithFailures",
        "message": "2 of 9 videos ranked",
        "source": "s3://key:pw@bucket/videos",
        "started_at": "2026-01-01T00:00:00+00:00",
        "seconds": {"whole": 61, "fetch": 1, "decode": 2, "fast": 3, "deep": 0},
        "counts": {
            "listed": 9,
            "ranked": 2,
            "unchanged": 5,
            "rejected": 1,
            "failed": 1,
            "windows": 30,
            "candidates": 8,
            "cached": 8,
            "unanswered": 0,
        },
        "left_out": {"by_ending": {"jpg": 7}, "passed_over": 1},
        "windows_per_second": 10.0,
        "segments_per_second": None,
        "hours_of_video": 1.5,
        "throughput": {
            "device_busy": 0.75,
            "fast": {"devices": 2, "windows_per_second": 10.0, "device_busy": 0.5, "efficiency": 0.954},
        },
        "devices": [{"kind": "cuda", "name": "NVIDIA H100", "dtype": "bfloat16", "driver": "580.95.05"}],
        "files": [{"uri": "s3://bucket/out/a.parquet", "rows": 4, "bytes": 12_800}],
    }
)


def test_the_summary_counts_reasons_and_says_what_was_skipped() -> None:
    text = summary(MANIFEST, {("probe", "rejected", "empty"): 1}, deep="skipped, disabled")
    assert "| unchanged | 5 |" in text
    assert "| probe | rejected | empty | 1 |" in text
    assert r"| windows scored | 30 \(10.0 a second\) |" in text
    assert rf"| segments analysed | 0 \({UNKNOWN}\) |" in text
    assert r"| models on | NVIDIA H100 \(bfloat16, driver 580.95.05\) |" in text
    assert rf"| windows a second | 10.0 | {UNKNOWN} |" in text
    assert rf"| prompt tokens a second | {UNKNOWN} | {UNKNOWN} |" in text
    assert rf"| device busy | 50 % | {UNKNOWN} |" in text
    assert rf"| efficiency | 95 % | {UNKNOWN} |" in text
    assert "- Unchanged, and not opened: 5 videos." in text
    assert "The deep stage: skipped, disabled." in text
    assert r"7 files that select.pattern does not take \(7 .jpg\), 1 hidden file, marker or link." in text
    assert re.search(r"^\| 4 \| 12.8 kB \| .*a.parquet", text, flags=re.MULTILINE)
    assert "pw@" not in text
    assert "Report:" not in text


def test_nothing_is_said_of_speed_where_no_model_ran() -> None:
    for idle in (None, Throughput()):
        text = summary(MANIFEST.model_copy(update={"throughput": idle}), {}, deep="")
        assert "Speed" not in text


def test_the_summary_links_the_report() -> None:
    reported = MANIFEST.model_copy(update={"report": "s3://bucket/reports/r1/index.html"})
    assert "](s3://bucket/reports/r1/index.html)" in summary(reported, {}, deep="")


def test_progress_never_passes_its_total_and_needs_none() -> None:
    text = progress({"videos": 3, "windows": 0}, {"videos": 2, "windows": 0}, elapsed_s=4)
    assert f"| videos | 2 of 2 | {'█' * 20} | 0:00 |" in text
    assert f"| windows | 0 of 0 | {'░' * 20} | {UNKNOWN} |" in text
    assert text.endswith("After 0:04.\n")


def test_progress_says_what_the_run_is_busy_with() -> None:
    assert progress({}, {}, ["loading VideoMAE", "cutting clips of a<b.mp4"], elapsed_s=4).endswith(
        "After 0:04. Now loading VideoMAE, cutting clips of a\\<b.mp4.\n"
    )
