"""The queues of an embedded server lose nothing, and say when they are empty."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest
from prefect.server.utilities.messaging import Message, create_consumer, create_publisher, memory
from prefect.settings import PREFECT_MESSAGING_BROKER, temporary_settings

from hookline.broker import all_handled
from hookline.server import SETTINGS

MORE_THAN_PREFECT_KEEPS = 10_500


def sent_and_handled(count: int, handle: Callable[[Message], Awaitable[None]], *, patience_s: float) -> bool:
    """Sends events while their service is busy, then has it handle them; returns whether that is over."""

    async def run() -> bool:
        consumer = create_consumer("events")
        async with create_publisher("events", deduplicate_by="id") as publisher:
            for number in range(count):
                await publisher.publish_data(b"", {"id": str(number)})
        handling = asyncio.create_task(consumer.run(handle))
        over = await all_handled(patience_s=patience_s)
        handling.cancel()
        await consumer.cleanup()
        return over

    with temporary_settings({PREFECT_MESSAGING_BROKER: SETTINGS["PREFECT_SERVER_EVENTS_MESSAGING_BROKER"]}):
        return asyncio.run(run())


@pytest.fixture(autouse=True)
def _nothing_was_sent_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        memory, "METRICS", defaultdict(lambda: dict.fromkeys(("published", "retried", "consumed"), 0))
    )
    monkeypatch.setattr(memory.Cache, "_recently_seen_messages", {})


def test_no_event_is_lost_however_many_wait() -> None:
    handled = set[str]()

    async def handle(message: Message) -> None:
        handled.add(message.attributes["id"])

    assert sent_and_handled(MORE_THAN_PREFECT_KEEPS, handle, patience_s=10)
    assert len(handled) == MORE_THAN_PREFECT_KEEPS


def test_a_service_that_hangs_is_not_waited_for_for_ever() -> None:
    async def handle(_: Message) -> None:
        await asyncio.Event().wait()

    assert not sent_and_handled(3, handle, patience_s=0.1)
