"""Render pictures and clips of the ranked segments of a video, while it is open."""

from __future__ import annotations

from dataclasses import replace

from prefect.logging import get_run_logger

from tasks.core.records import Failure, RankedVideo, Stage, legible
from tasks.run.report import keep_sheet
from tasks.run.run import Run
from tasks.work.media import make_media


def render_media(ranked: RankedVideo, run: Run) -> RankedVideo:
    """The same ranking with the files that `publish` asks for, or with a failure if they cannot be made."""
    settings, timeline = run.spec.settings.publish, ranked.timeline
    if not (settings.report or settings.thumbnails or settings.clips):
        return ranked
    try:
        media = run.do(make_media, ranked.segments, timeline, gpu=False, prefer=timeline.worker)
        for segment, sheet in zip(media.segments, media.sheets, strict=False):
            keep_sheet(sheet, timeline.video, segment.window, run.scratch)
    except Exception as error:  # no picture is worth a ranking
        failure = Failure.from_error(timeline.video, Stage.PUBLISH, error)
        get_run_logger().warning("%s: %s (%s)", timeline.video.label, legible(failure.detail), failure.reason)
        return replace(ranked, failures=(*ranked.failures, failure))
    return replace(ranked, segments=media.segments, failures=(*ranked.failures, *media.failures))
