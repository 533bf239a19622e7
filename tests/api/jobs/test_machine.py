"""The workers of a service: nobody waits for what they are doing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hookline.api.jobs import machine as module
from hookline.api.jobs.machine import Machine
from hookline.api.jobs.metrics import Metrics
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.held import Held
from tasks.adapters.models.whisper import model as whisper
from tasks.adapters.models.whisper.model import load_whisper
from tasks.adapters.workers.processes import GpuProcesses
from tasks.core.devices import Backend
from tasks.run.host import Host
from tests.api.jobs.runs import Runs, queue
from tests.spec import make_spec

T = TypeVar("T")


class Busy(GpuProcesses):
    """Its one worker is in the middle of something for as long as nobody closes it, which takes long."""

    def __init__(self) -> None:
        super().__init__([], deadline_s=1)
        self.asked, self.closing, self.is_closed = threading.Event(), threading.Event(), threading.Event()

    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        self.asked.set()
        assert self.closing.wait(60)
        return Backend("cpu", "float32")  # type: ignore[return-value]

    def close(self) -> None:
        self.closing.set()
        assert self.is_closed.wait(60)


def test_a_job_is_stopped_while_a_worker_is_asked_and_the_next_does_not_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, next_ones = Busy(), Busy()
    made = iter([busy, next_ones])
    monkeypatch.setattr(module, "find_workers", lambda _: next(made))
    spec = make_spec(tmp_path, tmp_path)
    machine = Machine(spec.settings)
    host = Host(machine.workers(), library="")
    threads = [
        threading.Thread(target=machine.identified, args=(spec,), daemon=True),
        threading.Thread(target=machine.stop, args=(host,), daemon=True),
    ]
    threads[0].start()
    assert busy.asked.wait(60)
    threads[1].start()
    assert busy.closing.wait(10), "the stop waits for the call that it is to end"
    assert host.is_stopped
    found = ThreadPoolExecutor(1).submit(machine.workers)
    assert found.result(10) is next_ones
    busy.is_closed.set()
    for thread in threads:
        thread.join(60)
    assert machine.workers() is next_ones
    assert machine.device == "cpu"


def test_the_models_in_memory_are_seen(
    demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "_held", Held(whisper._load))
    machine = Machine(make_spec(tmp_path, tmp_path, engine={"device": "cpu"}).settings)
    machine.look()
    assert not machine.whisper_loaded
    load_whisper(resolve_checkpoint(str(demo_models / "whisper")), device="cpu")
    machine.look()
    assert machine.whisper_loaded
    assert 'hookline_model_loaded{model="whisper"} 1.0' in Metrics().page(queue(Runs()), machine).decode()
    machine.close()
