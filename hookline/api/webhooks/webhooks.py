"""Webhooks: who wants to know of which job, and a thread that tells them."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Gauge

from hookline.api.contract.problems import Problem
from hookline.api.jobs.job import Job
from hookline.api.webhooks.delivery import Delivery
from hookline.api.webhooks.outbox import Message, Outbox

PAUSES_S = (5, 300, 1800, 7200)
"""After each try but the last, and up to a tenth more: five tries in two and a half hours."""

MAX_WAITING = 10_000
"""Messages that are not told yet; beyond, no more are promised."""

log = logging.getLogger("hookline.webhooks")


class Webhooks:
    """Messages about jobs: promised, kept, and sent when their job is final."""

    def __init__(
        self,
        outbox: Outbox,
        delivery: Delivery,
        *,
        view: Callable[[Job], dict[str, Any]],
        registry: CollectorRegistry,
        pauses_s: Sequence[float] = PAUSES_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._outbox, self._delivery, self._view = outbox, delivery, view
        self._pauses_s, self._max_waiting = pauses_s, max_waiting
        shared: dict[str, Any] = {"namespace": "hookline", "registry": registry}
        self._ended = Counter("webhooks", "Messages that were delivered, or given up.", ["outcome"], **shared)
        for outcome in ("delivered", "dead"):
            self._ended.labels(outcome)
        self._failed = Counter("webhook_failed_tries", "Tries that failed.", **shared)
        waiting = Gauge("webhooks_waiting", "Messages that are not told yet.", **shared)
        waiting.set_function(outbox.waiting)
        self._loop, self._wake, self._is_over = asyncio.new_event_loop(), asyncio.Event(), False
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self, find: Callable[[str], Job | None]) -> None:
        """Begin to tell; `find` finds the jobs that an earlier service promised to tell of."""
        for message_id, job_id in self._outbox.unfilled():
            if job := find(job_id):
                self._when_final(message_id, job)
            else:
                self._give_up(message_id, job_id, "the job is not known any more")
        self._thread.start()

    def check(self, url: str) -> None:
        """Whether a message to this URL can be promised.

        Raises:
            Problem: it may not be told, or too many messages wait.
        """
        self._delivery.targets.find(url)
        if self._outbox.waiting() >= self._max_waiting:
            detail = f"{self._max_waiting:,} webhooks wait: come back later, or ask without webhook_url."
            raise Problem(429, "webhooks_full", detail, retry_after_s=60)

    def promise(self, url: str, job: Job, *, key: str = "") -> None:
        """Tell this URL of a job once it is final; with the same `key` once only."""
        message_id = f"msg_{key or uuid4().hex}"
        place = self._delivery.targets.named(url).place
        if self._outbox.add(message_id, job=job.id, url=url, host=place):
            self._when_final(message_id, job)

    def _when_final(self, message_id: str, job: Job) -> None:
        job.done.add_done_callback(lambda _: self._fill(message_id, job))

    def _fill(self, message_id: str, job: Job) -> None:
        self._outbox.fill(message_id, json.dumps(self._view(job)).encode())
        self._look()

    def _look(self) -> None:
        with suppress(RuntimeError):  # the loop has ended: the next service will look
            self._loop.call_soon_threadsafe(self._wake.set)

    def close(self) -> None:
        """Tell no more; what is left is told after the restart."""
        self._is_over = True
        self._look()
        if self._thread.is_alive():
            self._thread.join()
        self._loop.close()
        self._outbox.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._tell())

    async def _tell(self) -> None:
        """Send what is due, to each host one message at a time, so that none waits for another's."""
        sending: dict[str, asyncio.Task[None]] = {}
        while not self._is_over:
            self._wake.clear()
            for message in self._outbox.due(but_for=sending):
                task = sending[message.host] = asyncio.create_task(self._try(message))
                task.add_done_callback(partial(self._sent, sending, message.host))
            at = self._outbox.next_due_at(but_for=sending)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), None if at is None else max(0, at - time.time()))
        left = [*sending.values()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _sent(self, sending: dict[str, asyncio.Task[None]], host: str, task: asyncio.Task[None]) -> None:
        def free() -> None:
            del sending[host]
            self._wake.set()

        if task.cancelled() or not (error := task.exception()):
            free()
        else:
            log.error("a webhook could not be sent", exc_info=error)
            self._loop.call_later(PAUSES_S[0], free)

    async def _try(self, message: Message) -> None:
        count, tries = message.tries + 1, len(self._pauses_s) + 1
        if count > tries:  # the service was killed in the middle of the last one
            self._give_up(message.id, message.job, "the service ended during the last try")
            return
        pause_s = self._pauses_s[min(message.tries, len(self._pauses_s) - 1)] * random.uniform(1, 1.1)
        self._outbox.tried(message, next_at=time.time() + pause_s)
        why_not = await self._delivery.attempt(message)
        if not why_not:
            self._outbox.end(message.id)
            self._ended.labels("delivered").inc()
            log.info("webhook %s of job %s: %s was told", message.id, message.job, message.host)
            return
        self._failed.inc()
        told = f"try {count} of {tries} at {message.host}: {why_not}"
        if count == tries:
            self._give_up(message.id, message.job, told)
        else:
            log.warning("webhook %s of job %s: %s", message.id, message.job, told)

    def _give_up(self, message_id: str, job_id: str, why: str) -> None:
        self._outbox.end(message_id)
        self._ended.labels("dead").inc()
        log.error("webhook %s of job %s is given up: %s", message_id, job_id, why)
