"""What a Prefect server was told is written down whenever somebody asks for it, and before it ends.

Two of its services write history in batches, at times of their own and when they end. Here a batch can be
ended at any time: another takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from prefect.server.events.services import event_persister
from prefect.server.services import task_run_recorder
from prefect.server.utilities.messaging import Message, MessageHandler

from hookline.broker import all_handled
from hookline.own_server import HISTORY, PATIENCE_S

RECORDERS = (
    "prefect.server.utilities.messaging.memory",
    "prefect.server.services.task_run_recorder",
    "prefect.server.events.services.event_persister",
)
"""The loggers that say when history is lost. Nobody hears the others."""

Begin = Callable[..., AbstractAsyncContextManager[MessageHandler]]


class Writer:
    """What handles the events of a service; `begin` is Prefect's, and writes what it has when it ends."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        self._stack = AsyncExitStack()
        self._handle = await self._stack.enter_async_context(self._begin())

    async def handle(self, message: Message) -> None:
        await self._handle(message)

    async def close(self) -> None:
        await self._stack.aclose()

    async def write(self) -> None:
        """Write what there is; what comes meanwhile is for the next one."""
        before = self._stack
        await self.open()
        await before.aclose()


class Losses(logging.StreamHandler[Any]):
    """Says on stderr what those who record lose, however quiet the others are, and counts it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.setFormatter(logging.Formatter("hookline: the embedded Prefect server: %(message)s"))
        for name in RECORDERS:
            logger = logging.getLogger(name)
            logger.setLevel(logging.WARNING)
            logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        super().emit(record)


class History:
    """The history that a server of this process writes. Made before the server is."""

    def __init__(self) -> None:
        self._losses = Losses()
        self._writers: list[Writer] = []
        for module, name in ((task_run_recorder, "consumer"), (event_persister, "create_handler")):
            setattr(module, name, self._written_by(getattr(module, name)))

    def _written_by(self, begin: Begin) -> Begin:
        @asynccontextmanager
        async def begun(*arguments: Any, **options: Any) -> AsyncIterator[MessageHandler]:
            writer = Writer(partial(begin, *arguments, **options))
            await writer.open()
            self._writers.append(writer)
            try:
                yield writer.handle
            finally:
                self._writers.remove(writer)
                await writer.close()

        return begun

    async def writer(self) -> int:
        """The id of the process that writes."""
        return os.getpid()

    async def recorded(self) -> bool:
        """Write down all that the server was told before; False if something of it is lost."""
        before = self._losses.count
        handled = await all_handled(patience_s=PATIENCE_S)
        for writer in tuple(self._writers):
            await writer.write()
        return handled and self._losses.count == before

    def of(
        self,
        app: FastAPI,
        *,
        on_start: Callable[[], None],
        beside: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Have an app say who it is, record all when it is asked to, and end only when it has.

        `on_start` is called when it is up, and `beside` is done as long as it is.
        """
        app.router.add_api_route(HISTORY, self.writer, methods=["GET"])
        app.router.add_api_route(HISTORY, self.recorded, methods=["POST"])
        for _ in range(2):  # before the UI, which takes all paths
            app.router.routes.insert(0, app.router.routes.pop())
        served = app.router.lifespan_context

        @asynccontextmanager
        async def recorded(app: FastAPI) -> AsyncIterator[None]:
            async with served(app):
                on_start()
                other = asyncio.create_task(beside()) if beside else None
                yield
                if other:
                    other.cancel()
                if not await all_handled(patience_s=PATIENCE_S):
                    logging.getLogger(RECORDERS[0]).warning(
                        "some of the history of this run was not recorded"
                    )

        app.router.lifespan_context = recorded
