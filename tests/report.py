"""Reports of made-up runs, as large as wanted and as nasty as they come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache

import numpy as np

from tasks.adapters.video.pictures import contact_sheet
from tasks.core.manifest import Manifest
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
    Window,
)
from tasks.core.scoring.moments import with_moments
from tasks.core.settings import Settings
from tasks.core.tables.rows import RunStamp, failures_table
from tasks.core.views.cards import Sheet
from tasks.core.views.curve import curve_of
from tasks.core.views.report import Report, ShownRows, build_report
from tests.rankings import rankings_table

SOURCE = "s3://bucket/videos"
STAMP = RunStamp(
    "20261122T030000Z-abc123", 70, {"videomae": "mae", "settings_hash": "0", "code_version": "1"}
)
NASTY = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'\"--><svg/onload=alert(1)>",
    "</style></title></textarea>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egpj.exe\u0000\u0007",
    "&lt;b&gt; & &amp;",
)
"""What a file may be called, and what a model may write."""


def answer(text: str = "The dog jumps.", *, score: int = 80) -> Answer:
    return Answer(score, 75, 66, (text, "humour"), (Moment(2.5, text), Moment(4.0, "again")), text, text)


def ranked_video(
    uri: str = f"{SOURCE}/dog.mp4", *, windows: int = 20, segments: int = 3, answered: Answer | None = None
) -> RankedVideo:
    """A video with windows of 5 s every 2 s; its first segments are ranked, one after the other."""
    timeline = Timeline(VideoRef(uri, "etag", 1), "", 2 * windows + 3, 1, 28, 28, 2.0 * windows + 3, "pyav")
    scored = [ScoredWindow(Window(2 * k, 2 * k + 5), k * 37 % 101, k < 2 * segments) for k in range(windows)]
    analysis = Analysis.ok(answered) if answered else Analysis.failed("out_of_memory", "No memory.")
    ranked = tuple(
        Segment(item.window, max(0, 90 - 7 * place), item.score, analysis, place + 1)
        for place, item in enumerate(scored[:segments])
    )
    video = ScoredVideo(timeline, tuple(scored), np.zeros((windows, 4), np.float16), "salience")
    return RankedVideo(video, ranked)


def in_moments(video: RankedVideo) -> RankedVideo:
    """The same with its moments: the segments of `ranked_video` share three of five seconds, and are one."""
    return replace(video, segments=tuple(with_moments(video.segments, same_moment=Decimal("0.5"))))


def with_clips(video: RankedVideo) -> RankedVideo:
    made = (replace(item, clip_uri="clips/run/dog-1/01 #?.mp4") for item in video.segments)
    return replace(video, segments=tuple(made))


def failure(text: str = "The file is empty.") -> Failure:
    return Failure(
        VideoRef(f"{SOURCE}/{text}", "e", 1), Stage.PROBE, FailureKind.REJECTED, "empty", text, 1, 1, 2
    )


@cache
def some_sheet() -> bytes:
    """Of about the size that sheets of real footage have: 6 KB."""
    noise = np.random.default_rng(0).integers(0, 255, (6, 9, 16, 3), dtype=np.uint8)
    return contact_sheet(*noise.repeat(24, axis=1).repeat(24, axis=2))


def manifest(source: str = SOURCE, *, media_base: str = "") -> Manifest:
    return Manifest.model_validate({
        "run_id": STAMP.run_id,
        "run_date": "2026-11-22",
        "state": "CompletedWithFailures",
        "message": "1 of 2 videos ranked, 1 rejected, 0 failed",
        "source": source,
        "started_at": "2026-11-22T03:00:00+00:00",
        "counts": {
            "ranked": 1, "unchanged": 1, "rejected": 1, "failed": 0, "windows": 20, "candidates": 6
        },
        "seconds": {"whole": 62.5},
        "models": {"videomae": "mae", "videollama3": None, "code_version": "1"},
        "settings": Settings.model_validate(
            {"source": source, "output": "out", "publish": {"media_base": media_base}}
        ).model_dump(mode="json"),
    })  # fmt: skip


def made_report(
    *videos: RankedVideo,
    failures: tuple[Failure, ...] = (),
    source: str = SOURCE,
    unchanged: Mapping[str, str] | None = None,
    sheets: bool = True,
    fps: float | None = None,
    timecode: str | None = None,
    media_base: str = "",
) -> Report:
    """The report of a run that ranked these videos; `unchanged` ones were scored in the run it names."""
    before = unchanged or {}
    labels = {video.timeline.video.label: video for video in videos}
    ranking = rankings_table(videos, STAMP)
    shown = ShownRows([uri for uri in ranking["video_uri"].unique().to_pylist() if uri not in before])
    assert sum(len(some) for some in shown.passing([ranking.slice(0, 2), ranking.slice(2)])) == len(ranking)
    return build_report(
        manifest(source, media_base=media_base),
        shown,
        failures_table(failures, STAMP),
        curves={uri: curve_of(video.scored) for uri, video in labels.items() if uri not in before},
        library={
            uri: {"scored_in": before.get(uri), "source_fps": fps, "source_timecode": timecode}
            for uri in labels
        },
        sheet_of=lambda row: Sheet(some_sheet(), 6) if sheets and row["video_uri"] not in before else None,
        output="file:///out",
    )
