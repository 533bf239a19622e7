"""One run: its name, its settings, the models it uses and the scratch folder it works in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path

from tasks.adapters.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.head import Head, load_head
from tasks.adapters.scratch import run_folder
from tasks.adapters.videollama3 import frame_budget
from tasks.core.answers import prompt_hash
from tasks.core.errors import ModelError
from tasks.core.records import Analysis, FrameBudget
from tasks.core.settings import Deep, Settings
from tasks.core.tables import RunStamp

CODE_VERSION = version("hookline")

FAST_ONLY_BUDGET = FrameBudget(min_pixels=224 * 224, max_pixels=224 * 400, multiple_of=2)
"""Frame size where only VideoMAE looks: enough for its 224 x 224 crop of a 16:9 picture."""


@dataclass(frozen=True, slots=True)
class Run:
    """What every task of a run is handed.

    `deep` is the deep model, or what every candidate gets where there is none. `head` scores the
    fast model's features; None = salience. `budget` is the frame size that the models need.
    `scratch` lies on the machine of the flow.
    """

    run_id: str
    started_at: datetime
    settings: Settings
    scratch: Path
    fast: Checkpoint
    head: Head | None
    deep: Checkpoint | Analysis
    budget: FrameBudget

    @property
    def run_date(self) -> date:
        """The UTC day the run started on: its partition."""
        return self.started_at.date()

    @property
    def stamp(self) -> RunStamp:
        """What every published row says of the run."""
        deep = self.deep if isinstance(self.deep, Checkpoint) else None
        return RunStamp(
            run_id=self.run_id,
            viral_threshold=self.settings.ranking.viral_threshold,
            models={
                "videomae": self.fast.model,
                "videomae_revision": self.fast.revision,
                "head": self.settings.fast.head or None,
                "videollama3": deep.model if deep else None,
                "videollama3_revision": deep.revision if deep else None,
                "prompt_hash": prompt_hash(self.settings.deep.question) if deep else None,
                "settings_hash": self.settings.digest(),
                "code_version": CODE_VERSION,
            },
        )


@contextmanager
def start_run(settings: Settings) -> Iterator[Run]:
    """Name a run, find its models, and give it a scratch folder that is gone afterwards.

    Raises:
        ModelError: the fast model cannot be found. A deep model that cannot is no error: the run
            goes on without it, and every row says so.
    """
    started_at = datetime.now(UTC)
    run_id = f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    fast, deep = resolve_checkpoint(settings.fast.model, settings.fast.revision), find_deep(settings.deep)
    head = load_head(settings.fast.head) if settings.fast.head else None
    with run_folder(settings.limits.scratch_dir, run_id) as scratch:
        yield Run(run_id, started_at, settings, scratch, fast, head, deep, needed_frames(deep, settings))


def find_deep(deep: Deep) -> Checkpoint | Analysis:
    """The deep checkpoint, or what every candidate gets instead of an analysis."""
    if not deep.enabled:
        return Analysis.skipped("disabled")
    try:
        return resolve_checkpoint(deep.model, deep.revision)
    except ModelError as error:
        return Analysis.failed(error.reason, str(error))


def needed_frames(deep: Checkpoint | Analysis, settings: Settings) -> FrameBudget:
    """The size of frames at which the longest segment fits what the deep model may see of it."""
    if isinstance(deep, Analysis):
        return FAST_ONLY_BUDGET
    ticks = max(settings.windows.window_seconds) * settings.windows.sample_fps
    return frame_budget(deep, frames_per_segment=min(ticks, settings.deep.max_frames))
