"""What `make deploy` sets up on a real Prefect server, and what it leaves alone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.deploy import POOLS, main
from tests import ROOT

FOLDER = ROOT / "deployments"

pytestmark = pytest.mark.usefixtures("prefect")

Deploy = Callable[..., str]


def api(path: str, **body: Any) -> Any:
    url = f"{PREFECT_API_URL.value()}/{path}"
    return (httpx.post(url, json=body) if body else httpx.get(url)).raise_for_status().json()


def deployment(name: str) -> dict[str, Any]:
    return dict(api(f"deployments/name/rank-videos/{name}"))


def change(name: str, **values: Any) -> None:
    url = f"{PREFECT_API_URL.value()}/deployments/{deployment(name)['id']}"
    httpx.patch(url, json=values).raise_for_status()


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """What `make deploy` runs: returns what it printed, or raises `Refused` with that."""

    def run(*arguments: str, **variables: str) -> str:
        # For the settings of this process, and for the `prefect` that it starts.
        address = variables.pop("PREFECT_API_URL", str(PREFECT_API_URL.value()))
        for name, value in (variables | {"PREFECT_API_URL": address}).items():
            monkeypatch.setenv(name, value)
        with temporary_settings({PREFECT_API_URL: address}):
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
    printed = deploy("", "")
    assert "hookline: crashed" in printed
    nightly = deployment("nightly")
    assert nightly["paused"]
    assert nightly["parameters"] == {}
    assert nightly["schedules"][0]["schedule"] == {"cron": "0 2 * * *", "timezone": "UTC", "day_or": True}
    assert nightly["global_concurrency_limit"]["limit"] == 1
    deploy("", "", "--schedule", "on")
    assert not deployment("nightly")["paused"]
    deploy("", "", "--schedule", "off")
    assert deployment("nightly")["paused"]
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert deployment("on-demand-cpu")["work_pool_name"] == "hookline-cpu"

    file = tmp_path / "nightly.yaml"
    file.write_text("ranking: {top_n: 7}\n")
    deploy("s3://bucket/in", "s3://bucket/out", "--settings", str(file))
    settings = {"source": "s3://bucket/in", "output": "s3://bucket/out", "ranking": {"top_n": 7}}
    assert deployment("nightly")["parameters"] == {"settings": settings}

    later = {"slug": "nightly", "active": True, "schedule": {"cron": "30 4 * * *", "timezone": "Europe/Rome"}}
    change("nightly", paused=False, schedules=[later])
    change("on-demand", parameters={"settings": {"source": "/videos"}})
    crashed = {each["name"]: each["id"] for each in api("automations/filter", limit=50)}["hookline: crashed"]
    url = f"{PREFECT_API_URL.value()}/automations/{crashed}"
    httpx.patch(url, json={"enabled": False}).raise_for_status()

    deploy("", "s3://bucket/elsewhere")
    nightly = deployment("nightly")
    assert not nightly["paused"]
    assert nightly["parameters"] == {"settings": settings | {"output": "s3://bucket/elsewhere"}}
    assert nightly["schedules"][0]["schedule"]["cron"] == "30 4 * * *"
    assert deployment("on-demand")["parameters"] == {"settings": {"source": "/videos"}}
    automations = [each for each in api("automations/filter", limit=50) if "hookline" in each["name"]]
    assert [(each["name"], each["enabled"]) for each in automations] == [("hookline: crashed", False)]


def test_wrong_settings_of_the_night_change_nothing(deploy: Deploy, tmp_path: Path) -> None:
    deploy("s3://bucket/in", "s3://bucket/out")
    before = deployment("nightly")["parameters"]
    file = tmp_path / "nightly.yaml"
    file.write_text("ranking: {top_m: 7}\n")
    for arguments, words in (
        (("ftp://host/in", ""), "source: 'ftp://host/in' is no place for files"),
        (("", "", "--settings", str(file)), "ranking.top_m"),
        (("", "", "--settings", str(tmp_path / "none.yaml")), "cannot be read"),
    ):
        with pytest.raises(Refused) as refused:
            deploy(*arguments)
        assert words in str(refused.value)
    assert deployment("nightly")["parameters"] == before


def test_without_a_server_there_is_a_hint(deploy: Deploy) -> None:
    with pytest.raises(Refused, match="No Prefect server answers"):
        deploy("", "", PREFECT_API_URL="http://127.0.0.1:9/api")


def test_the_address_of_the_alert_is_kept_encrypted(deploy: Deploy) -> None:
    for _ in range(2):
        deploy("", "", HOOKLINE_ALERT_WEBHOOK="http://127.0.0.1:9/s3cret")
    names = [each["name"] for each in api("automations/filter", limit=50)]
    assert names.count("hookline: alert") == 1
    block = api("block_types/slug/webhook/block_documents/name/hookline-alert")
    assert "s3cret" not in str(block)


def test_the_form_shows_every_setting_with_its_words(deploy: Deploy) -> None:
    deploy("", "")
    schema = deployment("on-demand")["parameter_openapi_schema"]
    assert schema["definitions"]["Settings"]["required"] == ["source", "output"]
    for group in schema["definitions"].values():
        assert group["description"]
        for name, field in group["properties"].items():
            assert "$ref" in field or (field["title"] and field["description"]), name
            assert "anyOf" not in field, f"{name} would be shown as several fields"


def test_every_deployment_names_a_pool_that_is_made() -> None:
    wanted = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert {each["work_pool"]["name"] for each in wanted["deployments"]} == set(POOLS)
