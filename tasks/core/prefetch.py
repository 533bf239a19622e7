"""How many videos are opened ahead of the models: as many as it takes, and no more."""

from __future__ import annotations


class Prefetch:
    """The number of videos that are being opened or wait opened, from 1 to `most`.

    It grows while the models wait for videos, and shrinks while videos wait for the models.
    """

    def __init__(self, *, most: int) -> None:
        self.most = most
        self.depth = 1

    def asked(self, *, ready: int) -> None:
        """The models ask for the next video, and so many are ready."""
        if ready == 0:
            self.depth = min(self.depth + 1, self.most)
        elif ready >= self.depth:
            self.depth = max(self.depth - 1, 1)
