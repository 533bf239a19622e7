"""The workers of the service, which keep their models from job to job."""

from __future__ import annotations

import threading
from dataclasses import replace

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.workers.processes import InProcess, Workers
from tasks.core.devices import Backend
from tasks.core.settings import Settings
from tasks.run.host import Host
from tasks.run.run import find_workers
from tasks.work.models import find_backend, loaded_models
from tasks.work.spec import RunSpec


class Machine:
    """The workers, and what is known of them. They are started when they are first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: Workers | None = None
        self._backend: Backend | None = None
        self._starting = threading.Lock()
        self.videomae_loaded = self.videollama3_loaded = self.whisper_loaded = False
        self.gpu_memory: list[tuple[int, int]] = []
        """Bytes of each GPU that are used, and that it has."""

    @property
    def device(self) -> str:
        """What the models compute on; empty while nobody has asked."""
        return self._backend.device if self._backend else ""

    def workers(self) -> Workers:
        """The workers, for the next job."""
        with self._starting:
            if (workers := self._workers) is None:
                workers = self._workers = find_workers(self._settings)
            return workers

    def identified(self, spec: RunSpec) -> RunSpec:
        """The same run, with what its deep model computes on.

        Raises:
            ModelError: there is a GPU that cannot be used.
        """
        if self._backend is None:  # no lock: a worker may be in the middle of a long call
            self._backend = self.workers().call(find_backend, self._settings.engine.device)
        return replace(spec, deep_backend=self._backend) if isinstance(spec.deep, Checkpoint) else spec

    def stop(self, host: Host) -> None:
        """End the work on a job. A process in the middle of a call on its GPU is ended with its models."""
        host.stop()
        if not isinstance(self._workers, InProcess):
            self.close()

    def look(self) -> None:
        """Find out what is loaded; between two jobs, as a worker does one call at a time."""
        found = self.workers().on_all(loaded_models)
        self.videomae_loaded = any(each.videomae for each in found)
        self.videollama3_loaded = any(each.videollama3 for each in found)
        self.whisper_loaded = any(each.whisper for each in found)
        self.gpu_memory = [each.gpu_memory for each in found if each.gpu_memory]

    def close(self) -> None:
        """End the workers; if there is another job, it starts others."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()


class Elsewhere(Machine):
    """The workers of a deployment: this service starts none, and knows nothing of what they compute on."""

    def identified(self, spec: RunSpec) -> RunSpec:
        return spec
