"""Work on a standing Dask cluster: `dask worker tcp://HOST:8786 --nthreads 4 --resources GPU=1`.

One worker process a GPU: its resource admits one call that needs the GPU, its other threads fetch and
decode. A worker that dies is noticed by the scheduler, and another one does its calls.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker

from tasks.adapters.workers.processes import Workers, collect
from tasks.core.errors import HooklineError, WorkerLost

T = TypeVar("T")

ON_A_GPU = {"GPU": 1}

CONNECT_TIMEOUT_S = 30.0
"""How long the scheduler, and then the first worker, may take to answer."""

NO_WORKERS_TIMEOUT_S = 300.0
"""How long a call waits while the cluster has no worker at all: a new one takes minutes to start."""

POLL_S = 5.0
"""Seconds from one look at the cluster to the next, while a call waits."""


class DaskWorkers(Workers):
    """The workers of a cluster that offer a GPU."""

    open_videos = True

    def __init__(self, address: str, *, deadline_s: float) -> None:
        """
        Raises:
            HooklineError: no scheduler answers there, or it has no worker with a GPU.
        """
        self._deadline_s = deadline_s
        self._places: dict[Hashable, str] = {}
        self._placing = threading.Lock()
        try:
            self._client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise HooklineError(
                f"engine.dask_address is {address}, but no Dask scheduler answers there ({error}): start "
                "`dask scheduler`, or check address and network."
            ) from error
        patience = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._offering():
            if time.monotonic() > patience:
                self._client.close()
                raise HooklineError(
                    f"The Dask scheduler at {address} has no worker with a GPU: start some with "
                    f"`dask worker {address} --nthreads 4 --resources GPU=1`."
                )
            time.sleep(0.2)

    @property
    def gpus(self) -> int:
        return max(1, sum(self._offering().values()))

    @property
    def machines(self) -> int:
        return self.gpus

    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        where = {"workers": [prefer], "allow_other_workers": True} if prefer else {}
        future = self._client.submit(
            _within,
            self._deadline_s,
            work,
            *args,
            key=f"{getattr(work, '__name__', 'work')}-{os.urandom(8).hex()}",
            pure=False,
            resources=ON_A_GPU if gpu else None,
            **where,
        )
        try:
            self._wait_for(future)
            result: T = future.result()
            return result
        except KilledWorker as error:
            raise WorkerLost(f"The Dask workers that were given this work died: {error}") from error
        finally:
            future.release()

    def each(self, work: Callable[..., Iterator[T]], *args: Any, prefer: str = "") -> Iterator[T]:
        return iter(self.call(collect, work, *args, prefer=prefer))

    def assign(self, video: Hashable) -> str:
        # Left to Dask, which knows nothing of videos that only lie there, one worker gets them by chance
        # and has work for longer than the others: with eight videos, five to three were seen.
        workers = self._offering()
        with self._placing:
            load = Counter(self._places.values())
            place = min(workers, key=lambda worker: load[worker] / workers[worker], default="")
            self._places[video] = place
        return place

    def release(self, video: Hashable) -> None:
        with self._placing:
            self._places.pop(video, None)

    def close(self) -> None:
        self._client.close()

    def _offering(self) -> dict[str, int]:
        """The workers of the cluster as it is now, with their GPUs."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        gpus = {name: int(worker["resources"].get("GPU", 0)) for name, worker in workers.items()}
        return {name: count for name, count in gpus.items() if count}

    def _wait_for(self, future: Future[Any]) -> None:
        over, with_workers = threading.Event(), time.monotonic()
        future.add_done_callback(lambda _: over.set())
        while not over.wait(POLL_S):
            if self._offering():
                with_workers = time.monotonic()
            elif time.monotonic() - with_workers > NO_WORKERS_TIMEOUT_S:
                raise WorkerLost(f"The Dask cluster has had no worker for {NO_WORKERS_TIMEOUT_S:g} s.")
        if future.cancelled():
            raise WorkerLost("The Dask scheduler went away with this work.")


def _within(deadline_s: float, work: Callable[..., T], *args: Any) -> T:
    """Do the work on a worker, which ends if that takes too long: a call into a GPU cannot be stopped."""
    watchdog = threading.Timer(deadline_s, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()
    try:
        return work(*args)
    finally:
        watchdog.cancel()
