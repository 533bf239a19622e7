"""How many videos are opened ahead of the models: enough that the models need not wait, and no more."""

from __future__ import annotations


class Prefetch:
    """The number of videos that are being opened, or are open and wait for the models.

    It grows while the models wait for videos, and shrinks while videos wait for the models.
    """

    def __init__(self) -> None:
        self.depth = 1

    def asked(self, *, ready: int, most: int) -> None:
        """The models ask for the next video while `ready` videos wait; at most `most` may be ahead."""
        if ready == 0:
            self.depth = min(self.depth + 1, most)
        elif ready >= self.depth:
            self.depth = max(self.depth - 1, 1)
