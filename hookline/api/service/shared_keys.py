"""Idempotency keys of callers whom several services serve: variables on their Prefect server."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hookline.api.access.keys import KEPT_S, KeyReused, digests
from hookline.api.jobs.prefect_runs import PrefectRuns, Refused
from tasks.core.errors import HooklineError

FORGOTTEN_DAYS = range(2, 9)
"""How many days ago keys were made that are removed; a service that was away for longer leaves some."""

log = logging.getLogger("hookline.jobs")


class SharedKeys:
    """The keys of all callers. The server makes no two variables of one name: that decides who is first."""

    def __init__(self, runs: PrefectRuns, *, kept_s: float = KEPT_S) -> None:
        self._runs, self._kept_s = runs, kept_s
        self._cleared_on = ""

    def claim(self, key: str, *, caller: str, body: bytes) -> tuple[str, str | None]:
        digest, request = digests(key, caller=caller, body=body)
        name, today = f"hookline_key_{digest}", _day(0)
        self._clear(today)
        value = {"body": request, "made_at": time.time(), "run_key": f"{name}:{uuid4().hex}", "job": None}
        while not self._is_made({"name": name, "value": value, "tags": [_tag(today)]}):
            known = self._read(name)
            if known is None:  # it has just been removed
                continue
            if known["made_at"] >= time.time() - self._kept_s:
                if known["body"] != request:
                    raise KeyReused
                return known["run_key"], known["job"]
            self._remove(name)
        return str(value["run_key"]), None

    def keep(self, run_key: str, job: str) -> None:
        name = run_key.partition(":")[0]
        if (known := self._read(name)) and known["run_key"] == run_key:
            self._runs.call("PATCH", f"/variables/name/{name}", json={"value": {**known, "job": job}})

    def close(self) -> None:
        """Nothing is open."""

    def _is_made(self, variable: dict[str, Any]) -> bool:
        try:
            self._runs.call("POST", "/variables/", json=variable)
        except Refused as error:
            if error.status != 409:
                raise
            return False
        return True

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            value: dict[str, Any] = self._runs.call("GET", f"/variables/name/{name}").json()["value"]
        except Refused as error:
            if error.status != 404:
                raise
            return None
        return value

    def _remove(self, name: str) -> None:
        try:
            self._runs.call("DELETE", f"/variables/name/{name}")
        except Refused as error:
            if error.status != 404:
                raise

    def _clear(self, today: str) -> None:
        """Once a day, remove what is too old, while the callers go on."""
        if self._cleared_on != today:
            self._cleared_on = today
            threading.Thread(target=self._remove_old, name="old-keys", daemon=True).start()

    def _remove_old(self) -> None:
        try:
            for ago in FORGOTTEN_DAYS:
                those = {"variables": {"tags": {"all_": [_tag(_day(ago))]}}, "limit": 200}
                while found := self._runs.call("POST", "/variables/filter", json=those).json():
                    for variable in found:
                        self._remove(variable["name"])
        except HooklineError as error:  # tomorrow is another day
            log.warning("old idempotency keys were not removed: %s", error)


def _day(ago: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}"


def _tag(day: str) -> str:
    return f"hookline-key-{day}"
