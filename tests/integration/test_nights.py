"""Nights that nobody starts or watches: schedule, workers and automations by their own clocks.

Two servers live through their nights side by side, one on SQLite and one on PostgreSQL. Most of the five
minutes that this takes is waiting.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml

from deployments.automations import SILENCE_S
from tests.cluster import end
from tests.integration.conftest import free_ports
from tests.integration.postgres import running_postgres
from tests.integration.prefect_ui import PrefectServer, prefect_server, running
from tests.integration.webhook import Webhook, running_webhook
from tests.library import quick_settings
from tests.loopback import loopback
from tests.media import numbered_video
from tests.s3 import Bucket, FaultProxy, Server, aws_environment, holding_back
from tests.waiting import wait_for

pytest_plugins = ["tests.s3"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

DUE_S = 60

START_S = 300
"""Longer than a worker takes to see a run and to start it on a busy machine."""

LATE_S = 60
"""Longer than the server takes to see that a run is late."""

SHORT_SILENCE_S = 90
"""Three heartbeats, in place of `SILENCE_S`."""

LEASE_S = 225
"""A run that holds a limit of its deployment renews its lease after so long, and ends if it cannot."""

Run = dict[str, Any]
T = TypeVar("T")


@dataclass
class Site:
    """A server, the storage of its nights, and a webhook."""

    folder: Path
    port: int
    bucket: Bucket
    store: FaultProxy
    webhook: Webhook
    variables: dict[str, str]
    processes: ExitStack
    server: PrefectServer = field(init=False)

    @property
    def settings(self) -> Path:
        return self.folder / "settings.yaml"

    def start_server(self) -> None:
        self.server = self.processes.enter_context(prefect_server(self.folder, self.port, **self.variables))

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        return self.processes.enter_context(self.server.worker("hookline", name))

    def set_up(self, models: Path, *, silence_s: float = SILENCE_S) -> None:
        """The nightly run, with its schedule still off."""
        self.start_server()
        settings = quick_settings(f"{self.bucket.uri}/in", f"{self.bucket.uri}/out", models)
        self.settings.write_text(
            yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True, exclude={"source", "output"}))
        )
        places = [settings.source, settings.output]
        self.server.deploy(*places, "--settings", str(self.settings), silence_s=silence_s)

    def rank_from_the_command_line(self) -> subprocess.Popen[bytes]:
        """`hookline rank`, recorded by the server."""
        arguments = [f"{self.bucket.uri}/in", f"{self.bucket.uri}/by-hand", "--settings", str(self.settings)]
        command = [sys.executable, "-c", "from hookline.cli import main; main()", "rank", *arguments]
        return self.processes.enter_context(
            running(command, self.server.environment, self.folder / "by-hand.log")
        )

    def change_nightly(self, **values: Any) -> None:
        """As on the page: to deploy would set the silence back, too."""
        self.ask("PATCH", f"deployments/{self.deployment_id('nightly')}", **values)

    def have_it_run_every_minute(self) -> None:
        schedule = {"slug": "nightly", "schedule": {"cron": "* * * * *", "timezone": "UTC"}}
        self.change_nightly(paused=False, schedules=[schedule])

    def ask(self, method: str, path: str, **body: Any) -> Any:
        response = loopback.request(method, f"{self.server.url}/api/{path}", json=body or None)
        response.raise_for_status()
        return response.json() if response.content else None

    def deployment_id(self, name: str) -> str:
        return str(self.server.deployment(name)["id"])

    def start(self, deployment: str, *, state: str = "SCHEDULED") -> Run:
        """A run as the Run button makes it, with the settings of the night."""
        path = f"deployments/{self.deployment_id(deployment)}/create_flow_run"
        parameters = self.server.deployment("nightly")["parameters"]
        return dict(self.ask("POST", path, state={"type": state}, parameters=parameters))

    def run(self, run: Run) -> Run:
        """As it is now."""
        return dict(self.ask("GET", f"flow_runs/{run['id']}"))

    def nights(self, *states: str) -> list[Run]:
        """The runs of the nightly deployment, those in these states if any are named, as they are due."""
        wanted: dict[str, Any] = {"deployments": {"id": {"any_": [self.deployment_id("nightly")]}}}
        if states:
            wanted["flow_runs"] = {"state": {"name": {"any_": list(states)}}}
        return list(self.ask("POST", "flow_runs/filter", sort="EXPECTED_START_TIME_ASC", **wanted))

    def wait_for_night(self, state: str, timeout_s: float) -> Run:
        """The first night in this state."""
        return wait_for(lambda: self.nights(state), timeout_s, or_say=lambda: f"a night is {state}")[0]

    def wait_until(self, run: Run, state: str, timeout_s: float) -> Run:
        def there() -> Run | None:
            now = self.run(run)
            return now if now["state_name"] == state else None

        return wait_for(there, timeout_s, or_say=lambda: f"{run['name']} is {state}")

    def published(self) -> list[str]:
        """The states of all runs that have published a ranking."""
        names = [
            name for name in self.bucket.names("out/runs/") if re.fullmatch(r"out/runs/[^/]+\.json", name)
        ]
        return [json.loads(self.bucket.get(name))["state"] for name in names]


def a_night_is_lost(site: Site, models: Path) -> None:
    """A worker is lost with its night; the next one, due meanwhile, waits until the first is given up."""
    site.set_up(models, silence_s=SHORT_SILENCE_S)
    never_begun = site.start("on-demand", state="PENDING")  # as a worker leaves it that ends in this moment
    killed, lost = site.start("on-demand"), site.start("nightly")
    worker = site.start_worker("first")
    site.wait_until(killed, "Running", START_S)
    process_of(killed, worker).kill()
    site.wait_until(killed, "Crashed", LATE_S)  # its worker says so
    site.wait_until(lost, "Running", START_S)
    site.start_worker("second")
    site.have_it_run_every_minute()
    due = site.wait_for_night("Late", DUE_S + LATE_S)
    site.change_nightly(paused=True)  # each night more would be a run
    assert site.run(lost)["state_name"] == "Running"
    end(worker)
    site.store.closing.set()  # from now on the store gives all it is asked for
    beside = site.rank_from_the_command_line()
    for run in (never_begun, lost):
        now = site.wait_until(run, "Crashed", SHORT_SILENCE_S + LATE_S)
        assert "No sign of life" in now["state"]["message"]
    wait_for(lambda: len(site.webhook.told) == 3, LATE_S, or_say=lambda: "the webhook is told of all three")
    assert {each["state"] for each in site.webhook.told} == {"Crashed"}
    due = site.wait_until(due, "Completed", START_S)
    assert due["auto_scheduled"]
    assert site.published()[0] == "Completed"
    assert beside.wait(START_S) == 0


def process_of(run: Run, worker: subprocess.Popen[bytes]) -> psutil.Process:
    """Where a worker runs a flow."""
    for child in psutil.Process(worker.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            if child.environ().get("PREFECT__FLOW_RUN_ID") == run["id"]:
                return child
    raise AssertionError(f"{run['name']} has no process")


def the_server_is_lost(site: Site, models: Path) -> None:
    """A schedule that is switched off starts nothing; a night outlives its server, and the next one waits."""
    site.set_up(models)
    first = site.start("nightly")
    for name in ("first", "second"):
        site.start_worker(name)
    site.wait_until(first, "Running", START_S)
    renewed = time.monotonic() + LEASE_S + LATE_S / 4
    site.have_it_run_every_minute()
    wait_for(lambda: site.nights("Scheduled"), LATE_S)
    site.server.run("deployments.deploy", "--schedule", "off")
    # One that was due meanwhile stays, and is late; an hour of others was to come.
    wait_for(lambda: not site.nights("Scheduled"), DUE_S + LATE_S, or_say=site.nights)
    left, off_until = site.nights(), time.monotonic() + DUE_S + LATE_S / 2
    end(site.server.process)
    site.start_server()
    time.sleep(max(0, off_until - time.monotonic()))
    assert len(site.nights()) == len(left)

    site.change_nightly(paused=False)
    second = site.wait_for_night("Late", DUE_S + LATE_S)
    site.change_nightly(paused=True)  # as above
    time.sleep(max(0, renewed - time.monotonic()))
    assert [night["id"] for night in site.nights("Running")] == [first["id"]]
    site.store.closing.set()
    first = site.wait_until(first, "Completed", START_S)
    second = site.wait_until(second, "Completed", START_S)
    assert second["auto_scheduled"]
    assert second["start_time"] > first["end_time"]
    assert site.published()[:2] == ["Completed"] * 2


STORIES = {"sqlite": a_night_is_lost, "postgres": the_server_is_lost}


@dataclass(frozen=True)
class Lived:
    """A story that is under way, and the log of its server."""

    story: Future[None]
    log: Path


@pytest.fixture(scope="module")
def lived(
    tmp_path_factory: pytest.TempPathFactory, moto_server: Server, demo_models: Path
) -> Iterator[dict[str, Lived]]:
    """Both stories, begun at once."""
    video = numbered_video(tmp_path_factory.mktemp("video") / "night.mp4", seconds=20).read_bytes()
    with ThreadPoolExecutor(len(STORIES)) as both, running_postgres() as postgres:
        begun = {}
        for name, story in STORIES.items():
            folder = tmp_path_factory.mktemp(name)
            variables = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url} if name == "postgres" else {}
            bucket = moto_server.new_bucket()
            bucket.put("in/night.mp4", video)
            future = both.submit(live_through, story, demo_models, folder, moto_server, bucket, variables)
            begun[name] = Lived(future, folder / "server.log")
        yield begun


def live_through(
    story: Callable[[Site, Path], None],
    models: Path,
    folder: Path,
    storage: Server,
    bucket: Bucket,
    variables: dict[str, str],
) -> None:
    with ExitStack() as processes, running_webhook() as webhook:
        store = processes.enter_context(holding_back(storage, "/in/night.mp4"))
        reached = {
            **aws_environment(replace(storage, endpoint=store.endpoint)),
            "HOOKLINE_ALERT_WEBHOOK": webhook.url,
            # What is done once an hour: old events are removed.
            "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "20",
        }
        story(Site(folder, free_ports(1), bucket, store, webhook, reached | variables, processes), models)


def test_a_lost_night_is_given_up_and_told_of_and_the_next_one_starts(lived: dict[str, Lived]) -> None:
    lived["sqlite"].story.result()


def test_a_night_outlives_its_server_and_the_next_one_waits_for_it(lived: dict[str, Lived]) -> None:
    lived["postgres"].story.result()


@pytest.mark.parametrize("database", STORIES)
def test_the_server_logged_no_error(lived: dict[str, Lived], database: str) -> None:
    """Neither of its schedules, runs, heartbeats and automations nor of its own housekeeping."""
    lived[database].story.result()
    log = lived[database].log.read_text()
    assert not re.findall(r"^.*(?:ERROR|CRITICAL|Traceback|is locked).*$", log, flags=re.MULTILINE)
