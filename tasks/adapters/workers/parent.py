"""Ends a process when its parent has died, which the kernel does not do by itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

POLL_S = 1.0


def end_with_parent(parent: int, end: Callable[[], object]) -> None:
    """Calls `end`, in a thread of its own, once the parent of this process is no longer `parent`.

    The parent passes its own id: it may be dead before this process first asks who its parent is.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        end()

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
