"""The queues inside a Prefect server, without a limit: no event is lost, and no task run with it.

Prefect's own drop what comes while 10,000 events wait for one of its services, and say so in a warning
(`prefect.server.utilities.messaging.memory.Subscription`, 3.9.1). A task run sends three events, and quick
ones send them faster than they are recorded. `PREFECT_SERVER_EVENTS_MESSAGING_BROKER` names this module.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from prefect.server.utilities.messaging import memory
from prefect.server.utilities.messaging.memory import Publisher, break_topic, ephemeral_subscription

__all__ = ["Consumer", "Publisher", "break_topic", "ephemeral_subscription"]

EVENTS = "events"

POLL_S = 0.02


class Consumer(memory.Consumer):
    """A service that takes events, however many wait for it."""

    def __init__(self, topic: str, subscription: memory.Subscription | None = None, **options: Any) -> None:
        super().__init__(topic, subscription, **options)
        if subscription is None:  # one that was handed over is of a page, and may hold events already
            self.subscription._queue = asyncio.Queue()


async def all_handled(*, patience_s: float) -> bool:
    """Wait until the services have handled all events; False if for `patience_s` they handled none."""
    before, since = -1, time.monotonic()
    while waiting := memory.METRICS[EVENTS]["published"] - memory.METRICS[EVENTS]["consumed"]:
        if waiting != before:
            before, since = waiting, time.monotonic()
        elif time.monotonic() - since > patience_s:
            return False
        await asyncio.sleep(POLL_S)
    return True
