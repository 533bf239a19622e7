"""The page in a real browser: a video is named, its job watched, canceled, and its ranking shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from hookline.api.jobs.own_jobs import OwnJobs
from hookline.api.service.cards import read_cards
from hookline.api.service.service import Service
from tests.api.conftest import at_work, finished
from tests.browser import look, nameless
from tests.waiting import wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

integration = pytest.mark.integration
canceling = pytest.mark.logs_error  # Prefect says that the flow was interrupted

Open = Callable[..., "Chrome"]


@pytest.fixture
def show(browser: Chrome, client: httpx.Client) -> Open:
    """Opens the page, at a width in CSS pixels."""

    def shown(part: str = "", *, width: int = 1400, **media: str) -> Chrome:
        browser.get("about:blank")
        look(browser, width=width, **media)
        browser.get(f"{client.base_url}{part}")
        return browser

    return shown


def text(page: Chrome, name: str) -> str:
    return str(page.find_element("id", name).text)


def focused(page: Chrome) -> str:
    return str(page.switch_to.active_element.get_attribute("id"))


def cards(page: Chrome) -> int:
    return len(page.find_elements("css selector", "#result > .cards > .card"))


def ask(page: Chrome, video: Path | str, **fields: object) -> None:
    """Fill the form in, and send it by keyboard."""
    for name, value in fields.items():
        page.find_element("id", name).send_keys(str(value))
    page.find_element("id", "video_path").send_keys(f"{video}\n")


@integration
def test_a_video_is_named_watched_and_shown(show: Open, client: httpx.Client, videos: Path) -> None:
    page = show()
    page.execute_script(
        "window.heard = [];"
        "new MutationObserver(() => heard.push(said.textContent)).observe(said, {childList: true});"
    )
    ask(page, videos / "first.mp4", top_n=4, window_seconds=4)
    wait_for(lambda: cards(page))
    assert focused(page) == "job-title"
    assert text(page, "job-title") == "first.mp4"
    assert text(page, "state-text").startswith("Ranked in ")
    assert cards(page) >= 1
    widths = page.execute_async_script(
        "const sheets = [...document.querySelectorAll('.sheet')];"
        "Promise.all(sheets.map((each) => each.decode().then(() => each.naturalWidth))).then(arguments[0]);"
    )
    assert len(widths) == len(page.find_elements("css selector", ".card"))
    assert all(width > 100 for width in widths)
    heard = page.execute_script("return heard")
    assert any("Analysing segments" in said or "Scoring windows" in said for said in heard)
    assert heard[-1].startswith("Done: ")
    assert page.find_element("css selector", "#jobs a[aria-current]").text == "first.mp4"
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked = [url for url in urls if not url.startswith(("data:", "about:"))]
    assert asked
    assert all(url.startswith(str(client.base_url)) for url in asked)
    assert page.get_log("browser") == []


@integration
@canceling
def test_a_job_is_canceled_by_keyboard_and_the_focus_is_kept(show: Open, videos: Path) -> None:
    page = show()
    ask(page, videos / "long.mp4", top_n=95, window_seconds=6)
    wait_for(lambda: page.find_element("id", "cancel").is_displayed())
    listed = "#jobs [aria-current] + .quiet"
    told = f"return document.querySelector('{listed}')?.textContent ?? ''"
    wait_for(lambda: page.execute_script(told).startswith("running, "))
    page.find_element("id", "cancel").send_keys("\n")
    wait_for(lambda: text(page, "state-text").startswith("Canceled"))
    assert focused(page) == "job-title"
    assert not page.find_element("id", "progress").is_displayed()


@integration
@canceling
def test_the_queue_is_told_and_a_broken_connection_is_mended(
    show: Open, client: httpx.Client, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_work(client, videos / "long.mp4"):
        job = client.post("/jobs", json={"video_path": str(videos / "first.mp4"), "top_n": 41}).json()
        page = show(f"#job={job['id']}")
        wait_for(lambda: text(page, "state-text") == "Next in the queue.")
        with monkeypatch.context() as broken:
            broken.setattr(OwnJobs, "is_draining", property(lambda _: True))  # each stream ends at once
            wait_for(lambda: "connection is gone" in text(page, "state-text"))
    wait_for(lambda: cards(page))
    assert text(page, "state-text").startswith("Ranked in ")


@integration
def test_what_is_wrong_is_said_where_it_is(show: Open, client: httpx.Client, videos: Path) -> None:
    page = show()
    ask(page, "/etc/passwd")
    wait_for(lambda: text(page, "problem"))
    assert text(page, "problem") == "'/etc/passwd' is not under a source of this service."
    assert focused(page) == "problem"
    page.find_element("id", "video_path").clear()
    ask(page, videos / "first.mp4", top_n=5000)
    wait_for(lambda: "top_n" in text(page, "problem"))
    assert focused(page) == "top_n"
    assert page.find_element("id", "top_n").get_attribute("aria-invalid") == "true"
    page.find_element("id", "top_n").clear()
    page.find_element("id", "video_path").clear()
    ask(page, videos / "empty.mp4")
    state = page.find_element("id", "state")
    wait_for(lambda: state.get_attribute("data-status") == "failed")
    (job,) = client.get("/jobs", params={"limit": 1}).json()["jobs"]
    assert text(page, "state-text") == job["problem"]["detail"]
    assert not page.find_element("id", "problem").is_displayed()


@integration
def test_a_key_is_asked_for_where_the_service_has_keys(
    show: Open, service: Service, client: httpx.Client, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(client, client.post("/jobs", json={"video_path": str(videos / "first.mp4")}).json())
    assert show().find_elements("id", "key") == []
    monkeypatch.setattr(service.access, "_hashes", {"shop": hashlib.sha256(b"k-1").hexdigest()})
    page = show()
    wait_for(lambda: text(page, "no-jobs") == "Give an API key to see them.")
    ask(page, videos / "first.mp4")
    wait_for(lambda: text(page, "problem"))
    assert focused(page) == "key"
    page.find_element("id", "key").send_keys("k-1\t")
    wait_for(lambda: page.find_elements("css selector", "#jobs a"))
    page = show(f"#job={job['id']}")  # the tab still knows the key
    wait_for(lambda: cards(page))
    page.execute_script("sessionStorage.clear()")


@integration
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light")])
def test_it_fits_phone_and_desktop(
    show: Open, client: httpx.Client, videos: Path, width: int, scheme: str
) -> None:
    job = finished(client, client.post("/jobs", json={"video_path": str(videos / "first.mp4")}).json())
    page = show(f"#job={job['id']}", width=width, prefers_color_scheme=scheme)
    wait_for(lambda: cards(page))
    wait_for(lambda: page.find_elements("css selector", "#jobs a"))
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 300) == (scheme == "dark")
    assert nameless(page) == []


def test_the_page_lets_nothing_in_but_itself(client: httpx.Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_cards_have_the_pictures_of_their_own_job_and_nothing_else(
    client: httpx.Client, service: Service, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = {"video_path": str(videos / "second.mkv"), "top_n": 6}
    job = finished(client, client.post("/jobs", json=ask).json())
    shown = client.get(f"/jobs/{job['id']}/cards")
    assert shown.headers["Content-Security-Policy"].startswith("default-src 'none'; img-src data:")
    assert shown.text.count("data:image/jpeg;base64,") == shown.text.count('class="card"') >= 1
    assert str(videos.parent / "output") not in shown.text
    assert client.get("/jobs/nobody/cards").status_code == 404
    failed = finished(client, client.post("/jobs", json={"video_path": str(videos / "empty.mp4")}).json())
    assert client.get(f"/jobs/{failed['id']}/cards").status_code == 415
    monkeypatch.setattr(service.access, "_hashes", {"shop": "0" * 64})
    assert client.get(f"/jobs/{job['id']}/cards").status_code == 401
    found = service.jobs.get(job["id"])
    assert found
    about = {"video_uri": found.video.label, "video_path": ask["video_path"]}
    monkeypatch.setattr(
        "hookline.api.service.cards.upgraded",
        lambda table, _: table.drop_columns("thumbnail_uri").append_column(
            "thumbnail_uri", [["../videos/first.mp4"] * len(table)]
        ),
    )
    assert "data:" not in read_cards(found.settings.output, found.run_id, **about)
