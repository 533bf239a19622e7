"""Windows of one video, and what the fast model says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.core.devices import Device
from tasks.core.records.videos import Failure, Timeline
from tasks.core.speech.cuts import Cut
from tasks.core.throughput import Span, Work

FastKind = Literal["head", "head_percentile", "salience"]
"""A fitted head, by itself or as a percentile of its video; or how much a window differs from its video."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Ticks `[start, end)` of one timeline."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class WindowFeatures:
    """What the fast model says of a batch of `n` windows.

    `embeddings` is `n x d` float32: the mean of the last layer's tokens.
    `change` is `n` float32: the mean cosine distance between consecutive moments inside the window.
    `seconds` is how long frames and model took, on `device`; `loop` when; `work` what the whole call did.
    """

    embeddings: npt.NDArray[np.float32]
    change: npt.NDArray[np.float32]
    seconds: float = 0.0
    device: Device | None = None
    loop: Span | None = None
    work: Work | None = None


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A window, its fast score (0-100), whether it is a candidate or suppressed by another, and its cut.

    `pack_rank` is its place among the windows that do not repeat each other, None if it is none of them or
    nobody asked. `audit_probability`: of a window that was drawn for the audit, how likely that was.
    `analysed_before`: its answer was known before its video was scored by another head.
    """

    window: Window
    score: int
    is_candidate: bool = False
    suppressed_by: Window | None = None
    cut: Cut | None = None
    pack_rank: int | None = None
    audit_probability: float | None = None
    analysed_before: bool = False


@dataclass(frozen=True, slots=True)
class ScoredVideo:
    """All windows of one video with their fast scores, and the candidates among them.

    `embeddings` is float16, one row a window, in the windows' order, and so is `change`, float32; None where
    nobody knows it. `seconds` is what scoring took, on `devices`, by the `works` of its batches. `failures`
    say why nobody knows what is said, where nobody does; to write it down took `speech_seconds`.
    """

    timeline: Timeline
    windows: tuple[ScoredWindow, ...]
    embeddings: npt.NDArray[np.float16]
    fast_kind: FastKind
    seconds: float = 0.0
    devices: frozenset[Device] = frozenset()
    works: tuple[Work, ...] = ()
    failures: tuple[Failure, ...] = ()
    speech_seconds: float = 0.0
    change: npt.NDArray[np.float32] | None = None

    @property
    def candidates(self) -> list[ScoredWindow]:
        return [scored for scored in self.windows if scored.is_candidate]
