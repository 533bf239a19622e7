"""What a model's work cost: passes, tokens and seconds, counted where they are spent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


@dataclass(slots=True)
class Usage:
    """Running totals since the model was loaded.

    `count` has `frames` (that were encoded), `prompt_tokens`, `shared_tokens` (of the prompts, taken
    over from a neighbour), `new_tokens`, `forced_tokens` (of the new ones, that could be no others) and
    `steps` (of all rows together). `seconds` has one entry a phase: `look`, `vision`, `prefill`,
    `generate`, and `grammar`, nearly all of which is also a part of `generate`.
    """

    device: torch.device
    count: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, phase: str, *, whole: bool = True) -> Iterator[None]:
        """Count the block's wall time under `phase`; `whole`: and what it left for a GPU to finish."""
        began = time.perf_counter()
        try:
            yield
        finally:
            if whole and self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began
