"""Jobs as a Prefect server keeps them: flow runs with a tag, over its REST API.

Prefect's own client sleeps for seconds where the database is busy; here it is asked again at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
from prefect.client.schemas.objects import FlowRun

from tasks.core.errors import HooklineError, SettingsError

TAG = "hookline-job"
PAGE = 200
"""The most runs that the server gives at once."""

WITHIN_S, CREATED_WITHIN_S = 90.0, 5.0
"""How long the server is asked again: longer than SQLite may be locked (60 s). Callers wait for new runs."""
PAUSE_S = (0.05, 0.15)


class Refused(HooklineError):
    """The server does not do this; `status` is what it answers."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class PrefectRuns:
    """The flow runs of jobs on one Prefect server: of a flow, or of a deployment of it, which runs them."""

    def __init__(
        self,
        api_url: str,
        *,
        flow: str,
        deployment: str = "",
        headers: Mapping[str, str] | None = None,
        within_s: float = WITHIN_S,
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._within_s, self._is_lost = within_s, is_lost
        self._http = httpx.Client(base_url=api_url, headers=headers, timeout=60, trust_env=False)
        self._made_at, self._made_with = "/flow_runs/", dict[str, Any]()
        self._among: dict[str, Any]
        """Where runs are looked for: others on the server may have jobs there, too."""
        if deployment:
            deployment_id = self._deployment(flow, deployment)
            self._among = {"deployments": {"id": {"any_": [deployment_id]}}}
            self._made_at = f"/deployments/{deployment_id}/create_flow_run"
            # The schema is that of a form, and knows no fractions; the service has checked the settings.
            self._made_with = {"enforce_parameter_schema": False}
        else:
            flow_id = self.call("POST", "/flows/", json={"name": flow}).json()["id"]
            self._among = {"flows": {"id": {"any_": [flow_id]}}}
            self._made_with = {"flow_id": flow_id, "state": {"type": "SCHEDULED", "name": "Scheduled"}}

    def _deployment(self, flow: str, name: str) -> str:
        try:
            found = self.call("GET", f"/deployments/name/{flow}/{name}").json()
        except HooklineError as error:
            self.close()
            if not (isinstance(error, Refused) and error.status == httpx.codes.NOT_FOUND):
                raise
            raise SettingsError(
                f"serve.deployment: there is no deployment {flow}/{name} at {self._http.base_url}: make it "
                "with `make deploy`, or see `prefect deployment ls`."
            ) from error
        return str(found["id"])

    def create(
        self, parameters: Mapping[str, Any], labels: Mapping[str, str], *, key: str, tags: Sequence[str] = ()
    ) -> dict[str, Any]:
        """A run that waits; if there is one with this key already, that one."""
        run = {
            **self._made_with,
            "parameters": parameters,
            "labels": labels,
            "tags": [TAG, *tags],
            "idempotency_key": key,
        }
        created: dict[str, Any] = self.call("POST", self._made_at, within_s=CREATED_WITHIN_S, json=run).json()
        return created

    def claim(self, run_id: str) -> FlowRun | None:
        """The run, from now on this process's to execute; None if it does not wait any more."""
        # Whether it was accepted is lost if the answer is: nobody else claims, so the state tells.
        self.set_state(run_id, "PENDING", "Pending")
        run = self.read(run_id)
        return FlowRun.model_validate(run) if run["state_type"] == "PENDING" else None

    def read(self, run_id: str) -> dict[str, Any]:
        """The run as the server has it.

        Raises:
            Refused: there is none, with 404.
        """
        run: dict[str, Any] = self.call("GET", f"/flow_runs/{run_id}").json()
        return run

    def began(self, run_id: str) -> str:
        """The id of the last state in which a run was at work, or about to be; empty if it never was."""
        states = self.call("GET", "/flow_run_states/", params={"flow_run_id": run_id}).json()
        begun = (state for state in states if state["type"] in ("PENDING", "RUNNING"))
        return str(max(begun, key=lambda state: state["timestamp"], default={"id": ""})["id"])

    def set_state(self, run_id: str, kind: str, name: str, *, message: str = "", force: bool = False) -> bool:
        """Propose a state; whether it was accepted."""
        state = {"type": kind, "name": name, "message": message or None}
        body = {"state": state, "force": force}
        answer = self.call("POST", f"/flow_runs/{run_id}/set_state", json=body).json()
        return bool(answer["status"] == "ACCEPT")

    def note(self, run_id: str, labels: Mapping[str, str]) -> None:
        """Keep something about a run with it."""
        self.call("PATCH", f"/flow_runs/{run_id}/labels", json=labels)

    def newest(
        self, count: int, *, tags: Sequence[str] = (), kinds: Sequence[str] = ()
    ) -> Iterator[dict[str, Any]]:
        """The jobs' runs, the newest first; those with these tags, in states of these kinds."""
        for offset in range(0, count, PAGE):
            query = {
                **self._those(tags, kinds),
                "sort": "EXPECTED_START_TIME_DESC",
                "limit": min(PAGE, count - offset),
                "offset": offset,
            }
            page = self.call("POST", "/flow_runs/filter", json=query).json()
            yield from page
            if len(page) < PAGE:
                return

    def count(self, *, tags: Sequence[str] = (), kinds: Sequence[str] = ()) -> int:
        """How many runs of jobs have these tags, and states of these kinds."""
        return int(self.call("POST", "/flow_runs/count", json=self._those(tags, kinds)).json())

    def find(self, run_id: str) -> dict[str, Any] | None:
        """The run of a job by its id; None if there is none, or it is of somebody else."""
        query = self._those((), (), id={"any_": [run_id]})
        found: list[dict[str, Any]] = self.call("POST", "/flow_runs/filter", json=query).json()
        return found[0] if found else None

    def _those(self, tags: Sequence[str], kinds: Sequence[str], **more: Any) -> dict[str, Any]:
        state = {"state": {"type": {"any_": [*kinds]}}} if kinds else {}
        return {**self._among, "flow_runs": {"tags": {"all_": [TAG, *tags]}, **state, **more}}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self, method: str, path: str, *, within_s: float | None = None, **options: Any
    ) -> httpx.Response:
        """What the server answers, asked again while it is too busy or away.

        Raises:
            Refused: it does not do this.
            HooklineError: it was too busy or away all the time.
        """
        ends_at = time.monotonic() + min(within_s or self._within_s, self._within_s)
        while True:
            why = f"is too busy for {method} {path}."
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                why = f"does not answer: {error}"
            else:
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    if response.is_error:
                        raise Refused(
                            f"The service's Prefect server refused {method} {path} with "
                            f"{response.status_code}: {response.text[:500]}",
                            status=response.status_code,
                        )
                    return response
            if time.monotonic() >= ends_at or self._is_lost():
                raise HooklineError(f"The service's Prefect server {why}")
            time.sleep(random.uniform(*PAUSE_S))
