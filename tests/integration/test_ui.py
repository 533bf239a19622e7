"""An operator's way through the Prefect UI: a run is started from the form, and its page looked at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import free_ports
from tests.integration.prefect_ui import Browser, PrefectServer, prefect_server
from tests.library import write_good_videos
from tests.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

RUN_TIMEOUT_S = 400
ENDS = ("COMPLETED", "FAILED", "CRASHED")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server set up as `make deploy` does it."""
    with prefect_server(tmp_path_factory.mktemp("ui"), free_ports(1)) as server:
        server.run("deployments.deploy")
        yield server


@pytest.fixture(scope="module")
def browser(server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium; skipped where it is not installed. What it saw is checked when it is closed."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        packages = "chromium chromium-driver"
        pytest.skip(f"needs {', '.join(missing)}: apt-get install --no-install-recommends {packages}")
    with Browser(server, tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def open_form(browser: Browser, deployment: str) -> None:
    browser.open("deployments")
    browser.click(deployment, "a")
    browser.click("Run", "button")
    browser.click("Custom run", "a")


def fill(browser: Browser, values: dict[str, object]) -> None:
    for label, value in values.items():
        browser.fill(label, value)


WRONG = [
    ({"Source": "ftp://host/videos"}, "'ftp://host/videos' does not match"),
    ({"Stride (s)": 0}, "0 is less than the minimum of 1"),
    ({"Pattern": "*.{mp4"}, "'*.{mp4' does not match"),
    ({"Weight of VideoLLaMA3": 1.5}, "1.5 is greater than the maximum of 1"),
]


def test_wrong_values_are_refused_in_the_form(browser: Browser) -> None:
    open_form(browser, "on-demand")
    browser.click("Submit", "button")
    browser.wait_for(lambda text: "'source' is a required property" in text)
    for wrong, message in WRONG:
        browser.driver.refresh()
        fill(browser, {"Source": "/videos", "Output": "/rankings"} | wrong)
        browser.click("Submit", "button")
        browser.wait_for(lambda text, message=message: message in text)
        browser.picture("refused")
    assert browser.server.flow_runs() == []
    assert browser.hosts_asked() == {browser.server.host}


def test_a_run_is_started_from_the_form_and_its_page_shows_the_ranking(
    browser: Browser, demo_models: Path, tmp_path: Path
) -> None:
    write_good_videos(tmp_path / "videos")
    open_form(browser, "on-demand")
    browser.picture("form")
    chosen = {"Source": tmp_path / "videos", "Output": tmp_path / "rankings"}
    models = {
        "VideoMAE checkpoint": demo_models / "videomae",
        "VideoLLaMA3 checkpoint": demo_models / "videollama3",
        "Whisper checkpoint": demo_models / "whisper",
    }
    quick = {"Window lengths (s)": 5, "Stride (s)": 2, "Top N": 2, "Longest answer": 160}
    fill(browser, chosen | models | quick)
    browser.picture("filled")
    browser.click("Submit", "button")
    (run,) = wait_for(browser.server.flow_runs)
    browser.rest()
    with browser.server.worker("hookline"):
        wait_for(lambda: browser.server.flow_runs()[0]["state_type"] in ENDS, RUN_TIMEOUT_S)
    browser.open(f"runs/flow-run/{run['id']}")
    browser.find(f"//*[normalize-space()='rank {tmp_path}/videos']")
    browser.find("//span[normalize-space()='Completed']")
    browser.picture("completed")
    browser.click("Artifacts", "li")
    browser.find("//a[.//div[normalize-space()='ranking']]").click()
    for name in ("first.mp4", "second.mkv", "THIRD.MP4"):
        rows = "//tr[.//*[contains(normalize-space(), '{}')]]"
        assert re.search(r"\d+:\d\d - \d+:\d\d", browser.find(rows.format(name)).text)
    browser.picture("ranking")
    (run,) = browser.server.flow_runs()
    assert run["state_name"] == "Completed"
    (manifest,) = (tmp_path / "rankings" / "runs").glob("*.json")
    assert json.loads(manifest.read_text())["counts"]["ranked"] == 3
    assert browser.hosts_asked() == {browser.server.host}


def test_the_nightly_run_is_given_its_videos_and_switched_on_in_the_browser(browser: Browser) -> None:
    server = browser.server
    server.run("deployments.deploy", "s3://bucket/videos", "s3://bucket/rankings")
    browser.open("deployments")
    browser.find("//*[normalize-space()='At 02:00 AM every day']")
    browser.click("nightly", "a")
    browser.find("//*[normalize-space()='Schedules']/following::*[@role='switch']").click()
    browser.wait_for(lambda _: not server.deployment("nightly")["paused"])
    browser.picture("nightly")
    server.run("deployments.deploy")
    nightly = server.deployment("nightly")
    assert not nightly["paused"]
    assert nightly["parameters"] == {
        "settings": {"source": "s3://bucket/videos", "output": "s3://bucket/rankings"}
    }
    assert browser.hosts_asked() == {server.host}
