"""The manifest of a run: what `runs/<run_id>.json` says of it."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import BaseModel

from tasks.core.listing import Inventory, LeftOut
from tasks.core.throughput import Throughput


class Estimate(BaseModel, frozen=True):
    """What is expected of a run; what nobody knows is None.

    `seconds` has `whole`, by the clock, between `low` and `high`, and the stages, summed over videos, which
    overlap. It rests on `runs` earlier ones. `gpu_hours` is the time of GPUs by stage, `cost` that of all
    `gpus` for the whole run. `took_by_expected`: afterwards, what the whole run took over what was expected.
    """

    videos: int
    hours_of_video: float | None = None
    seconds: dict[str, float] | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0
    gpus: int = 0
    gpu_hours: dict[str, float] | None = None
    cost: float | None = None
    output_bytes: int | None = None
    scratch_bytes: int | None = None
    took_by_expected: float | None = None

    def compared(self, whole_s: float) -> Estimate:
        """The same beside what it took."""
        expected = (self.seconds or {}).get("whole")
        return self.model_copy(update={"took_by_expected": whole_s / expected if expected else None})


class Manifest(BaseModel, extra="allow"):
    """One run in numbers; docs/data.md explains every key. Keys that other versions write are kept.

    Only what all readers need is required: earlier versions did not write all of the rest.
    """

    run_id: str
    run_date: date
    state: str
    message: str = ""
    source: str = ""
    started_at: str = ""
    ended_at: str = ""
    seconds: dict[str, float] = {}
    estimate: Estimate | None = None
    counts: dict[str, int] = {}
    left_out: LeftOut | None = None
    inventory: Inventory | None = None
    windows_per_second: float | None = None
    segments_per_second: float | None = None
    hours_of_video: float = 0.0
    throughput: Throughput | None = None
    files: list[dict[str, Any]] = []
    report: str | None = None
    models: dict[str, str | None] = {}
    devices: list[dict[str, str | None]] = []
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}
