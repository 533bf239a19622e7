"""A standing Dask cluster: which workers it has that can be given work.

They are started with `WORKER_COMMAND`; workers with a memory limit are left alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from distributed import Client

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
"""How long the scheduler, and then the first worker, may take to answer."""

POLL_S = 1.0
"""Seconds from one look at the cluster to the next, while a call waits."""


class DaskCluster:
    """The workers of a cluster that offer a GPU and have no memory limit."""

    def __init__(self, address: str, *, timeout_s: float | None = None) -> None:
        """
        Scheduler, and then first worker, may take `timeout_s` each, or `CONNECT_TIMEOUT_S`.

        Raises:
            HooklineError: no scheduler answers there, or it has no worker that can be used.
        """
        timeout_s = CONNECT_TIMEOUT_S if timeout_s is None else timeout_s
        self._found: Mapping[str, int] = {}
        self._limited: Mapping[str, int] = {}
        self._look_again_at = 0.0
        self._looking = threading.Lock()
        try:
            self.client = Client(address, timeout=timeout_s, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise HooklineError(
                f"engine.dask_address is {address}, but no Dask scheduler answers there ({error}): start "
                "`dask scheduler`, or check address and network."
            ) from error
        try:
            self._wait_for_workers(address, time.monotonic() + timeout_s)
        except HooklineError:
            self.client.close()
            raise

    def workers(self, *, now: bool = False) -> Mapping[str, int]:
        """Their names with their GPUs, as they are `now`, or were at the last look."""
        with self._looking:
            if now or time.monotonic() >= self._look_again_at:
                self._look()
                self._look_again_at = time.monotonic() + POLL_S / 2
            return self._found

    def _wait_for_workers(self, address: str, until: float) -> None:
        while not self.workers():
            if self._limited:
                raise HooklineError(_limit_named(self._limited))
            if time.monotonic() > until:
                raise HooklineError(
                    f"The Dask scheduler at {address} has no worker with a GPU: start some with "
                    f"`{WORKER_COMMAND.format(address=address)}`."
                )
            time.sleep(0.2)

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
