"""Open videos: fetch them, and decode each once onto the sampling grid; they are removed when ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from queue import Empty, SimpleQueue

from prefect.futures import PrefectFuture

from tasks.adapters.stopping import at_work
from tasks.core.errors import StorageError
from tasks.core.prefetch import Prefetch
from tasks.core.records import Failure, Stage, Timeline, VideoRef
from tasks.run.logs import log_event
from tasks.run.retries import STORAGE_PAUSES_S, attempt, is_transient, retried
from tasks.run.run import Run
from tasks.run.suspension import POLL_S
from tasks.work.hearing import keep_heard
from tasks.work.opening import close_timeline, open_on_worker, open_video


def open_timelines(videos: Sequence[VideoRef], run: Run) -> Iterator[Timeline | Failure]:
    """Open all videos, a few ahead of the caller, and yield each as soon as it is ready."""
    waiting = iter(videos)
    ahead = Prefetch()
    opening: set[PrefectFuture[Timeline | Failure]] = set()
    ready: SimpleQueue[PrefectFuture[Timeline | Failure]] = SimpleQueue()

    def open_more() -> None:
        for video in islice(waiting, max(0, ahead.depth - len(opening))):
            future = open_timeline.submit(video, run)
            opening.add(future)
            future.add_done_callback(ready.put)

    def next_ready() -> PrefectFuture[Timeline | Failure]:
        while True:
            with suppress(Empty):
                return ready.get(timeout=POLL_S)
            next(iter(opening)).wait(0)  # raises Pause if the run was suspended

    for _ in videos:
        ahead.asked(ready=ready.qsize(), most=run.spec.settings.engine.workers * run.workers.machines)
        open_more()
        opened = next_ready()
        opening.discard(opened)
        open_more()  # before the caller is busy with this one
        yield opened.result()


@contextmanager
def closing_video(timeline: Timeline, run: Run) -> Iterator[None]:
    """Keep a video open for the block; afterwards its space is free for the next."""
    with at_work(run.scratch):
        try:
            yield
        finally:
            close_timeline(timeline)
            run.workers.release(timeline.video)


@retried("open timeline", run_name="open {video.name}")
def open_timeline(video: VideoRef, run: Run) -> Timeline | Failure:
    """Fetch and decode one video. An error that is transient is tried again; any other is returned."""
    try:
        with at_work(run.scratch):
            opened = _open_somewhere(video, run)
    except Exception as error:  # whatever it is, it must not stop the other videos
        if is_transient(error) and attempt() <= len(STORAGE_PAUSES_S):
            raise
        stage = Stage.FETCH if isinstance(error, StorageError) else Stage.DECODE
        opened = Failure.from_error(video, stage, error, attempts=attempt())
    if isinstance(opened, Timeline):
        opened = keep_heard(opened, run.spec)
        seconds = (opened.fetch_seconds or 0) + (opened.decode_seconds or 0)
        ticks, decoder = opened.n_ticks, opened.decoder
        log_event(
            run.spec.run_id, "decode", "opened", video=video, seconds=seconds, ticks=ticks, decoder=decoder
        )
    else:
        run.workers.release(video)
    return opened


def _open_somewhere(video: VideoRef, run: Run) -> Timeline | Failure:
    if run.workers.open_videos:
        return run.do(open_on_worker, video, gpu=False, prefer=run.workers.assign(video))
    return open_video(video, run.spec, run.scratch, gpus=run.gpus_here())
