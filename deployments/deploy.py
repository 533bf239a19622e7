"""Everything Hookline needs on a Prefect server: `make deploy [SOURCE=... OUTPUT=...] [SETTINGS=...]`.

Work pools, the deployments of `prefect.yaml`, and automations. It can be run again at any time, after an
upgrade for instance: what was chosen on the server stays (switches, schedules, parameters).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml
from cyclopts import App
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.table import Table

from deployments.automations import alert, crashed
from hookline.cli import explain
from hookline.server import is_healthy
from tasks.core.errors import HooklineError, SettingsError
from tasks.core.settings import Settings

POOLS = {
    "hookline": "Ranking runs. Start its workers where the GPUs are, or anywhere when Dask reaches them.",
    "hookline-cpu": "Runs without the deep stage: workers need no GPU.",
}

NIGHTLY = "nightly"

WEBHOOK = "HOOKLINE_ALERT_WEBHOOK"
"""Environment variable with the address that is told of failed runs: kept encrypted, on the server only."""

ROOT = Path(__file__).parents[1]

app = App(help="Set up the work pools, deployments and automations of Hookline on a Prefect server.")


@app.default
def deploy(
    source: str = "",
    output: str = "",
    *,
    settings: Path | None = None,
    schedule: Literal["on", "off"] | None = None,
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
        Switches the nightly run on or off; empty = as it was, at first off.
    """
    check_server()
    with get_client(sync_client=True) as client:
        for name, description in POOLS.items():
            make_pool(client, name, description)
        wanted = with_operators_choices(client, yaml.safe_load((ROOT / "prefect.yaml").read_text()))
        (nightly,) = (each for each in wanted["deployments"] if each["name"] == NIGHTLY)
        if schedule:
            nightly["paused"] = schedule == "off"
        if source or output or settings:
            before = nightly.get("parameters", {}).get("settings", {})
            nightly["parameters"] = {"settings": nightly_settings(before, source, output, settings)}
        prefect_deploy(wanted)
        make_automation(client, crashed())
        if address := os.environ.get(WEBHOOK):
            block = asyncio.run(Webhook(url=SecretStr(address)).asave("hookline-alert", overwrite=True))
            make_automation(client, alert(block))
        report(client)


def with_operators_choices(client: SyncPrefectClient, wanted: dict[str, Any]) -> dict[str, Any]:
    """`prefect.yaml`, changed to what was chosen on the server since: switches, schedules, parameters."""
    for each in wanted["deployments"]:
        flow = each["entrypoint"].rpartition(":")[2].replace("_", "-")  # our flows are named for themselves
        try:
            chosen = client.read_deployment_by_name(f"{flow}/{each['name']}")
        except ObjectNotFound:
            continue
        each.pop("schedules", None)  # without any, those of the server stay
        each |= {"paused": chosen.paused, "parameters": chosen.parameters}
    return wanted


def nightly_settings(before: dict[str, Any], source: str, output: str, file: Path | None) -> dict[str, Any]:
    """The settings of the nightly run; what is not named stays as it was.

    Raises:
        SettingsError: they are not valid together.
    """
    places = {name: before[name] for name in ("source", "output") if name in before}
    chosen = places | _read(file) if file else dict(before)
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
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(wanted, file)
        file.flush()
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        command += ["--prefect-file", file.name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HooklineError(f"`prefect deploy --all` failed:\n{done.stdout}{done.stderr}")


def report(client: SyncPrefectClient) -> None:
    """Say what is there now."""
    table = Table("deployment", "work pool", "schedule", box=None)
    ours = (each for each in client.read_deployments() if "hookline" in each.tags)
    for each in sorted(ours, key=lambda each: each.name):
        nights = ", ".join(getattr(one.schedule, "cron", "") for one in each.schedules)
        switch = f"{nights} ({'off' if each.paused else 'on'})" if nights else ""
        table.add_row(each.name, each.work_pool_name, switch)
    console = Console()
    console.print(table)
    automations = ", ".join(
        each.name for each in client.read_automations() if each.name.startswith("hookline")
    )
    console.print(f"automations: {automations}")


def make_pool(client: SyncPrefectClient, name: str, description: str) -> None:
    """Make a work pool; one that is there stays as it is."""
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=name, type="process", description=description, base_job_template=template)
    try:
        client.create_work_pool(pool)
    except ObjectAlreadyExists:
        return


def make_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Make an automation, or bring the one of the same name up to date; one switched off stays off."""
    existing = client.read_automations_by_name(automation.name)
    if existing:
        automation.enabled = existing[0].enabled
        client.update_automation(existing[0].id, automation)
    else:
        client.create_automation(automation)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} must hold settings by their names, as for `hookline rank --settings`")
    return content


def main(arguments: list[str] | None = None) -> None:
    """Entry point: `python -m deployments.deploy`."""
    try:
        app(arguments)
    except HooklineError as error:
        Console(stderr=True).print(f"make deploy: {error}", style="bold red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
