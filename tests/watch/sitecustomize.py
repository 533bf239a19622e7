"""Writes down which other hosts a Python process looks up or connects to, and looks for garbage seldom.

tests/conftest.py loads it, and puts its folder on the path of what the tests start: Python imports a module
of this name by itself when it starts.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

RECORD = "HOOKLINE_TEST_OTHER_HOSTS"
"""Names the file: one line for each look-up or connection."""

LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
HERE = ("", "None", "localhost", "0.0.0.0", "::", "::1", os.uname().nodename)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event[:7] != "socket.":  # nearly all
        return
    if event in LOOK_UPS:
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[0].type == 1:
        host = arguments[1][0]  # type 1: a stream. To connect a datagram socket sends nothing.
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in HERE or name.startswith("127."):
        return
    line = f"{name} by {sys.argv[:3]} in {os.environ.get('PYTEST_CURRENT_TEST', 'no test')}\n"
    with open(os.environ[RECORD], "a") as record:  # noqa: PTH123 - pathlib is not worth its import here
        record.write(line)


# A full search walks through all that was imported, half a second each time, and most tests mostly import.
gc.set_threshold(300_000, 10, 10)
if os.environ.get(RECORD):
    sys.addaudithook(_watch)
