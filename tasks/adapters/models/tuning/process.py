"""Tuning in processes of its own: their memory is free again afterwards, and a GPU that is lost is theirs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable

from tasks.adapters.models.gpus import find_gpus
from tasks.adapters.models.tuning.lessons import Job
from tasks.adapters.stopping import child_at_work
from tasks.core.errors import ModelError

CHILD = "tasks.adapters.models.tuning.child"

LAUNCHER = (
    *("accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"),
    *("--dynamo_backend", "no", "--main_process_port", "0"),
)
"""Of accelerate: starts a process for each GPU, which share the segments of every step."""


def tune_in_processes(job: Job, say: Callable[[str], None]) -> None:
    """Do a job in one process, or in one for each GPU; `say` gets each line of its progress.

    Raises:
        ModelError: it failed. Epochs that it finished are kept, and the next try goes on there.
    """
    file, errors = job.folder / "job", job.folder / "errors"
    file.write_bytes(pickle.dumps(job))
    gpus = find_gpus(job.gpus, device=job.device)
    several = [*LAUNCHER, "--num_processes", str(len(gpus)), "-m"] if len(gpus) > 1 else []
    environment = dict(os.environ) | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if any(gpus) else {})
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *several, CHILD, str(file)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
    with child_at_work(process, job.folder):
        assert process.stdout is not None
        for line in process.stdout:
            say(line.decode(errors="replace").rstrip())
        code = process.wait()
    if code:
        lines = errors.read_text(errors="replace").strip().splitlines()
        why = lines[-1] if lines else "it was killed, most often for memory"
        raise ModelError(
            f"Tuning ended with code {code}: {why}. Epochs that it finished are kept: run it again to go on."
        )
