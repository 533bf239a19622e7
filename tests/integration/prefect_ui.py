"""A Prefect server with its UI, a worker, and a headless Chromium to look at it: all on 127.0.0.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from deployments.automations import SILENCE_S
from hookline.own_server import is_healthy
from tests import ROOT
from tests.loopback import loopback
from tests.prefect_home import new_home
from tests.waiting import patience, wait_for

START_TIMEOUT_S = 240
PAGE_TIMEOUT_S = 30
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1800"
)
"""Without these, Chromium itself asks for hosts of its maker."""

FIRST_VISIBLE = """
const found = document.evaluate(arguments[0], document, null, XPathResult.ORDERED_NODE_ITERATOR_TYPE);
for (let node = found.iterateNext(); node; node = found.iterateNext())
    if (node.checkVisibility({visibilityProperty: true, opacityProperty: true})) return node;
"""
"""The page's own answer takes a thirtieth of the time of WebDriver's `is_displayed`."""


def settings_of(file: Path) -> dict[str, str]:
    """The variables of an env file."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of the block; what it prints goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(patience(30))
        except subprocess.TimeoutExpired:  # a Prefect worker may lose its event loop while it stops
            process.kill()
            process.wait()


@dataclass(frozen=True)
class PrefectServer:
    """A standing server, started as `deployments/README.md` says, with a home of its own."""

    url: str
    environment: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def deployment(self, name: str) -> dict[str, Any]:
        response = loopback.get(f"{self.url}/api/deployments/name/rank-videos/{name}").raise_for_status()
        return dict(response.json())

    def flow_runs(self) -> list[dict[str, Any]]:
        return list(loopback.post(f"{self.url}/api/flow_runs/filter", json={}).raise_for_status().json())

    def run(self, *arguments: str) -> str:
        """What `python -m ...` prints; it must succeed."""
        return self._printed_by("-m", *arguments)

    def deploy(self, *arguments: str, silence_s: float = SILENCE_S) -> None:
        """As `make deploy`; a run is taken for crashed when nothing was heard of it for so many seconds.

        From the start: where an automation is changed just as Prefect looks at it, its server logs an error.
        """
        script = (
            f"from deployments import automations, deploy; automations.SILENCE_S = {silence_s}; deploy.main()"
        )
        self._printed_by("-c", script, *arguments)
        found = loopback.post(f"{self.url}/api/automations/filter", json={"limit": 50}).raise_for_status()
        (crashed,) = (each for each in found.json() if each["name"] == "hookline: crashed")
        assert crashed["trigger"]["within"] == silence_s

    def _printed_by(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def worker(self, pool: str, name: str = "1") -> Iterator[subprocess.Popen[bytes]]:
        """A worker of a pool."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
        with running(command, self.environment, self.folder / f"worker-{pool}-{name}.log") as process:
            yield process


@contextmanager
def prefect_server(folder: Path, port: int, **variables: str) -> Iterator[PrefectServer]:
    """Start a server, and wait until it answers; it, its runs and workers have these variables, too."""
    own = {
        "PREFECT_HOME": str(new_home(folder / "prefect")),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = inherited | settings_of(ROOT / "deployments" / "server.env") | own | variables
    log = folder / "server.log"
    with running([sys.executable, "-m", "prefect", "server", "start"], environment, log) as process:
        wait_for(lambda: is_healthy(own["PREFECT_API_URL"]), START_TIMEOUT_S, or_say=log.read_text)
        yield PrefectServer(f"http://127.0.0.1:{port}", environment, folder, process)


class Browser:
    """Chromium, and the words on the pages of the Prefect UI."""

    def __init__(self, server: PrefectServer, folder: Path) -> None:
        options = webdriver.ChromeOptions()
        for flag in [*QUIET.split(), f"--user-data-dir={folder / 'chromium'}"]:
            options.add_argument(flag)
        options.binary_location = "/usr/bin/chromium"
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
        self.server = server
        self.folder = folder
        self.pictures = 0
        self.hosts: set[str] = set()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def open(self, path: str) -> None:
        self.driver.get(f"{self.server.url}/{path}")

    def rest(self) -> None:
        """Look at nothing: the page of a run that goes on is drawn all the time, which takes a core."""
        self.driver.get("about:blank")

    def find(self, xpath: str, timeout_s: float = PAGE_TIMEOUT_S) -> WebElement:
        """The first element that can be seen."""
        look = partial(self.driver.execute_script, FIRST_VISIBLE, xpath)
        return wait_for(look, timeout_s, or_say=lambda: f"{xpath} is not on the page:\n{self.text()}")

    def click(self, text: str, tag: str, timeout_s: float = PAGE_TIMEOUT_S) -> None:
        """Press the element that says just this, wherever it is by now: menus unfold."""
        element = self.find(f"//{tag}[normalize-space()='{text}']", timeout_s)
        self.driver.execute_script("arguments[0].click()", element)

    def field(self, label: str) -> WebElement:
        """The input of a form under this label."""
        words = f"normalize-space()='{label}' or normalize-space()='{label} (Optional)'"
        around = "ancestor::div[contains(concat(' ', @class, ' '), ' p-label ')][1]"
        return self.find(f"//span[{words}]/{around}//*[self::textarea or self::input or self::select]")

    def fill(self, label: str, value: object) -> None:
        """As who pastes: the page checks and draws the whole form after each character that is typed."""
        self.field(label).send_keys(Keys.CONTROL, "a")
        self.driver.execute_cdp_cmd("Input.insertText", {"text": str(value)})

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def wait_for(self, what: Callable[[str], bool], timeout_s: float = PAGE_TIMEOUT_S) -> None:
        """Wait until the words on the page satisfy `what`."""
        wait_for(lambda: what(self.text()), timeout_s, or_say=self.text)

    def picture(self, name: str) -> None:
        """Keep what is to be seen, for whoever wants to look."""
        self.pictures += 1
        self.driver.save_screenshot(str(self.folder / f"{self.pictures}-{name}.png"))

    def hosts_asked(self) -> set[str]:
        """Every host a page has sent a request to since the start."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            asked = message["params"].get("request", message["params"])
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                url = urlsplit(asked["url"])
                self.hosts |= {url.netloc} if url.scheme in ("http", "https", "ws", "wss") else set()
        return self.hosts
