"""Opened videos on this machine's disk: fetched, decoded once onto the grid, and removed after use.

The flow and the workers on other machines open videos with the same functions.
"""

from __future__ import annotations

import atexit
import shutil
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from uuid import uuid4

from tasks.adapters.stopping import raise_if_stopped
from tasks.adapters.storage import store_of
from tasks.adapters.storage.scratch import WORKER, run_folder, video_folder
from tasks.adapters.video.timeline import FRAMES_NAME, DecodeLimits, decode_timeline, read_frames
from tasks.adapters.workers.processes import this_worker
from tasks.core.amounts import size_text
from tasks.core.errors import DecodeFailed, VideoRefused
from tasks.core.records import Failure, FailureKind, ReadFrames, Stage, Timeline, VideoRef
from tasks.core.settings import Limits
from tasks.work.spec import RunSpec

GB = 10**9

SOURCE = Path("source", "video")
"""Where the video file lies beside its frames, under the same name for every video."""

RANKED_PER_GPU = 2
"""Opened videos for each GPU: while one is analysed, the next is scored."""


def open_video(video: VideoRef, spec: RunSpec, scratch: Path, *, gpus: int = 1) -> Timeline | Failure:
    """The timeline of a video, decoded onto scratch; or why it cannot be used.

    `gpus` of this machine share its scratch space.

    Raises:
        StorageError: the video could not be fetched.
        RunEnded: the run was stopped.
    """
    settings = spec.settings
    folder = video_folder(scratch, video)
    raise_if_stopped(folder)
    source = folder / SOURCE
    share = int(settings.limits.scratch_gb * GB / videos_at_once(spec, gpus=gpus))
    if video.size_bytes > min(settings.limits.max_file_gb * GB, share):
        return _rejected(video, Stage.FETCH, "too_large", _too_large(video, settings.limits, share))
    try:
        source.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        deadline_s = settings.limits.deadline_seconds
        store_of(video).download(video, source, deadline_s=deadline_s)
        fetched = time.perf_counter()
        timeline = decode_timeline(
            source,
            video,
            folder,
            fps=settings.windows.sample_fps,
            budget=spec.budget,
            limits=decode_limits(settings.limits, max_frames_bytes=share - video.size_bytes),
            speech_threshold=settings.speech.threshold if settings.speech.enabled else None,
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


def videos_at_once(spec: RunSpec, *, gpus: int = 1) -> int:
    """How many videos may lie opened on a machine; they have equal shares of its scratch space."""
    return spec.settings.engine.workers + RANKED_PER_GPU * gpus


def source_of(timeline: Timeline) -> Path:
    """The video file of an opened video; it is kept beside the frames if clips are wanted."""
    return Path(timeline.path).parent / SOURCE


def close_timeline(timeline: Timeline) -> None:
    """Free the scratch space of a video."""
    shutil.rmtree(Path(timeline.path).parent, ignore_errors=True)


class OpenedVideos:
    """The opened videos of a worker that is not the flow's process, in a folder of its own.

    Keeps the most recently used videos and evicts the oldest. The flow need not close them: it may die
    first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: OrderedDict[Path, Timeline] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[Path, threading.Lock] = {}

    def open(self, video: VideoRef, spec: RunSpec) -> Timeline | Failure:
        """As `open_video`, but a video that is still open is not opened again."""
        scratch = self.folder / spec.run_id
        folder = video_folder(scratch, video)
        with self._lock:
            one_at_a_time = self._opening.setdefault(folder, threading.Lock())
        with one_at_a_time:
            with self._lock:
                if (known := self._opened.get(folder)) and Path(known.path).is_file():
                    self._opened.move_to_end(folder)
                    return known
            opened = open_video(video, spec, scratch)
            with self._lock:
                if isinstance(opened, Timeline):
                    self._opened[folder] = opened
                while len(self._opened) > videos_at_once(spec):
                    close_timeline(self._opened.popitem(last=False)[1])
        return opened


@cache
def opened_videos_here(scratch_dir: str) -> OpenedVideos:
    """The opened videos of this process. Their folder is removed when the process ends, however it ends."""
    held = ExitStack()
    atexit.register(held.close)
    return OpenedVideos(held.enter_context(run_folder(scratch_dir, f"{WORKER}{uuid4().hex[:12]}")))


def open_on_worker(video: VideoRef, spec: RunSpec) -> Timeline | Failure:
    """Open a video on the worker's own disk.

    Raises:
        StorageError: the video could not be fetched.
    """
    opened = opened_videos_here(spec.settings.limits.scratch_dir).open(video, spec)
    return replace(opened, worker=this_worker()) if isinstance(opened, Timeline) else opened


def opened_here(timeline: Timeline, spec: RunSpec) -> Timeline:
    """The same video opened on this machine's disk; opened here if it was elsewhere, or has made room since.

    Raises:
        DecodeFailed: it was opened on another machine, and cannot be opened on this one.
        StorageError: the video could not be fetched again.
    """
    if not timeline.worker or (timeline.worker == this_worker() and Path(timeline.path).is_file()):
        return timeline
    opened = open_on_worker(timeline.video, spec)
    if isinstance(opened, Failure):
        raise DecodeFailed(opened.detail, reason=opened.reason)
    return opened


def frames_of(timeline: Timeline, spec: RunSpec) -> ReadFrames:
    """Reads the frames of a video from this machine's disk. Raises as `opened_here`."""
    return partial(read_frames, opened_here(timeline, spec))


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
    size = f"The file has {size_text(video.size_bytes)}, more than"
    if video.size_bytes > limits.max_file_gb * GB:
        return f"{size} limits.max_file_gb = {limits.max_file_gb:g}: raise the limit to rank it."
    return (
        f"{size} the {size_text(share)} that each video may take of limits.scratch_gb = "
        f"{limits.scratch_gb:g}: raise it, or lower engine.workers."
    )


def _too_short(timeline: Timeline, min_seconds: int) -> Failure:
    detail = (
        f"The video lasts {timeline.duration_s:.1f} s, less than windows.min_window_seconds = {min_seconds}."
    )
    if timeline.damage:
        return _rejected(timeline.video, Stage.DECODE, "truncated", f"{timeline.damage} {detail}")
    if timeline.unused:
        return _rejected(timeline.video, Stage.DECODE, "joined", f"{detail} {timeline.unused}")
    return _rejected(timeline.video, Stage.DECODE, "too_short", detail)
