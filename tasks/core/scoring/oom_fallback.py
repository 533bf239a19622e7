"""What to try when memory runs out: fewer segments at once, then fewer frames of one, then none."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.amounts import number_of
from tasks.core.records import Window
from tasks.core.scoring.windows import batches

FEWER_FRAMES = (64, 32)
"""Frames of a segment that alone is still too large; with fewer, an answer would say little."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Segments to be answered together, each seen through at most `max_frames` frames.

    `reason` says what memory did not allow: `smaller_batch` (than `max_segments` segments) or
    `fewer_frames`; None if it allowed all.
    """

    windows: tuple[Window, ...]
    max_frames: int
    max_segments: int
    reason: str | None = None

    @property
    def detail(self) -> str | None:
        """The reason in a sentence."""
        if self.reason == "fewer_frames":
            return f"Memory ran out with more than {self.max_frames} frames."
        if self.reason == "smaller_batch":
            return f"Memory ran out with more than {number_of(self.max_segments, 'segment')} at once."
        return None


class OomFallback:
    """Hands out segments in order of time, `size` at once, and smaller attempts after failed ones.

    Running out of memory makes all later batches smaller, too. Frames are reduced for one segment
    only: the next one may be lighter, or the memory free again.
    """

    def __init__(self, windows: Sequence[Window], *, size: int, max_frames: int) -> None:
        self.size, self.max_frames = size, max_frames
        self._reason: str | None = None
        self._waiting = deque(sorted(windows))
        self._again: list[Attempt] = []

    def next(self) -> Attempt | None:
        """The next attempt; None when every segment has been handed out for good."""
        if self._again:
            return self._again.pop()
        if not self._waiting:
            return None
        taken = [self._waiting.popleft() for _ in range(min(self.size, len(self._waiting)))]
        # The last ones are few without any need of memory.
        reason = self._reason if len(taken) == self.size else None
        return Attempt(tuple(taken), self.max_frames, self.size, reason)

    def reduce(self, attempt: Attempt) -> bool:
        """After running out of memory: try less. False if there is no less."""
        windows = attempt.windows
        if len(windows) > 1:
            self.size, self._reason = min(self.size, len(windows) // 2), "smaller_batch"
            self._try_again(windows, size=self.size)
            return True
        shown = min(attempt.max_frames, windows[0].length)
        fewer = [frames for frames in FEWER_FRAMES if frames < shown]
        self._again += [Attempt(windows, frames, 1, "fewer_frames") for frames in fewer[:1]]
        return bool(fewer)

    def separate(self, attempt: Attempt) -> bool:
        """After any other error: try each alone, so that one cannot hurt the others. False if it was."""
        if len(attempt.windows) == 1:
            return False
        self._try_again(attempt.windows, size=1)
        return True

    def _try_again(self, windows: Sequence[Window], *, size: int) -> None:
        pieces = reversed(batches(windows, size=size))
        self._again += [Attempt(tuple(piece), self.max_frames, size, self._reason) for piece in pieces]
