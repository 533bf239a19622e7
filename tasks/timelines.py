"""Opening a video: fetched, decoded once onto the sampling grid, and gone again when it has been ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import task_run

from tasks.core.errors import StorageError
from tasks.core.prefetch import Prefetch
from tasks.core.records import Failure, Stage, Timeline, VideoRef
from tasks.run.logs import log_event
from tasks.run.retries import is_transient
from tasks.run.run import Run
from tasks.work.models import open_on_worker
from tasks.work.opening import close_timeline, open_video

RETRY_SECONDS: list[float] = [2, 10]


def open_timelines(videos: Sequence[VideoRef], run: Run) -> Iterator[Timeline | Failure]:
    """Open all videos, a few ahead of whoever asks, and hand each on as soon as it is ready."""
    waiting = iter(videos)
    ahead = Prefetch()
    ready: SimpleQueue[PrefectFuture[Timeline | Failure]] = SimpleQueue()
    n_ahead = 0

    def open_more() -> int:
        more = list(islice(waiting, max(0, ahead.depth - n_ahead)))
        for video in more:
            open_timeline.submit(video, run).add_done_callback(ready.put)
        return len(more)

    for _ in videos:
        ahead.asked(ready=ready.qsize(), most=run.settings.engine.workers * run.workers.machines)
        n_ahead += open_more()
        opened = ready.get()
        n_ahead -= 1
        n_ahead += open_more()  # before whoever asked is busy with this one
        yield opened.result()


@contextmanager
def closing_video(timeline: Timeline, run: Run) -> Iterator[None]:
    """An opened video for the block; afterwards its space is free for the next."""
    try:
        yield
    finally:
        close_timeline(timeline)
        run.workers.release(timeline.video)


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
        if run.workers.open_videos:
            worker = run.workers.assign(video)
            opened = run.workers.call(open_on_worker, video, run.for_workers, gpu=False, prefer=worker)
        else:
            opened = open_video(video, run)
    except Exception as error:  # whatever it is, it must not stop the other videos
        if is_transient(error) and attempt <= len(RETRY_SECONDS):
            raise
        stage = Stage.FETCH if isinstance(error, StorageError) else Stage.DECODE
        opened = Failure.from_error(video, stage, error, attempts=attempt)
    if isinstance(opened, Timeline):
        seconds = opened.fetch_seconds + opened.decode_seconds
        ticks, decoder = opened.n_ticks, opened.decoder
        log_event(run.run_id, "decode", "opened", video=video, seconds=seconds, ticks=ticks, decoder=decoder)
    else:
        run.workers.release(video)
    return opened
