"""When the nightly run starts: its switches, what keeps its runs from starting, and the next of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun, StateType, WorkPoolStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import ValidationError

from tasks.core.errors import HooklineError, SettingsError

SHOWN = 3
"""So many runs to come are printed. Prefect's scheduler always makes as many ahead."""

SCHEDULER_S = 90
"""Prefect's scheduler looks at a new deployment after 5 s, and at all of them once a minute."""


def choose(nightly: dict[str, Any], choice: str, *, first: list[dict[str, Any]]) -> None:
    """Switch the nightly run on or off, or give it another time; it is changed as `prefect.yaml` writes it.

    `choice` is `on`, `off` or a cron line. `first` are the schedules of a new deployment, for one that has
    none any more.

    Raises:
        SettingsError: `choice` is none of these, or the nightly run has no source and output yet.
    """
    if choice == "off":
        nightly["paused"] = True
        return
    schedules = nightly["schedules"] or first
    if choice != "on":
        schedules = [_at(choice, timezone=schedules[0].get("timezone") or "UTC")]
    settings = nightly.get("parameters", {}).get("settings", {})
    if not (settings.get("source") and settings.get("output")):
        raise SettingsError("The nightly run has no source and output yet: add SOURCE=... OUTPUT=...")
    nightly["schedules"] = [each | {"active": True} for each in schedules]
    nightly["paused"] = False


def _at(cron: str, *, timezone: str) -> dict[str, Any]:
    try:
        CronSchedule(cron=cron)
    except ValidationError as error:
        raise SettingsError(
            f"SCHEDULE is on, off, or a time as cron writes it, such as '30 4 * * *', not {cron!r}"
        ) from error
    return {"slug": "nightly", "cron": cron, "timezone": timezone}


def remove_replaced(
    client: SyncPrefectClient, deployment: DeploymentResponse, left: list[dict[str, Any]]
) -> None:
    """Remove all schedules but those `left`: Prefect itself would keep each with a slug of its own."""
    for each in deployment.schedules:
        if each.slug not in [one["slug"] for one in left]:
            client.delete_deployment_schedule(deployment.id, each.id)


def as_written(schedule: DeploymentSchedule) -> dict[str, Any]:
    """A schedule of the server, as `prefect.yaml` writes it."""
    others = {"slug": schedule.slug, "active": schedule.active, "parameters": schedule.parameters}
    return schedule.schedule.model_dump(mode="json") | others


def told(schedule: dict[str, Any]) -> str:
    """When a schedule is due, as in `0 2 * * * UTC`."""
    when = schedule.get("cron") or schedule.get("rrule") or f"every {schedule.get('interval')} s"
    return f"{when} {schedule.get('timezone') or ''}".rstrip()


def times(deployment: DeploymentResponse) -> str:
    """When the schedules of a deployment are due."""
    return ", ".join(told(as_written(each)) for each in deployment.schedules)


def starts_by_itself(deployment: DeploymentResponse) -> bool:
    """Whether the server is to make runs: the switch of the deployment is on, and one of its schedules'."""
    return not deployment.paused and any(each.active for each in deployment.schedules)


def hindrances(client: SyncPrefectClient, deployment: DeploymentResponse) -> Iterator[str]:
    """What keeps runs of a deployment from being made, or from being started."""
    if deployment.paused:
        yield f"{deployment.name} is switched off: make deploy SCHEDULE=on"
    elif not deployment.schedules:
        yield f"{deployment.name} has no schedule: make deploy SCHEDULE=on"
    elif not starts_by_itself(deployment):
        yield f"The schedule of {deployment.name} is switched off: make deploy SCHEDULE=on"
    pool = client.read_work_pool(str(deployment.work_pool_name))
    if pool.is_paused:
        yield f"The work pool {pool.name} is paused, runs wait: prefect work-pool resume {pool.name}"
    elif pool.status is WorkPoolStatus.NOT_READY:
        yield f"The work pool {pool.name} has no worker, runs wait: prefect worker start --pool {pool.name}"


def next_runs(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[datetime]:
    """When the next runs of a deployment are due, once its scheduler has made them.

    Raises:
        HooklineError: it has made none.
    """
    deadline = time.monotonic() + SCHEDULER_S
    while not (runs := _to_come(client, deployment)):
        if time.monotonic() > deadline:
            raise HooklineError(
                f"{deployment.name} is switched on, but the server made no run of it within {SCHEDULER_S} s. "
                "Either its schedule has no date to come, or the server's scheduler does not work: look for "
                "`schedule_deployments` in the server's log, and for `--no-services` and "
                "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED where it is started."
            )
        time.sleep(1)
    return [run.expected_start_time for run in runs if run.expected_start_time]


def remove_runs_to_come(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """Remove the runs of a schedule that is off. Prefect does, but its scheduler may just be making more."""
    while runs := _to_come(client, deployment):
        for run in runs:
            client.delete_flow_run(run.id)


def _to_come(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            expected_start_time=FlowRunFilterExpectedStartTime(after_=datetime.now(UTC)),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=SHOWN,
    )
    return [run for run in runs if run.auto_scheduled]
