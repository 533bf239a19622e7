"""Flow runs as a Prefect server has them, in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast

from hookline.api.jobs.metrics import Metrics
from hookline.api.jobs.own_jobs import OwnJobs
from tasks.core.errors import HooklineError
from tasks.core.settings import Settings

SETTINGS = Settings(source="/videos/a.mp4", output="/out")

_ids = count()


class Runs:
    """Runs in memory. What is `stalled` waits until it is let go, and then fails."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.there = {run["id"]: run for run in there}
        self.begun = {run["id"]: "r1" for run in there}
        self.stalled: set[str] = set()
        self.waits, self.goes_on = threading.Event(), threading.Event()

    def newest(self, number: int, *, kinds: Collection[str] = ()) -> Iterator[dict[str, Any]]:
        return iter([deepcopy(run) for run in self.there.values() if not kinds or run["state_type"] in kinds])

    def count(self, *, kinds: Collection[str]) -> int:
        return len([*self.newest(0, kinds=kinds)])

    def create(self, parameters: Any, labels: Any, *, key: str) -> dict[str, Any]:
        self._stall("create")
        return self.there.setdefault(key, recorded(key, "SCHEDULED", labels=labels))

    def read(self, run_id: str) -> dict[str, Any]:
        return deepcopy(self.there[run_id])

    find = read

    def began(self, run_id: str) -> str:
        return self.begun[run_id]

    def set_state(self, run_id: str, kind: str, *_: Any, **__: Any) -> bool:
        self._stall("set_state")
        self.there[run_id] |= in_state(kind)
        return True

    def note(self, run_id: str, labels: Mapping[str, str]) -> None:
        self.there[run_id]["labels"] |= labels

    def _stall(self, what: str) -> None:
        if what in self.stalled:
            self.waits.set()
            assert self.goes_on.wait(60)
            raise HooklineError("The Prefect server is away.")


def in_state(kind: str, *, for_s: float = 0) -> dict[str, Any]:
    """A state of its own, that a run has been in for so long."""
    since = datetime.now(UTC) - timedelta(seconds=for_s)
    return {"state_type": kind, "state_id": f"s{next(_ids)}", "state": {"timestamp": since.isoformat()}}


def recorded(run_id: str, kind: str, *, for_s: float = 0, **more: Any) -> dict[str, Any]:
    """A run in a state of this kind."""
    run = {"id": run_id, "labels": {}, "run_count": 0, "created": "2026-11-26T00:00:00Z"}
    times = {"start_time": None, "end_time": None}
    asked = {"parameters": {"settings": SETTINGS.model_dump(mode="json")}}
    return run | times | asked | in_state(kind, for_s=for_s) | more


def queue(runs: Runs) -> OwnJobs:
    """Jobs that nobody works on."""
    return OwnJobs(cast("Any", runs), cast("Any", None), Metrics(), library="", max_queued=9)
