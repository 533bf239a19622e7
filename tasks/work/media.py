"""Pictures and clips of ranked segments, made where the opened video lies.

Knows no Prefect. Files go from there straight to the output; only contact sheets travel to the flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.adapters.storage import Store, open_store
from tasks.adapters.video.clips import ClipLimits, cut_clip
from tasks.adapters.video.pictures import contact_sheet, jpeg
from tasks.adapters.video.timeline import read_frames
from tasks.core.errors import HooklineError
from tasks.core.records import Failure, Segment, Stage, Timeline
from tasks.core.views.pictures import (
    clip_name,
    crop_ratio,
    cut_of,
    sheet_ticks,
    strongest_tick,
    thumbnail_name,
)
from tasks.run.run import Run
from tasks.work.models import opened_here
from tasks.work.opening import source_of

MAX_UPLOADS = 8


@dataclass(frozen=True, slots=True)
class Media:
    """The segments with what was made of them, their contact sheets if asked for, and what failed."""

    segments: tuple[Segment, ...]
    sheets: tuple[bytes, ...] = ()
    failures: tuple[Failure, ...] = ()


def make_media(segments: Sequence[Segment], timeline: Timeline, run: Run) -> Media:
    """What `publish` asks for of the ranked segments of one video.

    Raises:
        StorageError: the pictures cannot be written.
        DecodeFailed: the video is no longer open, and cannot be opened again.
    """
    opened, asked = opened_here(timeline, run), run.settings.publish
    store = open_store(run.settings.output)
    made, failures = list(segments), list[Failure]()
    if asked.thumbnails:
        made = keep_thumbnails(made, opened, store)
    if asked.clips:
        made, failures = keep_clips(made, opened, run, store)
    sheets = (contact_sheet(*read_frames(opened, sheet_ticks(item.window))) for item in made if asked.report)
    return Media(tuple(made), tuple(sheets), tuple(failures))


def keep_thumbnails(segments: Sequence[Segment], timeline: Timeline, store: Store) -> list[Segment]:
    """Write the strongest picture of each segment under the output; segments may share one.

    Raises:
        StorageError: they cannot be written.
    """
    ticks = [strongest_tick(segment, timeline.fps) for segment in segments]
    names = {tick: thumbnail_name(timeline.video, tick, timeline.fps) for tick in ticks}

    def keep(tick: int) -> None:
        store.write_bytes(names[tick], jpeg(read_frames(timeline, [tick])[0]))

    with ThreadPoolExecutor(MAX_UPLOADS, "keep-pictures") as keeping:
        list(keeping.map(keep, names))
    return [
        replace(segment, thumbnail_uri=names[tick]) for segment, tick in zip(segments, ticks, strict=True)
    ]


def keep_clips(
    segments: Sequence[Segment], timeline: Timeline, run: Run, store: Store
) -> tuple[list[Segment], list[Failure]]:
    """Cut each segment out of the video, one at a time; what fails has no clip, and is a failure."""
    made, failures = [], []
    for segment in segments:
        try:
            made.append(replace(segment, clip_uri=_keep_clip(segment, timeline, run, store)))
        except (HooklineError, OSError) as error:
            made.append(segment)
            failures.append(_failure(segment, timeline, error))
    return made, failures


def _keep_clip(segment: Segment, timeline: Timeline, run: Run, store: Store) -> str:
    limits, source = run.settings.limits, source_of(timeline)
    cut = cut_of(segment, timeline)
    name = clip_name(timeline.video, segment, cut, run_id=run.run_id)
    with TemporaryDirectory(dir=Path(timeline.path).parent, prefix="clip-") as folder:
        clip = cut_clip(
            source,
            Path(folder),
            cut,
            name=timeline.video.name,
            crop=crop_ratio(run.settings.publish.crop),
            limits=ClipLimits.of(limits),
        )
        store.publish(clip.poster, name.removesuffix(".mp4") + ".jpg")
        store.publish(clip.video, name)
    return name


def _failure(segment: Segment, timeline: Timeline, error: Exception) -> Failure:
    failure = Failure.from_error(timeline.video, Stage.PUBLISH, error)
    seconds, window = timeline.seconds, segment.window
    return replace(failure, start_s=seconds(window.start), end_s=seconds(window.end))
