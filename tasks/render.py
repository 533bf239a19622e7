"""The ranked segments of a video get their pictures and clips, while the video is open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prefect.logging import get_run_logger

from tasks.adapters.storage import open_store
from tasks.core.records import Failure, RankedVideo, Stage, VideoRef, Window, legible
from tasks.core.views.pictures import sheet_name, strongest_tick, thumbnail_folder, thumbnail_name
from tasks.run.run import Run
from tasks.work.media import make_media


def render_media(ranked: RankedVideo, run: Run) -> RankedVideo:
    """The same ranking with what `publish` asks for; what cannot be made is a failure beside it."""
    asked, timeline = run.settings.publish, ranked.timeline
    if not (asked.report or asked.thumbnails or asked.clips):
        return ranked
    try:
        work = (make_media, ranked.segments, timeline, run.for_workers)
        media = run.workers.call(*work, gpu=False, prefer=timeline.worker)
        for segment, sheet in zip(media.segments, media.sheets, strict=False):
            keep_sheet(sheet, timeline.video, segment.window, run)
    except Exception as error:  # no picture is worth a ranking
        failure = Failure.from_error(timeline.video, Stage.PUBLISH, error)
        get_run_logger().warning("%s: %s (%s)", timeline.video.label, legible(failure.detail), failure.reason)
        return replace(ranked, failures=(*ranked.failures, failure))
    return replace(ranked, segments=media.segments, failures=(*ranked.failures, *media.failures))


def with_thumbnails_of_before(ranked: RankedVideo, run: Run) -> RankedVideo:
    """A video that is ranked without being opened, with those pictures that earlier runs kept of it.

    Raises:
        StorageError: the output is out of reach.
    """
    if not run.settings.publish.thumbnails:
        return ranked
    video, fps = ranked.timeline.video, ranked.timeline.fps
    kept = set(open_store(run.settings.output).names(thumbnail_folder(video)))
    names = [thumbnail_name(video, strongest_tick(segment, fps), fps) for segment in ranked.segments]
    segments = (
        replace(segment, thumbnail_uri=name if name in kept else None)
        for segment, name in zip(ranked.segments, names, strict=True)
    )
    return replace(ranked, segments=tuple(segments))


def keep_sheet(sheet: bytes, video: VideoRef, window: Window, run: Run) -> None:
    """Keep a contact sheet on scratch until the report is made."""
    path = sheet_path(video, window, run)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sheet)


def sheet_path(video: VideoRef, window: Window, run: Run) -> Path:
    """Where the contact sheet of a segment lies, if there is one."""
    return run.scratch / "sheets" / sheet_name(video, window)
