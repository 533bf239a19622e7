"""Open videos: fetch them, and decode each once onto the sampling grid; they are removed when ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue

from prefect.futures import PrefectFuture

from tasks.core.errors import StorageError
from tasks.core.prefetch import Prefetch
from tasks.core.records import Failure, Stage, Timeline, VideoRef
from tasks.run.logs import log_event
from tasks.run.retries import STORAGE_PAUSES_S, attempt, is_transient, retried
from tasks.run.run import Run
from tasks.work.opening import close_timeline, open_on_worker, open_video


def open_timelines(videos: Sequence[VideoRef], run: Run) -> Iterator[Timeline | Failure]:
    """Open all videos, a few ahead of the caller, and yield each as soon as it is ready."""
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
        ahead.asked(ready=ready.qsize(), most=run.spec.settings.engine.workers * run.workers.machines)
        n_ahead += open_more()
        opened = ready.get()
        n_ahead -= 1
        n_ahead += open_more()  # before the caller is busy with this one
        yield opened.result()


@contextmanager
def closing_video(timeline: Timeline, run: Run) -> Iterator[None]:
    """Keep a video open for the block; afterwards its space is free for the next."""
    try:
        yield
    finally:
        close_timeline(timeline)
        run.workers.release(timeline.video)


@retried("open timeline", run_name="open {video.name}")
def open_timeline(video: VideoRef, run: Run) -> Timeline | Failure:
    """Fetch and decode one video. An error that is transient is tried again; any other is returned."""
    try:
        if run.workers.open_videos:
            opened = run.do(open_on_worker, video, gpu=False, prefer=run.workers.assign(video))
        else:
            opened = open_video(video, run.spec, run.scratch, gpus=run.gpus_here())
    except Exception as error:  # whatever it is, it must not stop the other videos
        if is_transient(error) and attempt() <= len(STORAGE_PAUSES_S):
            raise
        stage = Stage.FETCH if isinstance(error, StorageError) else Stage.DECODE
        opened = Failure.from_error(video, stage, error, attempts=attempt())
    if isinstance(opened, Timeline):
        seconds = opened.fetch_seconds + opened.decode_seconds
        ticks, decoder = opened.n_ticks, opened.decoder
        log_event(
            run.spec.run_id, "decode", "opened", video=video, seconds=seconds, ticks=ticks, decoder=decoder
        )
    else:
        run.workers.release(video)
    return opened
