"""A Dask cluster: which workers it has that can be given work.

They are started with `WORKER_COMMAND`, by hand or on demand; workers with a memory limit are left alone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping

from distributed import Client, Future

from tasks.adapters.workers.processes import worker_name
from tasks.core.errors import HooklineError

log = logging.getLogger(__name__)

WORKER_COMMAND = "dask worker {address} --nthreads 4 --resources GPU=1 --memory-limit 0"
"""Starts one worker; once for each GPU.

Left to itself, Dask sets a limit of nthreads / cores of the machine's memory (2 GB of 32 on 64 cores), gives
no work to a worker that is above 80 % of it, and ends one above 95 %. Models stay in memory, so they would
stay above.
"""

CONNECT_TIMEOUT_S = 30.0
"""How long the scheduler may take to answer."""

FIRST_WORKER_TIMEOUT_S = 900.0
"""How long a run waits for its first worker: on demand a machine is started for it, and its image loaded."""

MAX_WANTED = 256
"""So many of the videos that wait are shown to the scheduler."""

NOWHERE = {"video": 1}
"""A resource that no worker has: a task that needs it waits."""

POLL_S = 1.0
"""Seconds from one look at the cluster to the next, while a call waits."""


class DaskCluster:
    """The workers of a cluster that offer a GPU and have no memory limit."""

    def __init__(self, address: str, *, timeout_s: float | None = None) -> None:
        """
        The scheduler may take `timeout_s` to answer, or `CONNECT_TIMEOUT_S`. There may be no worker yet.

        Raises:
            HooklineError: no scheduler answers there, or all its workers have a memory limit.
        """
        timeout_s = CONNECT_TIMEOUT_S if timeout_s is None else timeout_s
        self._address = address
        self._found: Mapping[str, int] = {}
        self._limited: Mapping[str, int] = {}
        self._look_again_at = 0.0
        self._looking = threading.Lock()
        self._wanted: list[Future[int]] = []
        self._wanting = threading.Lock()
        try:
            self.client = Client(address, timeout=timeout_s, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise HooklineError(
                f"engine.dask_address is {address}, but no Dask scheduler answers there ({error}): start "
                "`dask scheduler`, or check address and network."
            ) from error
        self._close_if_limited()

    @property
    def no_worker(self) -> str:
        """What to say of a cluster that has none."""
        return (
            f"The Dask scheduler at {self._address} has no worker with a GPU: start some with "
            f"`{WORKER_COMMAND.format(address=self._address)}`, or have them started on demand."
        )

    def workers(self, *, now: bool = False) -> Mapping[str, int]:
        """Their names with their GPUs, as they are `now`, or were at the last look."""
        with self._looking:
            if now or time.monotonic() >= self._look_again_at:
                self._look()
                self._look_again_at = time.monotonic() + POLL_S / 2
            return self._found

    def wait_for_a_worker(self) -> None:
        """Want a worker, and wait until there is one; the client is closed if none comes.

        Raises:
            HooklineError: there was none for `FIRST_WORKER_TIMEOUT_S`, or only some with a memory limit, or
                the scheduler went away.
        """
        until = time.monotonic() + FIRST_WORKER_TIMEOUT_S
        self.want(1)
        if not self.workers():
            log.warning("%s The run waits %g s for one.", self.no_worker, FIRST_WORKER_TIMEOUT_S)
        while not self.workers():
            if self.client.status == "closed":
                raise HooklineError(f"The Dask scheduler at {self._address} went away: start it again.")
            self.want(1)  # also of a scheduler that was started again
            self._close_if_limited()
            if time.monotonic() > until:
                self.client.close()
                raise HooklineError(self.no_worker)
            time.sleep(0.2)

    def want(self, videos: int) -> None:
        """Show the scheduler so many videos that wait: Dask's `adapt` starts workers for them."""
        with self._wanting:
            if self.client.status != "running":
                return
            # A scheduler that was started again has lost them; some give up what waits for too long.
            self._wanted = [each for each in self._wanted if each.status == "pending"]
            count = min(videos, MAX_WANTED)
            while len(self._wanted) > count:
                self._wanted.pop().release()
            while len(self._wanted) < count:
                key = f"wanted-{os.urandom(8).hex()}"
                self._wanted.append(self.client.submit(int, key=key, resources=NOWHERE, pure=False))

    def _close_if_limited(self) -> None:
        if not self.workers() and self._limited:
            self.client.close()
            raise HooklineError(_limit_named(self._limited))

    def _look(self) -> None:
        if (scheduler := self.client.scheduler) is None:  # closed
            return
        try:
            # Not `scheduler_info()`: what the client does beside may empty that of workers.
            workers = self.client.sync(scheduler.identity, n_workers=-1)["workers"]
        except OSError:  # whoever waits for work is told by the client
            return
        found, limited = dict[str, int](), dict[str, int]()
        for address, worker in workers.items():
            gpus, limit = int(worker["resources"].get("GPU", 0)), int(worker["memory_limit"])
            if gpus and limit:
                limited[address] = limit
            elif gpus:
                found[worker_name(address, worker["local_directory"])] = gpus
        if found and limited.keys() - self._limited.keys():
            log.warning("%s", _limit_named(limited))
        self._found, self._limited = found, limited


def _limit_named(limited: Mapping[str, int]) -> str:
    named = ", ".join(f"{address} ({limit / 1e9:.1f} GB)" for address, limit in sorted(limited.items()))
    return (
        "Dask workers with a memory limit are given no work, since Dask would end them with the models: "
        f"{named}. Start them with `{WORKER_COMMAND.format(address='tcp://SCHEDULER:8786')}`."
    )
