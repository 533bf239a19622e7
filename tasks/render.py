"""Render pictures and clips of the ranked segments of a video, while it is open."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from prefect.logging import get_run_logger

from tasks.core.amounts import number_of
from tasks.core.names import legible
from tasks.core.records import Failure, RankedVideo, Segment, Stage, Timeline
from tasks.run.logs import log_event
from tasks.run.progress import step
from tasks.run.report import keep_sheet
from tasks.run.retries import STORAGE_PAUSES_S, attempt, is_transient, result_for, retried
from tasks.run.run import Run
from tasks.work.media import Media, gets_clip, make_media


def render_media(ranked: RankedVideo, run: Run) -> RankedVideo:
    """The same ranking with the files that `publish` asks for, or with a failure if they cannot be made."""
    settings = run.spec.settings.publish
    if not (settings.report or settings.thumbnails or settings.clips or settings.timeline != "none"):
        return ranked
    media = result_for(ranked.timeline, render_segments, ranked.segments, ranked.timeline, run)
    return replace(ranked, segments=media.segments, failures=(*ranked.failures, *media.failures))


@retried("render media", run_name="render {timeline.video.name}")
def render_segments(segments: Sequence[Segment], timeline: Timeline, run: Run) -> Media:
    """Their pictures and clips. An error that is transient is tried again; any other is a failure."""
    try:
        with _told_of_clips(segments, timeline, run):
            shown = timeline if run.spec.settings.publish.clips else timeline.silent  # clips need its words
            media = run.do(make_media, segments, shown, gpu=False, prefer=timeline.worker)
        if wordless := sum(segment.clip_captions == "no_words" for segment in media.segments):
            what = f"no captions for {wordless} of them: no words are known of what they show"
            log_event(run.spec.run_id, "render", what, video=timeline.video)
        for segment, sheet in zip(media.segments, media.sheets, strict=False):
            keep_sheet(sheet, timeline.video, segment.window, run.scratch)
    except Exception as error:  # no picture is worth a ranking
        if is_transient(error) and attempt() <= len(STORAGE_PAUSES_S):
            raise
        failure = Failure.from_error(timeline.video, Stage.PUBLISH, error, attempts=attempt())
        get_run_logger().warning("%s: %s (%s)", timeline.video.label, legible(failure.detail), failure.reason)
        return Media(tuple(segments), failures=(failure,))
    return media


def _told_of_clips(segments: Sequence[Segment], timeline: Timeline, run: Run) -> AbstractContextManager[None]:
    """Clips take their time; pictures do not."""
    clips = sum(gets_clip(segment, run.spec.settings.publish) for segment in segments)
    if not clips:
        return nullcontext()
    what = f"cutting {number_of(clips, 'clip')} of {timeline.video.name}"
    return step(run.spec.run_id, "render", what, video=timeline.video)
