"""Everything Hookline needs on a Prefect server: `make deploy [SOURCE=... OUTPUT=...] [SETTINGS=...]`.

The work pool, the deployments of `prefect.yaml`, and automations. It can be run again at any time, after an
upgrade for instance: what was chosen on the server stays (switches, schedules, parameters).
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from cyclopts import App
from prefect.blocks.webhook import Webhook
from prefect.cli import app as prefect
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.table import Table

from deployments.automations import alert, crashed
from deployments.schedule import (
    as_written,
    choose,
    hindrances,
    next_runs,
    remove_replaced,
    remove_runs_to_come,
    starts_by_itself,
    times,
    told,
)
from hookline.options import explain
from hookline.own_server import is_healthy
from hookline.settings_file import read_settings
from tasks.core.errors import HooklineError, SettingsError
from tasks.core.settings import Settings

POOL = "hookline"
"""All deployments use it. Its workers belong where the GPUs are, or anywhere when Dask reaches them."""

NIGHTLY = "nightly"

WEBHOOK = "HOOKLINE_ALERT_WEBHOOK"
"""Environment variable with the address that is told of failed runs: kept encrypted, on the server only."""

ROOT = Path(__file__).parents[1]

app = App(help="Set up the work pool, deployments and automations of Hookline on a Prefect server.")


@app.default
def deploy(
    source: str = "",
    output: str = "",
    *,
    settings: Path | None = None,
    schedule: str = "",
) -> None:
    """Set everything up, or bring it up to date.

    Parameters
    ----------
    source
        Where the nightly run finds its videos; empty = as it was.
    output
        Where the nightly run puts its rankings; empty = as it was.
    settings
        A YAML file with all other settings of the nightly run.
    schedule
        Switches the nightly run `on` or `off`, or gives it another time and switches it on: '30 4 * * *'.
        Empty = as it was, at first off, and due at the time of `prefect.yaml`.
    """
    check_server()
    with get_client(sync_client=True) as client:
        make_pool(client)
        make_queue(client)
        wanted = yaml.safe_load((ROOT / "prefect.yaml").read_text())
        (nightly,) = (each for each in wanted["deployments"] if each["name"] == NIGHTLY)
        first = nightly["schedules"]
        keep_operators_choices(client, wanted)
        if source or output or settings:
            before = nightly.get("parameters", {}).get("settings", {})
            nightly["parameters"] = {"settings": nightly_settings(before, source, output, settings)}
        if schedule:
            choose(nightly, schedule, first=first)
        prefect_deploy(wanted)
        remove_replaced(client, ours(client)[NIGHTLY], left=nightly["schedules"] or [])
        make_automation(client, crashed())
        if address := os.environ.get(WEBHOOK, "").strip():  # a secret's file may end with a newline
            block = asyncio.run(Webhook(url=SecretStr(address)).asave("hookline-alert", overwrite=True))
            make_automation(client, alert(block))
        if not starts_by_itself(there := ours(client)[NIGHTLY]):
            remove_runs_to_come(client, there)
        report(client, first)


def keep_operators_choices(client: SyncPrefectClient, wanted: dict[str, Any]) -> None:
    """Change `prefect.yaml` to what was chosen on the server since: switches, schedules, parameters."""
    for each in wanted["deployments"]:
        flow = each["entrypoint"].rpartition(":")[2].replace("_", "-")  # our flows are named for themselves
        try:
            chosen = client.read_deployment_by_name(f"{flow}/{each['name']}")
        except ObjectNotFound:
            continue
        each |= {"paused": chosen.paused, "parameters": chosen.parameters}
        each["schedules"] = [as_written(one) for one in chosen.schedules] or None  # as they are: none


def nightly_settings(before: dict[str, Any], source: str, output: str, file: Path | None) -> dict[str, Any]:
    """The settings of the nightly run; what is not named stays as it was.

    Raises:
        SettingsError: they are not valid together.
    """
    places = {name: before[name] for name in ("source", "output") if name in before}
    chosen = places | read_settings(file) if file else dict(before)
    chosen |= {name: place for name, place in (("source", source), ("output", output)) if place}
    try:
        Settings.model_validate(chosen)
    except ValidationError as error:
        raise SettingsError(f"The nightly run cannot have these settings:\n{explain(error)}") from error
    return chosen


def check_server() -> None:
    """
    Raises:
        HooklineError: no Prefect server answers.
    """
    address = PREFECT_API_URL.value()
    if not address or not is_healthy(address):
        raise HooklineError(
            f"No Prefect server answers at PREFECT_API_URL ({address or 'not set'}): start one, and set "
            "the variable, as in PREFECT_API_URL=http://127.0.0.1:4200/api"
        )


def prefect_deploy(wanted: dict[str, Any]) -> None:
    """Make deployments, or bring them up to date; `wanted` is the content of a `prefect.yaml`.

    Raises:
        HooklineError: with what Prefect said.
    """
    said, before = io.StringIO(), sys.argv
    with (
        tempfile.NamedTemporaryFile("w", suffix=".yaml") as file,
        chdir(ROOT),
        redirect_stdout(said),
        redirect_stderr(said),
    ):
        yaml.safe_dump(wanted, file)
        file.flush()
        sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name]
        try:
            prefect()  # here: a process of its own would import all of it once more
        except SystemExit as ended:
            if ended.code:
                raise HooklineError(f"`prefect deploy --all` failed:\n{said.getvalue()}") from None
        finally:
            sys.argv = before


def ours(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """The deployments of Hookline on the server, by their names."""
    return {each.name: each for each in client.read_deployments() if "hookline" in each.tags}


def report(client: SyncPrefectClient, first: list[dict[str, Any]]) -> None:
    """Say what is there now, and what the server will do by itself.

    `first` are the schedules of `prefect.yaml`: the server's own may differ, and are the ones that count.

    Raises:
        HooklineError: the nightly run is switched on, but the server makes no run of it.
    """
    console = Console()
    table = Table("deployment", "work pool", "schedule", box=None)
    there = ours(client)
    for name, each in sorted(there.items()):
        switch = f"{times(each)} ({'on' if starts_by_itself(each) else 'off'})" if each.schedules else ""
        table.add_row(name, each.work_pool_name, switch)
    console.print(table)
    automations = (each.name for each in client.read_automations() if each.name.startswith("hookline"))
    console.print(f"automations: {', '.join(automations)}")
    nightly, written = there[NIGHTLY], ", ".join(map(told, first))
    if times(nightly) not in ("", written):
        console.print(
            f"{times(nightly)} was chosen on this server; prefect.yaml has {written}", soft_wrap=True
        )
    for line in hindrances(client, nightly):
        console.print(line, style="yellow", soft_wrap=True)
    if starts_by_itself(nightly):
        console.print("The next runs of nightly, as soon as the server has made them:")
        for due in next_runs(client, nightly):
            console.print(f"  {due:%Y-%m-%d %H:%M %Z}")


def make_pool(client: SyncPrefectClient) -> None:
    """Make the work pool; one that is there stays as it is."""
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
    try:
        client.create_work_pool(pool)
    except ObjectAlreadyExists:
        return


def make_queue(client: SyncPrefectClient) -> None:
    """Make the work queue that lets nights run one at a time; one that is there stays as it is."""
    try:
        client.create_work_queue(NIGHTLY, concurrency_limit=1, work_pool_name=POOL)
    except ObjectAlreadyExists:
        return


def make_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Make an automation, or bring the one of the same name up to date; one switched off stays off."""
    existing = client.read_automations_by_name(automation.name)
    if not existing:
        client.create_automation(automation)
        return
    automation.enabled = existing[0].enabled
    # By an update the server forgets what it has seen of the runs that are under way.
    if existing[0].model_dump(exclude={"id"}) != automation.model_dump():
        client.update_automation(existing[0].id, automation)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: `python -m deployments.deploy`."""
    try:
        app(arguments)
    except HooklineError as error:
        Console(stderr=True).print(f"make deploy: {error}", style="bold red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
