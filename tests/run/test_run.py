"""Whoever does the work of a run is handed its spec."""

from __future__ import annotations

from pathlib import Path

from tasks.run.run import Run
from tasks.work.spec import RunSpec
from tests.spec import make_spec


def id_of(number: int, spec: RunSpec) -> str:
    return f"{spec.run_id} {number}"


def test_work_is_handed_the_spec_last(tmp_path: Path) -> None:
    assert Run(make_spec("videos"), tmp_path).do(id_of, 7) == "run 7"
