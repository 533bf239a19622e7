"""The manifest of a run: what `runs/<run_id>.json` says of it."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import BaseModel

from tasks.core.listing import Inventory, LeftOut
from tasks.core.throughput import Throughput


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
