"""A run without models, for tests that need none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.core.geometry import FrameBudget
from tasks.core.records import Analysis
from tasks.core.settings import Settings
from tasks.work.spec import RunSpec

NO_MODEL = Checkpoint(Path("/nowhere"), "unused", "")
SMALL_FRAMES = FrameBudget(max_pixels=112 * 112, min_pixels=28 * 28, multiple_of=28)


def make_spec(
    source: object, output: object = "unused", *, fast: Checkpoint = NO_MODEL, **groups: Any
) -> RunSpec:
    """`groups` are settings."""
    settings = Settings.model_validate({"source": str(source), "output": str(output), **groups})
    began = datetime(2026, 11, 22, tzinfo=UTC)
    return RunSpec("run", began, settings, fast, Analysis.skipped("disabled"), None, SMALL_FRAMES)
