"""A run that is one of many in its process is stopped alone, whatever it is doing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tasks.adapters.workers.processes import InProcess
from tasks.core.errors import RunEnded
from tasks.publish import publish
from tasks.run.host import Host
from tasks.run.run import Run, stop
from tasks.score import score_windows
from tests.spec import make_spec

NOTHING = cast(Any, None)

STEPS: dict[str, Callable[[Run], object]] = {
    "score windows": lambda run: score_windows.fn([], NOTHING, run),
    "publish": lambda run: publish.fn(NOTHING, run, "Completed"),
}


class Lent(InProcess):
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("is_early", [True, False], ids=["before it begins", "while it runs"])
def test_a_stopped_run_takes_no_step(step: Callable[[Run], object], is_early: bool, tmp_path: Path) -> None:
    host = Host(InProcess(), library="out")
    run = Run(NOTHING, tmp_path / "run", host.workers, host)
    if is_early:
        host.stop()
    host.has_begun(run.scratch)
    host.stop()
    assert host.is_stopped
    with pytest.raises(RunEnded):
        step(run)


def test_other_runs_of_the_process_go_on(tmp_path: Path) -> None:
    one, other = (Host(InProcess(), library="out") for _ in range(2))
    one.has_begun(tmp_path / "one")
    other.has_begun(tmp_path / "other")
    one.stop()
    Run(NOTHING, tmp_path / "other", other.workers, other).raise_if_stopped()
    assert not other.is_stopped


def test_workers_that_are_lent_stay_when_a_run_ends(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, limits={"scratch_dir": str(tmp_path)})
    for host, closed in ((None, True), (Host(Lent(), library="out"), False)):
        workers = host.workers if host else Lent()
        stop(Run(spec, tmp_path / f"run-{closed}", workers, host))
        assert cast(Lent, workers).closed is closed
