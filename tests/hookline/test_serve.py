"""The socket of the service."""

from __future__ import annotations

import asyncio
import socket

from hookline.serve import listening


def test_an_answer_in_two_parts_does_not_wait_for_its_first_to_be_acknowledged() -> None:
    """Nagle's algorithm is off: it made 44 ms of an answer that takes one."""
    assert asyncio.run(_no_delay())


async def _no_delay() -> int:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(
            writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        )
        writer.close()

    with listening("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(answer, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            found = await accepted
            writer.close()
            await writer.wait_closed()
    return found
