"""What a model's work cost: passes, tokens and seconds, counted where they are spent."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from tasks.core.throughput import Span


@dataclass(slots=True)
class Spent:
    """What was done for one caller: what it counts, and when the model was at it by `time.perf_counter`."""

    count: Counter[str] = field(default_factory=Counter)
    loops: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class Usage:
    """Running totals since the model was loaded.

    `count` has `frames` (that were encoded), `prompt_tokens`, `shared_tokens` (of the prompts, taken
    over from a neighbour), `new_tokens`, `forced_tokens` (of the new ones, that the model did not choose) and
    `steps` (of all rows together). `seconds` has one entry a phase: `look`, `vision`, `prefill`,
    `generate`, and `grammar`, nearly all of which is also a part of `generate`.
    """

    device: torch.device
    count: Counter[str] = field(default_factory=Counter)
    _seconds: dict[str, float] = field(default_factory=dict)
    _under_way: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=deque)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase; waits for what a GPU is still doing."""
        if self._under_way:
            self._under_way[-1][2].synchronize()
            self._settle()
        return self._seconds

    @property
    def spent(self) -> Counter[str]:
        """All counts, and the microseconds in which the device was at it: `busy_us`. Waits as `seconds`."""
        phases = ((phase, seconds) for phase, seconds in self.seconds.items() if phase != "grammar")
        return self.count + Counter(busy_us=round(1e6 * sum(seconds for _, seconds in phases)))

    @contextmanager
    def timing(self, phase: str, *, whole: bool = True) -> Iterator[None]:
        """Count the block's time under `phase`; `whole`: on a GPU, from its first work to its last.

        The CPU waits for neither: it goes on while the GPU is at it.
        """
        if not whole or self.device.type != "cuda":
            began = time.perf_counter()
            try:
                yield
            finally:
                self._add(phase, time.perf_counter() - began)
            return
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        try:
            yield
        finally:
            last.record()
            self._under_way.append((phase, first, last))
            self._settle()

    def _settle(self) -> None:
        """Count what a GPU has finished."""
        while self._under_way and self._under_way[0][2].query():
            phase, first, last = self._under_way.popleft()
            self._add(phase, first.elapsed_time(last) / 1000)

    def _add(self, phase: str, seconds: float) -> None:
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
