"""Jobs as the Prefect server keeps them: flow runs with a tag, over its REST API.

Prefect's own client sleeps for seconds where the database is busy; here it is asked again at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from prefect.client.schemas.objects import FlowRun

from tasks.core.errors import HooklineError

TAG = "hookline-job"
PAGE = 200
"""The most runs that the server gives at once."""

WITHIN_S, CREATED_WITHIN_S = 90.0, 5.0
"""How long the server is asked again: longer than SQLite may be locked (60 s). Callers wait for new runs."""
PAUSE_S = (0.05, 0.15)


class PrefectRuns:
    """The flow runs of jobs on one Prefect server."""

    def __init__(self, api_url: str, *, flow: str) -> None:
        self._http = httpx.Client(base_url=api_url, timeout=60, trust_env=False)
        self._flow_id = self._call("POST", "/flows/", json={"name": flow}).json()["id"]

    def create(self, parameters: Mapping[str, Any], labels: Mapping[str, str], *, key: str) -> dict[str, Any]:
        """A run that waits; if there is one with this key already, that one."""
        run = {
            "flow_id": self._flow_id,
            "parameters": parameters,
            "labels": labels,
            "tags": [TAG],
            "idempotency_key": key,
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
        }
        created: dict[str, Any] = self._call(
            "POST", "/flow_runs/", within_s=CREATED_WITHIN_S, json=run
        ).json()
        return created

    def claim(self, run_id: str) -> FlowRun | None:
        """The run, from now on this process's to execute; None if it does not wait any more."""
        # Whether it was accepted is lost if the answer is: nobody else claims, so the state tells.
        self.set_state(run_id, "PENDING", "Pending")
        run = self.read(run_id)
        return FlowRun.model_validate(run) if run["state_type"] == "PENDING" else None

    def read(self, run_id: str) -> dict[str, Any]:
        """The run as the server has it."""
        run: dict[str, Any] = self._call("GET", f"/flow_runs/{run_id}").json()
        return run

    def set_state(self, run_id: str, kind: str, name: str, *, message: str = "", force: bool = False) -> bool:
        """Propose a state; whether it was accepted."""
        state = {"type": kind, "name": name, "message": message or None}
        body = {"state": state, "force": force}
        answer = self._call("POST", f"/flow_runs/{run_id}/set_state", json=body).json()
        return bool(answer["status"] == "ACCEPT")

    def note(self, run_id: str, labels: Mapping[str, str]) -> None:
        """Keep something about a run with it."""
        self._call("PATCH", f"/flow_runs/{run_id}/labels", json=labels)

    def newest(self, count: int) -> Iterator[dict[str, Any]]:
        """The jobs' runs, the newest first."""
        for offset in range(0, count, PAGE):
            query = {
                "flow_runs": {"tags": {"all_": [TAG]}},
                "sort": "EXPECTED_START_TIME_DESC",
                "limit": min(PAGE, count - offset),
                "offset": offset,
            }
            page = self._call("POST", "/flow_runs/filter", json=query).json()
            yield from page
            if len(page) < PAGE:
                return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, *, within_s: float = WITHIN_S, **options: Any) -> httpx.Response:
        ends_at = time.monotonic() + within_s
        while True:
            why = f"is too busy for {method} {path}."
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                why = f"does not answer: {error}"
            else:
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    if response.is_error:
                        raise HooklineError(
                            f"The service's Prefect server refused {method} {path} with "
                            f"{response.status_code}: {response.text[:500]}"
                        )
                    return response
            if time.monotonic() >= ends_at:
                raise HooklineError(f"The service's Prefect server {why}")
            time.sleep(random.uniform(*PAUSE_S))
