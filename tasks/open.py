"""Open videos: fetch them, and decode each once onto the sampling grid; they are removed when ranked."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Condition
from typing import cast

from prefect.futures import PrefectConcurrentFuture

from tasks.adapters.stopping import at_work
from tasks.core.errors import HooklineError, StorageError
from tasks.core.prefetch import Prefetch
from tasks.core.records import Failure, Stage, Timeline, VideoRef
from tasks.run.logs import log_event
from tasks.run.retries import STORAGE_PAUSES_S, attempt, is_transient, retried, tried
from tasks.run.run import Run
from tasks.run.suspension import POLL_S
from tasks.work.hearing import keep_heard
from tasks.work.opening import close_timeline, open_on_worker, open_video

TASK_VIDEOS, TASK_BYTES = 16, 256_000_000
"""A task run opens so many videos at the most, or so many bytes of them: one by one, as there is room."""


class Feed:
    """The videos that wait to be opened, and those that are open and wait for the models."""

    def __init__(self, videos: Sequence[VideoRef]) -> None:
        self.ready: SimpleQueue[Timeline | Failure | BaseException] = SimpleQueue()
        self._waiting, self.left = iter(videos), len(videos)  # those that nobody opens yet
        self._changed = Condition()
        self._depth = self._ahead = self._openers = 0

    def room_for(self, depth: int) -> None:
        """So many videos may be ahead of the models, from now on."""
        with self._changed:
            self._depth = depth
            self._changed.notify_all()

    def taken(self) -> None:
        """A video that was ready is with the models."""
        with self._changed:
            self._ahead -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """No more video is opened."""
        with self._changed:
            self._waiting = iter(())
            self._depth = self._ahead + 1
            self._changed.notify_all()

    def for_another_opener(self) -> VideoRef | None:
        """The video with which one more begins; None if there is no room for one, or no video."""
        with self._changed:
            if self._openers >= self._depth or self._ahead >= self._depth or not (video := self._take()):
                return None
            self._openers += 1
            return video

    def opened(self, result: Timeline | Failure | BaseException, *, goes_on: bool) -> VideoRef | None:
        """Hand over what came of a video; the next one for an opener that goes on, once there is room."""
        with self._changed:
            self._openers -= not goes_on  # before the caller hears of it, who may start another
            self.ready.put(result)
            if not goes_on:
                return None
            self._changed.wait_for(lambda: self._ahead < self._depth)
            return self._take()

    def _take(self) -> VideoRef | None:
        video = next(self._waiting, None)
        self._ahead += video is not None
        self.left -= video is not None
        return video


def open_timelines(videos: Sequence[VideoRef], run: Run) -> Generator[Timeline | Failure]:
    """Open all videos, a few ahead of the caller, and yield each as soon as it is ready."""
    feed, ahead = Feed(videos), Prefetch()
    openers: list[PrefectConcurrentFuture[None]] = []

    def open_more() -> None:
        feed.room_for(ahead.depth)
        while first := feed.for_another_opener():
            openers.append(cast("PrefectConcurrentFuture[None]", open_some.submit(first, feed, run)))

    def next_ready() -> Timeline | Failure | BaseException:
        while True:
            with suppress(Empty):
                return feed.ready.get(timeout=POLL_S)
            for opener in openers.copy():
                over = opener.wrapped_future.done()
                opener.wait(0)  # raises Pause if the run was suspended
                if over:  # of another one the state would be asked of the server
                    openers.remove(opener)
                    if not opener.state.is_completed() and feed.ready.empty():  # before it opened anything
                        raise HooklineError(opener.state.message or "Prefect could not begin to open videos.")

    try:
        for _ in videos:
            most = run.spec.settings.engine.workers * run.workers.machines
            ahead.asked(ready=feed.ready.qsize(), most=most)
            open_more()
            run.workers.expect(feed.left)
            opened = next_ready()
            feed.taken()
            if isinstance(opened, BaseException):
                raise opened
            open_more()  # before the caller is busy with this one
            yield opened
    finally:
        feed.close()
        run.workers.expect(0)


@contextmanager
def closing_video(timeline: Timeline, run: Run) -> Iterator[None]:
    """Keep a video open for the block; afterwards its space is free for the next."""
    with at_work(run.scratch):
        try:
            yield
        finally:
            close_timeline(timeline)
            run.workers.release(timeline.video)


@retried("open videos", run_name="open videos from {first.name} on", pauses_s=())
def open_some(first: VideoRef, feed: Feed, run: Run) -> None:
    """Open a video, and then others, until it is enough for a task run. None stops the others."""
    video: VideoRef | None = first
    count = size = 0
    while video:
        count, size = count + 1, size + video.size_bytes
        try:
            opened = tried(open_timeline, video, run)
        except BaseException as error:
            feed.opened(error, goes_on=False)
            raise
        video = feed.opened(opened, goes_on=count < TASK_VIDEOS and size < TASK_BYTES)


@retried("open timeline")
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
