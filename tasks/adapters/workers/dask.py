"""Work on a Dask cluster.

One worker process a GPU: its resource admits one call that needs the GPU, its other threads fetch and
decode. Each call is given to one worker. If that ends, the call on its GPU is to blame and is lost; the
others are given to another worker, as often as it takes.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future as Coming
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

from distributed import CancelledError

from tasks.adapters.workers.dask_cluster import POLL_S, DaskCluster
from tasks.adapters.workers.processes import Workers, collect, this_worker
from tasks.core.errors import GpuLost, HooklineError, RunEnded, WorkerLost

T = TypeVar("T")

ON_A_GPU = {"GPU": 1}

NO_WORKERS_TIMEOUT_S = 300.0
"""How long a call waits while the cluster has no worker at all: a new one takes minutes to start."""

BROADCAST_TIMEOUT_S = 5.0
"""How long the workers may take to do what they are all told at once: one may hang."""

LEAVE_S = 2.0
"""How long a worker lives on after its GPU call hung: the news of that must reach the flow."""

CLOSE_TIMEOUT_S = 5.0
"""How long a client stays for calls under way; each looks every `POLL_S` whether its run has ended."""

_leaving = threading.Event()
"""Set in a worker process that is about to end."""


class WorkStopped(HooklineError):
    """`RunEnded`, as it travels from a worker: the client of Dask never hears of what is no Exception."""


class NotBegun(HooklineError):
    """A call has reached another worker process than it was meant for, or one that is about to end."""


class DaskWorkers(Workers):
    """The workers of a cluster. A call names the one it is for, or goes to the one with the fewest videos."""

    open_videos = True

    def __init__(self, address: str, *, deadline_s: float) -> None:
        """
        Raises:
            HooklineError: no scheduler answers there, or it has no worker that can be used.
        """
        self._deadline_s, self._closed = deadline_s, False
        self._cluster = DaskCluster(address)
        self._cluster.wait_for_a_worker()
        self._expected = 1  # until it is said how many videos there are
        self._lock, self._calls = threading.Condition(), 0
        self._places: dict[Hashable, str] = {}
        self._heirs: dict[str, str] = {}  # who has the work of a worker that is gone
        self._on_gpu: defaultdict[str, list[object]] = defaultdict(list)  # the first is the one that runs
        self._gone: dict[str, object | None] = {}  # workers with the call that is to blame

    @property
    def gpus(self) -> int:
        return max(1, sum(self._offering().values()))

    @property
    def machines(self) -> int:
        return self.gpus

    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        with self._under_way():
            return self._done(work, args, gpu=gpu, prefer=prefer)

    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        return iter(self.call(collect, work, *args, prefer=prefer))

    def assign(self, video: Hashable) -> str:
        # Left to Dask, which knows nothing of videos that only lie there, one worker gets them by chance
        # and has work for longer than the others: with eight videos, five to three were seen.
        workers = self._offering()
        with self._lock:
            self._places[video] = self._least_loaded(workers)
            return self._places[video]

    def release(self, video: Hashable) -> None:
        with self._lock:
            self._places.pop(video, None)

    def expect(self, videos: int) -> None:
        self._expected = videos
        self._cluster.want(videos)

    def broadcast(self, work: Callable[..., object], *args: Any) -> None:
        tell = threading.Thread(target=self._tell, args=(work, *args), name="broadcast", daemon=True)
        tell.start()
        tell.join(BROADCAST_TIMEOUT_S)

    def close(self) -> None:
        # Closed under a call that looks at its future, Dask's client leaves a coroutine that nobody awaits.
        with self._lock:
            self._closed = True
            self._lock.wait_for(lambda: not self._calls, CLOSE_TIMEOUT_S)
        self._cluster.client.close()

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        with self._lock:
            self._raise_if_closed()
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._lock.notify_all()

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise RunEnded("The run has ended: it has left the Dask cluster.")

    def _tell(self, work: Callable[..., object], *args: Any) -> None:
        with suppress(OSError, TimeoutError):  # the scheduler is gone
            self._cluster.client.run(work, *args, on_error="ignore")

    def _offering(self) -> dict[str, int]:
        """The workers that can be given work, with their GPUs."""
        workers = self._cluster.workers()
        return {name: gpus for name, gpus in workers.items() if name not in self._gone}

    def _worker_for(self, prefer: str) -> str:
        """`prefer`, or the worker that has taken over its work; any if there is nothing to be near to."""
        patience = time.monotonic() + NO_WORKERS_TIMEOUT_S
        while not (workers := self._offering()):
            self._raise_if_closed()
            self._cluster.want(max(1, self._expected))
            if time.monotonic() > patience:
                raise WorkerLost(
                    f"The Dask cluster has had no worker for {NO_WORKERS_TIMEOUT_S:g} s: start some."
                )
            time.sleep(POLL_S)
        self._cluster.want(self._expected)
        with self._lock:
            worker = self._heir(prefer, workers) or self._least_loaded(workers)
            if prefer and worker != prefer:
                self._heirs[prefer] = worker
        return worker

    def _heir(self, worker: str, workers: Mapping[str, int]) -> str:
        """Whoever of these workers has the work of one that may be gone by now; empty if nobody has."""
        while worker and worker not in workers:
            worker = self._heirs.get(worker, "")
        return worker

    def _least_loaded(self, workers: Mapping[str, int]) -> str:
        load = Counter(self._heir(place, workers) for place in self._places.values())
        return min(workers, key=lambda worker: load[worker] / workers[worker], default="")

    def _done(self, work: Callable[..., T], args: tuple[Any, ...], *, gpu: bool, prefer: str) -> T:
        while True:
            worker, this_try = self._worker_for(prefer), object()
            with self._lock:
                self._on_gpu[worker] += [this_try] * gpu
            try:
                return self._call_on(worker, work, args, gpu=gpu, opens=prefer not in ("", worker))
            except WorkStopped as stopped:
                raise RunEnded(str(stopped)) from stopped
            except NotBegun:
                self._to_blame(worker, this_try)  # whoever it is: this call has done nothing
            except CancelledError as error:
                self._raise_if_closed()
                raise WorkerLost("The Dask scheduler went away with this work: start it again.") from error
            except WorkerLost as lost:
                self._raise_if_closed()
                if self._to_blame(worker, this_try, hung=lost.reason == "deadline"):
                    raise
            finally:
                with self._lock:
                    self._on_gpu[worker] = [each for each in self._on_gpu[worker] if each is not this_try]

    def _call_on(
        self, worker: str, work: Callable[..., T], args: tuple[Any, ...], *, gpu: bool, opens: bool
    ) -> T:
        # Where a GPU call must open its video first, fetching and decoding have a deadline each. What is
        # done without a GPU has deadlines of its own.
        deadlines = (3 if opens else 1) if gpu else 0
        future = self._cluster.client.submit(
            _do,
            worker,
            self._deadline_s,
            deadlines,
            work,
            *args,
            key=f"{getattr(work, '__name__', 'work')}-{os.urandom(8).hex()}",
            pure=False,
            resources=ON_A_GPU if gpu else None,
            workers=[_address(worker)],
        )
        died = WorkerLost(
            f"The Dask worker {_address(worker)} died with this work: see what it or the system's log says, "
            "most often it is memory."
        )
        # If it dies from here on, Dask may give its work to the next process at its address.
        was_there = worker in self._cluster.workers(now=True)
        # Not `future.result(timeout=...)`: where the time is over while results come, it takes them from all.
        loop: Any = self._cluster.client.loop
        gathered = self._cluster.client.gather(future, asynchronous=True)
        coming: Coming[T] = asyncio.run_coroutine_threadsafe(gathered, loop.asyncio_loop)
        try:
            while not wait([coming], POLL_S).done:
                self._raise_if_closed()
                if worker not in self._offering():
                    raise died if was_there else NotBegun(f"{_address(worker)} had left the cluster.")
            return coming.result()
        except NotBegun as error:
            if was_there:
                raise died from error
            raise
        finally:
            future.release()

    def _to_blame(self, worker: str, this_try: object, *, hung: bool = False) -> bool:
        """Whether it may be due to this call that its worker is gone: not if another was on the GPU."""
        with self._lock:
            on_gpu = this_try if hung else next(iter(self._on_gpu[worker]), None)
            return self._gone.setdefault(worker, on_gpu) in (this_try, None)


def _do(worker: str, deadline_s: float, deadlines: int, work: Callable[..., T], *args: Any) -> T:
    """Do the work on the worker it was meant for, within so many deadlines; 0: there is none."""
    if this_worker() != worker or _leaving.is_set():
        raise NotBegun(f"The Dask worker {_address(worker)} ended before it did this work.")
    try:
        return _do_in_time(deadline_s, deadlines, work, *args)
    except RunEnded as ended:
        raise WorkStopped(str(ended)) from None
    except GpuLost as lost:
        _leave()
        raise WorkerLost(f"A Dask worker ended: {lost}") from None


def _do_in_time(deadline_s: float, deadlines: int, work: Callable[..., T], *args: Any) -> T:
    if not deadlines:
        return work(*args)
    thread = ThreadPoolExecutor(1, "gpu-call")
    call = thread.submit(copy_context().run, work, *args)
    thread.shutdown(wait=False)
    try:
        return call.result(deadlines * deadline_s)
    except TimeoutError:
        if call.done():
            raise  # it came from the work
        # A call into a GPU cannot be stopped, but for the process that made it.
        _leave()
        raise WorkerLost(
            f"A Dask worker was stopped after limits.deadline_seconds = {deadline_s:g}: raise it if "
            "the work takes so long, or look at what holds the worker up.",
            reason="deadline",
        ) from None


def _leave() -> None:
    """End this worker process soon; until then it begins nothing."""
    _leaving.set()
    threading.Timer(LEAVE_S, os._exit, (1,)).start()


def _address(worker: str) -> str:
    return worker.partition(" ")[0]
