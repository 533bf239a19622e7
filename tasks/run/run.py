"""One run where its flow is: what it is, the scratch folder it works in, and the workers it has."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tasks.adapters.models.checkpoints import Checkpoint, resolve_adapter, resolve_checkpoint
from tasks.adapters.models.gpus import find_gpus
from tasks.adapters.models.head import LATEST, find_head
from tasks.adapters.models.malloc import limit_malloc_arenas
from tasks.adapters.models.videollama3.adapter import check_adapter
from tasks.adapters.models.videollama3.config import check_described, frame_budget
from tasks.adapters.models.whisper.checkpoint import read_tokens
from tasks.adapters.stopping import raise_if_stopped, stop_work, wait_for_work
from tasks.adapters.storage.scratch import leave_run, run_folder
from tasks.adapters.workers.processes import GpuProcesses, InProcess, Workers
from tasks.core.devices import Backend
from tasks.core.errors import ModelError, StorageError
from tasks.core.geometry import FrameBudget
from tasks.core.records import Analysis
from tasks.core.settings import Settings, Speech
from tasks.core.settings.speech import WITHOUT_WHISPER
from tasks.run.active_runs import RUN_ID_TIME, registered
from tasks.run.host import Host, current_host
from tasks.run.labels import LIBRARY, labels
from tasks.run.logs import log_event
from tasks.run.progress import step
from tasks.run.retries import WORK_PAUSES_S, retried
from tasks.run.suspension import result_of
from tasks.work.media import check_installed
from tasks.work.models import find_backend
from tasks.work.opening import RANKED_PER_GPU
from tasks.work.spec import Missing, RunSpec

T = TypeVar("T")

FAST_ONLY_BUDGET = FrameBudget(min_pixels=224 * 224, max_pixels=224 * 400, multiple_of=2)
"""Frame size where only VideoMAE looks: enough for its 224 x 224 crop of a 16:9 picture."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the steps of the flow are handed. `scratch` lies on the machine of the flow.

    `host` is there where the run is one of many in its process, and the workers are lent.
    """

    spec: RunSpec
    scratch: Path
    workers: Workers = field(default_factory=InProcess)
    host: Host | None = None

    def do(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        """What `work(*args, spec)` returns on a worker. Arguments and errors as in `Workers.call`."""
        return self.workers.call(work, *args, self.spec, gpu=gpu, prefer=prefer)

    def raise_if_stopped(self) -> None:
        """Ask whether to go on.

        Raises:
            RunEnded: the run was stopped.
        """
        raise_if_stopped(self.scratch)

    def gpus_here(self) -> int:
        """GPUs that share a machine, and with it the scratch space of their videos."""
        return max(1, self.workers.gpus // self.workers.machines)

    def ranked_at_once(self) -> int:
        """How many opened videos are with the models, on all machines together."""
        return RANKED_PER_GPU * self.workers.gpus


@contextmanager
def start_run(settings: Settings) -> Iterator[Run]:
    """Name a run, find its models, and give it a scratch folder that is gone afterwards.

    Raises:
        ModelError: the fast model is missing. A missing deep model is no error: the run goes on
            without it, and every row says so.
        StorageError: the output cannot be written.
        SettingsError: what makes the clips or timelines that are wanted is not installed here.
    """
    limit_malloc_arenas()
    started_at = datetime.now(UTC)
    run_id = f"{started_at:{RUN_ID_TIME}}-{secrets.token_hex(3)}"
    # What can be wrong for all videos is found out before the first is decoded.
    if settings.engine.runner != "dask":  # its workers have packages of their own
        check_installed(settings.publish)
    host = current_host.get()
    library = host.library if host else labels().get(LIBRARY, "")
    with step(run_id, "start", "finding the models, or downloading them"):
        spec = find_models(settings, run_id=run_id, started_at=started_at, library=library)
    scratch_dir = settings.limits.scratch_dir
    with (
        run_folder(scratch_dir, run_id) as scratch,
        # Written before any work is done: a mistyped bucket must not cost a night.
        registered(spec.output, run_id, scratch_dir=scratch_dir),
    ):
        run = Run(spec, scratch, host.workers if host else find_workers(settings), host)
        try:
            if host:
                host.has_begun(scratch)
            if isinstance(spec.deep, Checkpoint):
                backend = result_of(find_deep_backend.submit(run.workers, settings.engine.device))
                run = replace(run, spec=replace(spec, deep_backend=backend))
            yield run
        finally:
            stop(run)


def find_models(settings: Settings, *, run_id: str, started_at: datetime, library: str = "") -> RunSpec:
    """A run with the models that its settings name; they are downloaded where they are not here yet.

    `library` as in `RunSpec`: where a promoted head lies.

    Raises:
        ModelError, StorageError: the fast model or the head is missing.
    """
    head = find_head(settings.fast.head, library or settings.output)  # before a download
    if settings.fast.head == LATEST and head is None:
        log_event(run_id, "start", "No head has been promoted yet: windows are scored by salience")
    fast = resolve_checkpoint(settings.fast.model, settings.fast.revision)
    if head and head.fitted_on not in ("", fast.revision):
        log_event(
            run_id,
            "start",
            f"The head {head.uri} was fitted on VideoMAE {head.fitted_on}, and this run has {fast.revision}: "
            "unless these are the same weights, its scores mean nothing",
            level=logging.WARNING,
        )
    deep, budget = find_deep(settings)
    whisper = find_whisper(settings.speech)
    return RunSpec(run_id, started_at, settings, fast, deep, head, budget, library=library, whisper=whisper)


@retried("find device", pauses_s=WORK_PAUSES_S)
def find_deep_backend(workers: Workers, device: str) -> Backend:
    """What the deep model computes on: part of what tells answers apart. All workers should have the same.

    Raises:
        ModelError: there is a GPU that cannot be used.
        WorkerLost: the worker that was asked died, on every try.
    """
    return workers.call(find_backend, device)


def stop(run: Run) -> None:
    """Stop what is still at work for a run, here and on workers, and wait until it has ended.

    Afterwards nothing of it writes to scratch or output.
    """
    stop_work(run.scratch)
    run.workers.broadcast(leave_run, run.spec.run_id, run.spec.settings.limits.scratch_dir)
    if not run.host:
        run.workers.close()
    wait_for_work(run.scratch)


def find_workers(settings: Settings) -> Workers:
    """The workers that `engine` asks for.

    Raises:
        HooklineError: the Dask cluster does not answer, or has no GPU; or `engine.device` is cuda and this
            machine has too few.
    """
    engine, deadline_s = settings.engine, settings.limits.deadline_seconds
    if engine.runner == "dask":
        from tasks.adapters.workers.dask import DaskWorkers  # an extra

        return DaskWorkers(engine.dask_address, deadline_s=deadline_s)
    gpus = find_gpus(engine.gpu_workers, device=engine.device)
    return GpuProcesses(gpus, deadline_s=deadline_s) if gpus else InProcess()


def find_deep(settings: Settings) -> tuple[Checkpoint | Analysis, FrameBudget]:
    """The deep checkpoint, and the frame size at which the longest segment fits what it may see.

    Without such a checkpoint: the analysis that every candidate gets instead of an answer.
    """
    deep, windows = settings.deep, settings.windows
    if not deep.enabled:
        return Analysis.skipped("disabled"), FAST_ONLY_BUDGET
    try:
        checkpoint = resolve_checkpoint(deep.model, deep.revision)
        check_described(checkpoint)
        if deep.adapter:
            adapter = resolve_adapter(deep.adapter)
            check_adapter(adapter, checkpoint)
            checkpoint = replace(checkpoint, adapter=adapter)
        ticks = max(windows.window_seconds) * windows.sample_fps
        return checkpoint, frame_budget(checkpoint, frames_per_segment=min(ticks, deep.max_frames))
    except (ModelError, StorageError) as error:
        return Analysis.failed(error.reason, str(error)), FAST_ONLY_BUDGET


def find_whisper(speech: Speech) -> Checkpoint | Missing | None:
    """The checkpoint that writes down what is said, or why it is missing; None if it is not wanted."""
    if not (speech.enabled and speech.transcribe):
        return None
    try:
        checkpoint = resolve_checkpoint(speech.model, speech.revision)
        read_tokens(checkpoint).check_knows(speech.language, model=speech.model)
        return checkpoint
    except (ModelError, StorageError) as error:
        return Missing(error.reason, f"{error} {WITHOUT_WHISPER}")
