"""Workers, which do the work of a run: this process, or one process for each GPU.

Work is a function that can be imported, with arguments that can be pickled. A worker keeps its models
loaded and does one call at a time on its GPU; if it dies, only that call is lost.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as CallTimeout
from functools import partial
from multiprocessing import get_context
from queue import SimpleQueue
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from tasks.adapters.workers.parent import end_with_parent
from tasks.core.errors import GpuLost, RunEnded, WorkerLost

T = TypeVar("T")

GPU_LOST = 70
"""The exit code of a worker that has lost its GPU."""

log = logging.getLogger(__name__)

POLL_S = 1.0
"""Seconds between checks that a worker is alive, while a call waits for it."""


class Workers(ABC):
    """Does the work of a run.

    `gpus` calls that need a GPU run at once, on `machines`; both may change during a run. `open_videos`
    says whether videos are opened on those machines instead of the machine of the flow.
    """

    open_videos: bool

    @property
    @abstractmethod
    def gpus(self) -> int: ...

    @property
    @abstractmethod
    def machines(self) -> int: ...

    @abstractmethod
    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        """What `work(*args)` returns.

        Work that needs no `gpu` keeps none from other calls. `prefer` names the worker that has the data
        on its disk: another one takes the call only if that one is gone.

        Raises:
            WorkerLost: the worker died, or took longer than it may. The call can be repeated.
            RunEnded: the workers were closed.
            Exception: whatever the work raised.
        """

    def on_all(self, work: Callable[..., T], *args: Any) -> list[T]:
        """What `work(*args)` returns on each of the workers that were started for this run.

        Raises:
            Exception: as `call`, of any of them.
        """
        return [self.call(work, *args)]

    @abstractmethod
    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        """What `work(*args)` yields: one by one from this process, all together from another."""

    def assign(self, video: Hashable) -> str:
        """The worker on which to open a video, for `prefer`: the one with the fewest not yet `release`d."""
        return ""

    def release(self, video: Hashable) -> None:
        """There will be no more work on this video."""
        return

    def expect(self, videos: int) -> None:
        """So many videos wait to be opened: where workers start on demand, this is the demand."""
        return

    def broadcast(self, work: Callable[..., object], *args: Any) -> None:
        """Have every worker outside this process do `work(*args)` now, beside its calls."""
        return

    @abstractmethod
    def close(self) -> None:
        """End the workers that were started for this run, and all calls, those that wait too."""


class InProcess(Workers):
    """Does work in this process and the calling thread; all models share it, and one computes at a time."""

    gpus = 1
    machines = 1
    open_videos = False

    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        return work(*args)

    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        return work(*args)

    def close(self) -> None:
        """Nothing was started."""


class GpuProcesses(Workers):
    """One process for each GPU, which sees no other. They start with the first call and live for the run."""

    machines = 1
    open_videos = False

    def __init__(self, gpus: Sequence[str], *, deadline_s: float) -> None:
        self._deadline_s, self._closed = deadline_s, False
        self._processes = [_GpuProcess(gpu, share=len(gpus)) for gpu in gpus]
        self._free: SimpleQueue[_GpuProcess] = SimpleQueue()
        for process in self._processes:
            self._free.put(process)

    @property
    def gpus(self) -> int:
        return len(self._processes)

    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        if not gpu:
            return work(*args)
        process = self._free.get()
        try:
            return self._call(process, work, args)
        finally:
            self._free.put(process)

    def on_all(self, work: Callable[..., T], *args: Any) -> list[T]:
        with ThreadPoolExecutor(self.gpus) as pool:
            return list(pool.map(lambda process: self._call(process, work, args), self._processes))

    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        return iter(self.call(collect, work, *args))

    def close(self) -> None:
        self._closed = True
        for process in self._processes:
            process.end()

    def _call(self, process: _GpuProcess, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        try:
            return process.call(work, args, deadline_s=self._deadline_s)
        except WorkerLost as lost:
            if self._closed:
                raise RunEnded("The run has ended: its GPU workers are closed.") from lost
            raise


class _GpuProcess:
    """A pool of one process. If that dies, the pool starts another, or breaks and is replaced."""

    def __init__(self, gpu: str, *, share: int) -> None:
        self._gpu, self._cores = gpu, max(1, (os.cpu_count() or 1) // share)
        self._pool, self._ended, self._replacing = self._new_pool(), False, threading.Lock()

    def call(self, work: Callable[..., T], args: tuple[Any, ...], *, deadline_s: float) -> T:
        self._replace_broken_pool()
        try:
            future = self._pool.schedule(ending_without_gpu, args=(work, *args), timeout=deadline_s)
            while not wait([future], POLL_S).done:
                if not self._pool.active:  # the future would never be done
                    raise WorkerLost(
                        "A GPU worker died while it was started: see what it or the system's log says."
                    )
            result: T = future.result()
            return result
        except CallTimeout as error:
            raise WorkerLost(
                f"A GPU worker was stopped after limits.deadline_seconds = {deadline_s:g}: raise it if "
                "the work takes so long, or look at what holds the worker up.",
                reason="deadline",
            ) from error
        except (ProcessExpired, RuntimeError, CancelledError) as error:
            if isinstance(error, RuntimeError) and self._pool.active:
                raise  # it came from the work
            code = f" with code {error.exitcode}" if isinstance(error, ProcessExpired) else ""
            if isinstance(error, ProcessExpired) and error.exitcode == GPU_LOST:
                raise WorkerLost("A GPU worker ended, as CUDA worked no more in it: see its log.") from error
            raise WorkerLost(
                f"A GPU worker died{code}: see what it or the system's log says, most often it is memory."
            ) from error

    def end(self) -> None:
        """End the process, whatever it is doing, for good."""
        with self._replacing:
            self._ended = True
            self._stop_pool()

    def _replace_broken_pool(self) -> None:
        with self._replacing:
            if not self._pool.active and not self._ended:
                self._stop_pool()
                self._pool = self._new_pool()

    def _stop_pool(self) -> None:
        self._pool.stop()
        self._pool.join()

    def _new_pool(self) -> ProcessPool:
        # Spawned: CUDA and the threads of a flow do not survive a fork.
        return ProcessPool(
            max_workers=1,
            initializer=init_worker,
            initargs=(self._gpu, self._cores, os.getpid()),
            context=get_context("spawn"),
        )


def ending_without_gpu(work: Callable[..., T], *args: Any) -> T:
    """What the work returns. If it loses its GPU this process ends, so that another takes its place."""
    try:
        return work(*args)
    except GpuLost as lost:
        log.error("%s", lost)
        os._exit(GPU_LOST)


def collect(work: Callable[..., Iterator[T]], *args: Any) -> list[T]:
    """All that the work yields, as a list: that can be pickled."""
    return list(work(*args))


def worker_name(address: str, folder: str) -> str:
    """What a Dask worker is called here. One that is started again may have the same address."""
    return f"{address} {folder}"


def this_worker() -> str:
    """The name of the Dask worker that does this call; empty in any other process."""
    if "distributed" not in sys.modules:
        return ""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return ""
    return worker_name(worker.address, worker.local_directory)


def init_worker(gpu: str, cores: int, parent: int) -> None:
    """Set up a new worker process: it sees one GPU, uses its share of the cores, and ends with its flow."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ["OMP_NUM_THREADS"] = str(cores)
    end_with_parent(parent, partial(os._exit, 1))
