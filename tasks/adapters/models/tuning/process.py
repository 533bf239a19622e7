"""Tuning in processes of its own: their memory is free again afterwards, and a GPU that is lost is theirs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tasks.adapters.models.gpus import find_gpus
from tasks.adapters.models.tuning.lessons import REASON, Job
from tasks.adapters.stopping import child_at_work, kill_group
from tasks.core.errors import ModelError

CHILD = "tasks.adapters.models.tuning.child"

LAUNCHER = (
    *("accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"),
    *("--dynamo_backend", "no", "--main_process_port", "0", "--multi_gpu", "--gpu_ids", "all"),
)
"""Of accelerate: starts a process for each GPU, which share the segments of every step.

All is said here that a config file on this machine would decide otherwise.
"""


def tune_in_processes(job: Job, say: Callable[[str], None]) -> None:
    """Do a job in one process, or in one for each GPU; `say` gets each line of its progress.

    Raises:
        ModelError: it failed. Epochs that it finished are kept, and the next try goes on there.
    """
    file = job.folder / "job"
    file.write_bytes(pickle.dumps(job))
    (job.folder / REASON).unlink(missing_ok=True)
    gpus = [gpu for gpu in find_gpus(job.gpus, device=job.device) if gpu]
    environment = dict(os.environ) | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})
    with (job.folder / "errors").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments(file, processes=len(gpus))],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
    with process, child_at_work(job.folder, partial(kill_group, process.pid)):
        assert process.stdout is not None
        for line in process.stdout:
            say(line.decode(errors="replace").rstrip())
        code = process.wait()
    if code:
        raise ModelError(
            f"Tuning ended with code {code}: {reason_in(job.folder)}. Epochs that it finished are kept: run "
            "it again to go on."
        )


def arguments(file: Path, *, processes: int) -> list[str]:
    """What Python gets after -m to do the job in this file in so many processes."""
    several = [*LAUNCHER, "--num_processes", str(processes), "-m"] if processes > 1 else []
    return [*several, CHILD, str(file)]


def reason_in(folder: Path) -> str:
    """Why tuning in this folder failed: what its first process to fail said, or the last that was printed."""
    for name in (REASON, "errors"):
        file = folder / name
        lines = file.read_text(errors="replace").splitlines() if file.exists() else []
        if said := [line for line in lines if line.strip("=- ")]:
            return said[-1]
    return "it was killed, most often for memory"
