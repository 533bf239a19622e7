"""One run: its name, its settings, the models it uses and the scratch folder it works in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path

from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.head import Head, load_head
from tasks.adapters.models.malloc import limit_malloc_arenas
from tasks.adapters.models.videollama3.config import frame_budget
from tasks.adapters.storage import open_store
from tasks.adapters.storage.scratch import run_folder
from tasks.adapters.video.timeline import stop_decoding
from tasks.adapters.workers.processes import GpuProcesses, InProcess, Workers, find_gpus
from tasks.core.errors import ModelError, StorageError
from tasks.core.records import Analysis, FrameBudget
from tasks.core.scoring.analyses import model_identity
from tasks.core.scoring.answers import prompt_hash
from tasks.core.settings import Settings
from tasks.core.tables.digests import Digests
from tasks.core.tables.rows import RunStamp
from tasks.run.active_runs import RUN_ID_TIME, registered

CODE_VERSION = version("hookline")

FAST_ONLY_BUDGET = FrameBudget(min_pixels=224 * 224, max_pixels=224 * 400, multiple_of=2)
"""Frame size where only VideoMAE looks: enough for its 224 x 224 crop of a 16:9 picture."""


@dataclass(frozen=True, slots=True)
class Run:
    """What every task of a run is handed.

    `deep` is the deep model, or what every candidate gets where there is none. `head` scores the
    fast model's features; None = salience. `budget` is the frame size that the models need.
    `scratch` lies on the machine of the flow. `workers` do what the models are needed for.
    """

    run_id: str
    started_at: datetime
    settings: Settings
    scratch: Path
    fast: Checkpoint
    head: Head | None
    deep: Checkpoint | Analysis
    budget: FrameBudget
    workers: Workers = field(default_factory=InProcess)

    @property
    def for_workers(self) -> Run:
        """The run as a worker is handed it: what it is asked to do, it does itself."""
        return replace(self, workers=InProcess())

    @property
    def run_date(self) -> date:
        """The UTC day the run started on: its partition."""
        return self.started_at.date()

    @property
    def digests(self) -> Digests:
        """What decides about a video beside its bytes."""
        return Digests.of(
            self.settings,
            self.budget,
            fast_model=model_identity(self.fast.model, self.fast.revision),
            head=self.head.revision if self.head else None,
            code_version=CODE_VERSION,
        )

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
                "videollama3_quantization": self.settings.deep.quantization if deep else None,
                "prompt_hash": prompt_hash(self.settings.deep.question) if deep else None,
                "settings_hash": self.settings.digest(),
                "code_version": CODE_VERSION,
            },
        )


@contextmanager
def start_run(settings: Settings) -> Iterator[Run]:
    """Name a run, find its models, and give it a scratch folder that is gone afterwards.

    Raises:
        ModelError: the fast model is not there. That the deep one is not is no error: the run goes
            on without it, and every row says so.
        StorageError: the output cannot be written.
    """
    limit_malloc_arenas()
    started_at = datetime.now(UTC)
    run_id = f"{started_at:{RUN_ID_TIME}}-{secrets.token_hex(3)}"
    # What can be wrong for all videos is found out before the first is decoded.
    fast = resolve_checkpoint(settings.fast.model, settings.fast.revision)
    head = load_head(settings.fast.head) if settings.fast.head else None
    deep, budget = find_deep(settings)
    with run_folder(settings.limits.scratch_dir, run_id) as scratch:
        # Written before any work is done: a mistyped bucket must not cost a night.
        output, scratch_dir = open_store(settings.output), settings.limits.scratch_dir
        with registered(output, run_id, scratch_dir=scratch_dir), closing(find_workers(settings)) as workers:
            try:
                yield Run(run_id, started_at, settings, scratch, fast, head, deep, budget, workers)
            finally:
                stop_decoding(scratch)


def find_workers(settings: Settings) -> Workers:
    """The workers that `engine` asks for.

    Raises:
        HooklineError: the Dask cluster does not answer, or has no GPU.
    """
    engine, deadline_s = settings.engine, settings.limits.deadline_seconds
    if engine.runner == "dask":
        from tasks.adapters.workers.dask import DaskWorkers  # an extra

        return DaskWorkers(engine.dask_address, deadline_s=deadline_s)
    gpus = find_gpus(engine.gpu_workers)
    return GpuProcesses(gpus, deadline_s=deadline_s) if gpus else InProcess()


def find_deep(settings: Settings) -> tuple[Checkpoint | Analysis, FrameBudget]:
    """The deep checkpoint and the size of frames at which the longest segment fits what it may see.

    Where there is none: what every candidate gets instead of an analysis.
    """
    deep, windows = settings.deep, settings.windows
    if not deep.enabled:
        return Analysis.skipped("disabled"), FAST_ONLY_BUDGET
    try:
        checkpoint = resolve_checkpoint(deep.model, deep.revision)
        ticks = max(windows.window_seconds) * windows.sample_fps
        return checkpoint, frame_budget(checkpoint, frames_per_segment=min(ticks, deep.max_frames))
    except (ModelError, StorageError) as error:
        return Analysis.failed(error.reason, str(error)), FAST_ONLY_BUDGET
