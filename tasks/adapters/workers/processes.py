"""Where the work of a run is done: in this process, or in a process of its own for each GPU.

Whoever has work names a function that can be imported. It is done where a model is warm, one call at a
time on each GPU; a worker that dies takes nothing with it but the call it was doing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from concurrent.futures import TimeoutError as CallTimeout
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from tasks.core.errors import WorkerLost

T = TypeVar("T")

POLL_S = 5.0
"""Seconds from one look at a worker to the next, while a call waits for it."""


class Workers(ABC):
    """Does the work of a run, wherever that is.

    `gpus` calls that need a GPU run at once, on `machines`; both may change during a run. `open_videos`
    says whether videos are opened on those machines, instead of where the flow is.
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

        Without `gpu` it takes no GPU from others. `prefer` names the worker that has what it needs on its
        disk: another one takes it only if that one is gone.

        Raises:
            WorkerLost: the worker died, or took longer than it may. The call can be made again.
            Exception: what the work raised.
        """

    @abstractmethod
    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        """What `work(*args)` yields: as it comes where that is this process, else when all is there."""

    def assign(self, video: Hashable) -> str:
        """Where a video is best opened, for `prefer`: the worker with the fewest that are not `release`d."""
        return ""

    def release(self, video: Hashable) -> None:
        """Nothing more will be asked about this video."""
        return

    @abstractmethod
    def close(self) -> None:
        """End the workers that were started for this run."""


class InProcess(Workers):
    """Work is done by whoever asks for it; models share the process, and one computes at a time."""

    gpus = 1
    machines = 1
    open_videos = False

    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        return work(*args)

    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        return work(*args)

    def close(self) -> None:
        """There is nothing to end."""


class GpuProcesses(Workers):
    """One process a GPU, which sees that one alone. They start with the first call, and live for a run."""

    machines = 1
    open_videos = False

    def __init__(self, gpus: Sequence[str], *, deadline_s: float) -> None:
        self._deadline_s = deadline_s
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
            return process.call(work, args, deadline_s=self._deadline_s)
        finally:
            self._free.put(process)

    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        return iter(self.call(collect, work, *args))

    def close(self) -> None:
        for process in self._processes:
            process.end()


class _GpuProcess:
    """A pool of one process. When that dies, the pool starts another, or breaks and is replaced."""

    def __init__(self, gpu: str, *, share: int) -> None:
        self._gpu, self._cores = gpu, max(1, (os.cpu_count() or 1) // share)
        self._pool = self._new_pool()

    def call(self, work: Callable[..., T], args: tuple[Any, ...], *, deadline_s: float) -> T:
        if not self._pool.active:
            self.end()
            self._pool = self._new_pool()
        try:
            future = self._pool.schedule(work, args=args, timeout=deadline_s)
            while not wait([future], POLL_S).done:
                if not self._pool.active:  # it would never say
                    raise WorkerLost("A GPU worker died while it was started.")
            result: T = future.result()
            return result
        except CallTimeout as error:
            raise WorkerLost(
                f"A GPU worker was stopped after limits.deadline_seconds = {deadline_s:g}.", reason="deadline"
            ) from error
        except (ProcessExpired, RuntimeError, CancelledError) as error:
            if isinstance(error, RuntimeError) and self._pool.active:
                raise  # it came from the work
            code = f" with code {error.exitcode}" if isinstance(error, ProcessExpired) else ""
            raise WorkerLost(
                f"A GPU worker died{code}: see what it or the system's log says, most often it is memory."
            ) from error

    def end(self) -> None:
        """End the process, whatever it does."""
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


def collect(work: Callable[..., Iterator[T]], *args: Any) -> list[T]:
    """All that the work yields: a list can travel between processes."""
    return list(work(*args))


def this_worker() -> str:
    """The address of the Dask worker that does this call; empty in any other process."""
    if "distributed" not in sys.modules:
        return ""
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return ""


def find_gpus(count: int) -> list[str]:
    """The ids of so many GPUs, or of all for 0, as CUDA_VISIBLE_DEVICES names them.

    More workers than there are GPUs see none, and work on the CPU.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        there = [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
    else:
        there = [gpu for gpu in named.split(",") if gpu.strip()]
    if not count:
        return there
    return [*there, *[""] * count][:count]


def init_worker(gpu: str, cores: int, parent: int) -> None:
    """What a new worker process does first: see one GPU, take its share of the cores, end with its flow."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ["OMP_NUM_THREADS"] = str(cores)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)  # whoever would hear of it is gone
