"""Opened videos on this machine's disk: fetched, decoded once onto the grid, and gone when they are done.

Knows no Prefect: a worker on another machine opens its videos with the same functions.
"""

from __future__ import annotations

import atexit
import shutil
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from uuid import uuid4

from tasks.adapters.storage import open_store
from tasks.adapters.storage.scratch import run_folder, video_folder
from tasks.adapters.video.timeline import FRAMES_NAME, DecodeLimits, decode_timeline
from tasks.core.errors import DecodeFailed, VideoRefused
from tasks.core.records import Failure, FailureKind, Stage, Timeline, VideoRef
from tasks.core.settings import Limits
from tasks.run.run import Run

GB = 10**9

SOURCE = Path("source", "video")
"""Where the video file lies beside its frames: alone in its folder, whatever it calls itself."""

RANKED_PER_GPU = 2
"""Opened videos that are with a GPU: while one is looked at closely, the next is scored."""


def open_video(video: VideoRef, run: Run) -> Timeline | Failure:
    """The timeline of a video, decoded onto this machine's scratch; or why it cannot be used.

    Raises:
        StorageError: the video could not be fetched.
    """
    settings = run.settings
    folder = video_folder(run.scratch, video)
    source = folder / SOURCE
    share = int(settings.limits.scratch_gb * GB / videos_at_once(run))
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
        return Failure.from_error(video, Stage.DECODE, error)
    finally:
        if not (settings.publish.clips and (folder / FRAMES_NAME).is_file()):  # clips are cut out of it
            shutil.rmtree(source.parent, ignore_errors=True)
    if timeline.duration_s < settings.windows.min_window_seconds:
        close_timeline(timeline)
        return _too_short(timeline, settings.windows.min_window_seconds)
    return replace(timeline, fetch_seconds=fetched - began, decode_seconds=time.perf_counter() - fetched)


def videos_at_once(run: Run) -> int:
    """How many videos may lie opened on one machine: each has a share of the scratch space."""
    gpus_here = max(1, run.workers.gpus // run.workers.machines)
    return run.settings.engine.workers + RANKED_PER_GPU * gpus_here


def ranked_at_once(run: Run) -> int:
    """How many opened videos are with the models, wherever those are."""
    return RANKED_PER_GPU * run.workers.gpus


def source_of(timeline: Timeline) -> Path:
    """The video file of an opened video: there as long as its frames are, if clips are wanted."""
    return Path(timeline.path).parent / SOURCE


def close_timeline(timeline: Timeline) -> None:
    """Free the scratch space of a video."""
    shutil.rmtree(Path(timeline.path).parent, ignore_errors=True)


class OpenedVideos:
    """The videos that a worker away from the flow keeps opened: the last ones used, in a folder of its own.

    A flow that dies cannot close what it opened elsewhere, so nobody has to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: OrderedDict[Path, Timeline] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[Path, threading.Lock] = {}

    def open(self, video: VideoRef, run: Run) -> Timeline | Failure:
        """As `open_video`; a video that is still there is not opened again."""
        place = video_folder(self.folder / run.run_id, video)
        with self._lock:
            one_at_a_time = self._opening.setdefault(place, threading.Lock())
        with one_at_a_time:
            with self._lock:
                if (known := self._opened.get(place)) and Path(known.path).is_file():
                    self._opened.move_to_end(place)
                    return known
            opened = open_video(video, replace(run, scratch=self.folder / run.run_id))
            with self._lock:
                if isinstance(opened, Timeline):
                    self._opened[place] = opened
                while len(self._opened) > videos_at_once(run):
                    close_timeline(self._opened.popitem(last=False)[1])
        return opened


@cache
def opened_videos_here(scratch_dir: str) -> OpenedVideos:
    """The shelf of this process; its folder goes with the process, however that ends."""
    held = ExitStack()
    atexit.register(held.close)
    return OpenedVideos(held.enter_context(run_folder(scratch_dir, f"worker-{uuid4().hex[:12]}")))


def decode_limits(limits: Limits, *, max_frames_bytes: int) -> DecodeLimits:
    """What decoding one video may cost."""
    return DecodeLimits(
        deadline_s=limits.deadline_seconds,
        memory_bytes=int(limits.memory_gb * GB),
        max_duration_s=limits.max_video_hours * 3600,
        max_frames_bytes=max_frames_bytes,
    )


def _rejected(video: VideoRef, stage: Stage, reason: str, detail: str) -> Failure:
    return Failure(video, stage, FailureKind.REJECTED, reason, detail)


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
