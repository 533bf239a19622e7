"""How many videos are opened ahead of the models: as many as it takes, and no more."""

from __future__ import annotations


class Prefetch:
    """The number of videos that are being opened or wait opened.

    It grows while the models wait for videos, and shrinks while videos wait for the models.
    """

    def __init__(self) -> None:
        self.depth = 1

    def asked(self, *, ready: int, most: int) -> None:
        """The models ask for the next video, and so many are ready; up to `most` may be ahead."""
        if ready == 0:
            self.depth = min(self.depth + 1, most)
        elif ready >= self.depth:
            self.depth = max(self.depth - 1, 1)
