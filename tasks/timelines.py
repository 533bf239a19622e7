"""Opening a video: fetched, decoded once onto the sampling grid, and gone again when it has been ranked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import task_run

from tasks.adapters.decoding import DecodeLimits, decode_timeline
from tasks.adapters.scratch import video_folder
from tasks.adapters.storage import open_store
from tasks.core.errors import DecodeFailed, StorageError, VideoRefused
from tasks.core.prefetch import Prefetch
from tasks.core.records import Failure, Kind, Stage, Timeline, VideoRef
from tasks.core.settings import Limits
from tasks.retries import may_pass
from tasks.runs import Run

GB = 10**9
RETRY_SECONDS: list[float] = [2, 10]

RANKED_AT_ONCE = 2
"""Opened videos that are with the models: while one is looked at closely, the next is scored."""


def open_timelines(videos: Sequence[VideoRef], run: Run) -> Iterator[Timeline | Failure]:
    """Open all videos, a few ahead of whoever asks, and hand each on as soon as it is ready."""
    waiting = iter(videos)
    ahead = Prefetch(most=run.settings.engine.workers)
    ready: SimpleQueue[PrefectFuture[Timeline | Failure]] = SimpleQueue()
    n_ahead = 0

    def open_more() -> int:
        more = list(islice(waiting, max(0, ahead.depth - n_ahead)))
        for video in more:
            open_timeline.submit(video, run).add_done_callback(ready.put)
        return len(more)

    for _ in videos:
        ahead.asked(ready=ready.qsize())
        n_ahead += open_more()
        opened = ready.get()
        n_ahead -= 1
        n_ahead += open_more()  # before whoever asked is busy with this one
        yield opened.result()


@task(
    name="open timeline",
    task_run_name="open {video.name}",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    cache_policy=NO_CACHE,
)
def open_timeline(video: VideoRef, run: Run) -> Timeline | Failure:
    """Fetch and decode one video; try again what may pass, give back as a value what will not."""
    attempt = task_run.run_count or 1
    try:
        return decoded_timeline(video, run)
    except Exception as error:  # whatever it is, it must not stop the other videos
        if may_pass(error) and attempt <= len(RETRY_SECONDS):
            raise
        stage = Stage.FETCH if isinstance(error, StorageError) else Stage.DECODE
        return Failure.of(video, stage, error, attempts=attempt)


def decoded_timeline(video: VideoRef, run: Run) -> Timeline | Failure:
    """The timeline of a video, decoded onto this machine's scratch; or why it cannot be used.

    Raises:
        StorageError: the video could not be fetched.
    """
    settings = run.settings
    folder = video_folder(run.scratch, video)
    source = folder / "source" / "video"
    share = int(settings.limits.scratch_gb * GB / (settings.engine.workers + RANKED_AT_ONCE))
    if video.size_bytes > min(settings.limits.max_file_gb * GB, share):
        return _rejected(video, Stage.FETCH, "too_large", _too_large(video, settings.limits, share))
    try:
        source.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        deadline_s = settings.limits.deadline_seconds
        open_store(settings.source).download(video, source, deadline_s=deadline_s)
        fetched = time.perf_counter()
        timeline = decode_timeline(
            source,
            video,
            folder,
            fps=settings.windows.sample_fps,
            budget=run.budget,
            limits=decode_limits(settings.limits, max_frames_bytes=share - video.size_bytes),
        )
    except VideoRefused as error:
        return _rejected(video, Stage(error.stage), error.reason, str(error))
    except DecodeFailed as error:
        return Failure.of(video, Stage.DECODE, error)
    finally:
        shutil.rmtree(source.parent, ignore_errors=True)
    if timeline.duration_s < settings.windows.min_window_seconds:
        close_timeline(timeline)
        return _too_short(timeline, settings.windows.min_window_seconds)
    return replace(timeline, fetch_seconds=fetched - began, decode_seconds=time.perf_counter() - fetched)


def close_timeline(timeline: Timeline) -> None:
    """Free the scratch space of a video."""
    shutil.rmtree(Path(timeline.path).parent, ignore_errors=True)


def decode_limits(limits: Limits, *, max_frames_bytes: int) -> DecodeLimits:
    """What decoding one video may cost."""
    return DecodeLimits(
        deadline_s=limits.deadline_seconds,
        memory_bytes=int(limits.memory_gb * GB),
        max_duration_s=limits.max_video_hours * 3600,
        max_frames_bytes=max_frames_bytes,
    )


def _rejected(video: VideoRef, stage: Stage, reason: str, detail: str) -> Failure:
    return Failure(video, stage, Kind.REJECTED, reason, detail)


def _too_large(video: VideoRef, limits: Limits, share: int) -> str:
    size = f"The file has {video.size_bytes / GB:.2f} GB, more than"
    if video.size_bytes > limits.max_file_gb * GB:
        return f"{size} limits.max_file_gb = {limits.max_file_gb:g}: raise the limit to rank it."
    return (
        f"{size} its share of {share / GB:.2f} GB of limits.scratch_gb = {limits.scratch_gb:g}: "
        "raise it, or lower engine.workers."
    )


def _too_short(timeline: Timeline, min_seconds: int) -> Failure:
    detail = (
        f"The video lasts {timeline.duration_s:.1f} s, less than windows.min_window_seconds = {min_seconds}."
    )
    if timeline.damage:
        return _rejected(timeline.video, Stage.DECODE, "truncated", f"{timeline.damage} {detail}")
    return _rejected(timeline.video, Stage.DECODE, "too_short", detail)
