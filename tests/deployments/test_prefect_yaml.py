"""What `make deploy` sets up on a real Prefect server, and what it leaves alone."""

from __future__ import annotations

import gc
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.schema_tools.validation import validate

from deployments.deploy import POOL, main, prefect_deploy
from tasks.core.errors import HooklineError
from tests import ROOT
from tests.integration.conftest import free_ports
from tests.integration.prefect_ui import PrefectServer, prefect_server, running
from tests.waiting import wait_for

# `prefect deploy` leaves its connections to the garbage.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

FOLDER = ROOT / "deployments"

RUN_TIMEOUT_S = 300
TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

Deploy = Callable[..., str]


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A standing server, whose scheduler runs: those of other tests have none."""
    with (
        prefect_server(tmp_path_factory.mktemp("server"), free_ports(1)) as started,
        temporary_settings({PREFECT_API_URL: f"{started.url}/api"}),
    ):
        yield started
        gc.collect()


def api(path: str, body: Any = None, method: str = "") -> Any:
    """What the server answers; it is asked again where its database is busy."""
    with get_client(sync_client=True) as client:
        return client.request(method or ("GET" if body is None else "POST"), f"/{path}", json=body)


def deployment(name: str, flow: str = "rank-videos") -> dict[str, Any]:
    return dict(api(f"deployments/name/{flow}/{name}").json())


def change(what: str, **values: Any) -> None:
    """As the page does it."""
    api(what, values, "PATCH")


def change_deployment(name: str, **values: Any) -> None:
    change(f"deployments/{deployment(name)['id']}", **values)


def forget(name: str) -> None:
    """So that it is new at the next `make deploy`."""
    api(f"deployments/{deployment(name)['id']}", method="DELETE")


def scheduled() -> list[str]:
    """When the runs that the server has made are due."""
    runs = api("flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"}).json()
    return [run["expected_start_time"] for run in runs if run["auto_scheduled"]]


@pytest.fixture(scope="module")
def deployed(server: PrefectServer) -> None:
    """Everything is on the server; where it was before, it may have been changed."""
    if httpx.get(f"{server.url}/api/deployments/name/rank-videos/nightly").status_code != httpx.codes.OK:
        server.run("deployments.deploy")


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """What `make deploy` runs: returns what it printed, or raises `Refused` with that."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # Prefect adds to it the folders of what it deploys

    def run(*arguments: str, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            main(list(arguments))
        except SystemExit as ended:
            if ended.code:
                raise Refused(capsys.readouterr().err) from ended
        return capsys.readouterr().out

    return run


class Refused(Exception):
    """What was printed when nothing was set up."""


def test_make_deploy_runs_what_is_tested_here() -> None:
    shown = subprocess.run(
        [
            "make",
            "--dry-run",
            "deploy",
            "SOURCE=s3://b/in",
            "OUTPUT=s3://b/out",
            "SETTINGS=nightly.yaml",
            "SCHEDULE=on",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    command = '-m deployments.deploy "s3://b/in" "s3://b/out" --settings "nightly.yaml" --schedule "on"'
    assert command in shown.stdout


def test_a_server_is_set_up_and_what_is_chosen_on_it_stays(deploy: Deploy, tmp_path: Path) -> None:
    """Nights run one at a time by the limit of their queue; one of the deployment itself, with a lease that
    could end them, goes away.
    """
    printed = deploy("", "")
    assert "hookline: crashed" in printed
    nightly = deployment("nightly")
    assert nightly["paused"]
    assert nightly["parameters"] == {}
    assert nightly["schedules"][0]["schedule"] == {"cron": "0 2 * * *", "timezone": "UTC", "day_or": True}

    file = tmp_path / "nightly.yaml"
    file.write_text("ranking: {top_n: 7}\n")
    change_deployment("nightly", concurrency_limit=1)
    deploy("s3://bucket/in", "s3://bucket/out", "--settings", str(file))
    settings = {"source": "s3://bucket/in", "output": "s3://bucket/out", "ranking": {"top_n": 7}}
    nightly = deployment("nightly")
    assert nightly["parameters"] == {"settings": settings}
    assert nightly["global_concurrency_limit"] is None
    assert (nightly["work_pool_name"], nightly["work_queue_name"]) == ("hookline", "nightly")
    assert api("work_pools/hookline/queues/nightly").json()["concurrency_limit"] == 1

    later = {"slug": "nightly", "active": True, "schedule": {"cron": "30 4 * * *", "timezone": "Europe/Rome"}}
    change_deployment("nightly", paused=False, schedules=[later])
    noon = {"slug": "noon", "schedule": {"cron": "0 12 * * *", "timezone": "UTC"}}
    api(f"deployments/{nightly['id']}/schedules", [noon])
    change_deployment("on-demand", parameters={"settings": {"source": "/videos"}})
    crashed = {each["name"]: each["id"] for each in api("automations/filter", {"limit": 50}).json()}[
        "hookline: crashed"
    ]
    change(f"automations/{crashed}", enabled=False)

    deploy("", "s3://bucket/elsewhere")
    nightly = deployment("nightly")
    assert not nightly["paused"]
    assert nightly["parameters"] == {"settings": settings | {"output": "s3://bucket/elsewhere"}}
    schedule, second = sorted(nightly["schedules"], key=lambda each: str(each["slug"]))
    assert second["slug"] == "noon"
    assert {name: schedule[name] for name in ("slug", "active")} == {"slug": "nightly", "active": True}
    assert schedule["schedule"] == later["schedule"] | {"day_or": True}
    assert deployment("on-demand")["parameters"] == {"settings": {"source": "/videos"}}
    automations = [
        each for each in api("automations/filter", {"limit": 50}).json() if "hookline" in each["name"]
    ]
    assert [(each["name"], each["enabled"]) for each in automations] == [("hookline: crashed", False)]


@pytest.mark.usefixtures("deployed")
def test_wrong_settings_of_the_night_change_nothing(deploy: Deploy, tmp_path: Path) -> None:
    before = deployment("nightly")["parameters"]
    file = tmp_path / "nightly.yaml"
    file.write_text("ranking: {top_m: 7}\n")
    for arguments, words in (
        (("ftp://host/in", ""), "source: 'ftp://host/in' is no place for files"),
        (("", "", "--settings", str(file)), "ranking.top_m"),
        (("", "", "--settings", str(tmp_path / "none.yaml")), "there is no such file"),
    ):
        with pytest.raises(Refused) as refused:
            deploy(*arguments)
        assert words in str(refused.value)
    assert deployment("nightly")["parameters"] == before


def test_what_prefect_says_of_a_deployment_that_cannot_be_made_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = sys.argv, Path.cwd()
    made = {
        "name": "made",
        "entrypoint": "flows/rank_videos.py:rank_videos",
        "work_pool": {"name": "nowhere"},
    }
    with pytest.raises(HooklineError, match=r"(?s)failed:\n.*'nowhere'"):
        prefect_deploy({"deployments": [made]})
    assert (sys.argv, Path.cwd()) == before


def test_without_a_server_there_is_a_hint(deploy: Deploy) -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(Refused, match="No Prefect server answers"),
    ):
        deploy("", "")


def test_the_address_of_the_alert_is_kept_encrypted_and_no_run_that_is_watched_is_forgotten(
    deploy: Deploy,
) -> None:
    def automations() -> list[dict[str, Any]]:
        return list(api("automations/filter", {"sort": "NAME_ASC"}).json())

    deploy("", "", HOOKLINE_ALERT_WEBHOOK="http://127.0.0.1:9/s3cret\n")  # as files of secrets end
    before = automations()
    deploy("", "", HOOKLINE_ALERT_WEBHOOK="http://127.0.0.1:9/s3cret\n")
    assert automations() == before
    assert [each["name"] for each in before] == ["hookline: alert", "hookline: crashed"]
    block = "block_types/slug/webhook/block_documents/name/hookline-alert"
    assert "s3cret" not in api(block).text
    kept = api(f"{block}?include_secrets=true").json()
    assert kept["data"]["url"] == "http://127.0.0.1:9/s3cret"


@pytest.mark.usefixtures("deployed")
def test_the_form_shows_every_setting_with_its_words() -> None:
    schema = deployment("on-demand")["parameter_openapi_schema"]
    assert schema["definitions"]["Settings"]["required"] == ["source", "output"]
    for group in schema["definitions"].values():
        assert group["description"]
        for name, field in group["properties"].items():
            assert "$ref" in field or (field["title"] and field["description"]), name
            assert "anyOf" not in field, f"{name} would be shown as several fields"


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("flow", "name"), [("evaluate-nights", "evaluate"), ("train-scorer", "train"), ("tune-judge", "tune")]
)
def test_what_learns_from_nights_is_off_until_it_has_an_output(flow: str, name: str) -> None:
    """And its form explains every field."""
    made = deployment(name, flow)
    assert (made["paused"], made["parameters"], len(made["schedules"])) == (True, {}, 1)
    schema = made["parameter_openapi_schema"]
    assert schema["required"] == ["output"]
    assert all(field["description"] and "anyOf" not in field for field in schema["properties"].values())
    assert validate({"output": "s3://b/rankings"}, schema) == []
    assert validate({}, schema)
    assert validate({"output": ["not a text"]}, schema)


def test_every_deployment_names_the_pool_that_is_made() -> None:
    wanted = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert {each["work_pool"]["name"] for each in wanted["deployments"]} == {POOL}


@pytest.mark.usefixtures("deployed")
def test_make_deploy_says_when_the_night_begins_and_what_keeps_it_from_it(deploy: Deploy) -> None:
    """What it prints is what the server has done."""
    forget("nightly")
    printed = deploy("/videos", "/rankings", "--schedule", "on")
    assert "0 2 * * * UTC (on)" in printed
    assert re.search(r"upkeep +hookline +0 12 \* \* \* UTC \(off\)", printed)
    assert "work pool hookline has no worker" in printed
    nights = re.findall(r"^  (\S+) 02:00 UTC$", printed, flags=re.MULTILINE)
    assert len(nights) == 3
    assert nights == [due[:10] for due in scheduled()]

    nightly = deployment("nightly")
    (schedule,) = nightly["schedules"]
    change(f"deployments/{nightly['id']}/schedules/{schedule['id']}", active=False)
    change("work_pools/hookline", is_paused=True)
    printed = deploy("", "")
    assert "0 2 * * * UTC (off)" in printed
    assert "The schedule of nightly is switched off" in printed
    assert "work pool hookline is paused" in printed
    assert "next runs" not in printed
    assert scheduled() == []

    change("work_pools/hookline", is_paused=False)
    assert "02:00 UTC\n" in deploy("", "", "--schedule", "on")
    assert deployment("nightly")["schedules"][0]["active"]

    printed = deploy("", "", "--schedule", "off")
    assert "nightly is switched off" in printed
    assert "next runs" not in printed
    assert scheduled() == []


@pytest.mark.usefixtures("deployed")
def test_the_night_gets_another_time(deploy: Deploy) -> None:
    forget("nightly")
    deploy("/videos", "/rankings")
    noon = {"slug": "noon", "schedule": {"cron": "0 12 * * *", "timezone": "UTC"}}
    api(f"deployments/{deployment('nightly')['id']}/schedules", [noon])
    for _ in range(2):
        printed = deploy("", "", "--schedule", "30 4 * * *")
        assert "30 4 * * * UTC (on)" in printed
        assert "30 4 * * * UTC was chosen on this server; prefect.yaml has 0 2 * * * UTC" in printed
        assert {due[11:16] for due in scheduled()} == {"04:30"}
    change_deployment("nightly", paused=True)


def test_a_night_that_never_comes_is_an_error(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.schedule.SCHEDULER_S", 8)
    with pytest.raises(Refused, match="nightly is switched on, but the server made no run of it within 8 s"):
        deploy("/videos", "/rankings", "--schedule", "0 2 31 2 *")
    change_deployment("nightly", paused=True)


@pytest.mark.usefixtures("deployed")
def test_a_schedule_that_makes_no_sense_is_refused(deploy: Deploy) -> None:
    change_deployment("nightly", paused=True, parameters={})  # as it is when it is new
    for arguments, words in (
        (("", "", "--schedule", "on"), "no source and output yet"),
        (("/videos", "/rankings", "--schedule", "at two"), "on, off, or a time as cron writes it"),
    ):
        with pytest.raises(Refused) as refused:
            deploy(*arguments)
        assert words in str(refused.value)
    assert deployment("nightly")["paused"]
    assert deployment("nightly")["parameters"] == {}


def test_a_worker_runs_what_was_deployed_from_another_place(server: PrefectServer, tmp_path: Path) -> None:
    """Relative paths count from the clone of its worker. Settings that no form can check end the run."""
    theirs, ours = (copy_of_the_code(tmp_path / name) for name in ("theirs", "ours"))
    environment = {**server.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    deploy = [sys.executable, "-m", "deployments.deploy"]
    subprocess.run(deploy, cwd=theirs, env=environment | {"PYTHONPATH": str(theirs)}, check=True)
    theirs.rename(tmp_path / "on-another-machine")
    (ours / "videos").mkdir()
    (ours / "videos" / "first.mp4").write_bytes(b"not looked into")
    settings = {"source": "videos", "output": "rankings", "dry_run": True}
    create = f"deployments/{deployment('on-demand')['id']}/create_flow_run"
    run = api(create, {"parameters": {"settings": settings}}).json()
    wrong = api(create, {"parameters": {"settings": settings | {"ranking": {"deep_weight": 0.7}}}}).json()
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
    with running(worker, environment | {"PYTHONPATH": str(ours)}, tmp_path / "worker.log"):
        for each in (run, wrong):
            log = tmp_path / "worker.log"
            wait_for(
                lambda each=each: state_of(each)["type"] in TERMINAL, RUN_TIMEOUT_S, or_say=log.read_text
            )
    done, refused = state_of(run), state_of(wrong)
    assert re.fullmatch(r"Dry run: 1 new; \d+ bytes to open; .*", done["message"])
    assert (refused["type"], "set fast_weight to 0.3" in refused["message"]) == ("FAILED", True)
    logs = api("logs/filter", {"logs": {"flow_run_id": {"any_": [wrong["id"]]}}}).json()
    assert "Traceback" not in str(logs)


def state_of(run: dict[str, Any]) -> dict[str, Any]:
    return dict(api(f"flow_runs/{run['id']}").json()["state"])


def copy_of_the_code(clone: Path) -> Path:
    """With what is compiled of it, less what others are just writing."""
    for name in ("hookline", "flows", "tasks", "deployments"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copy(ROOT / "prefect.yaml", clone)
    return clone
