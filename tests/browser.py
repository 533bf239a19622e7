"""A real browser, one for all tests of a process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """Chromium, with its console and its requests in the log."""
    from selenium import webdriver

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("needs a browser: apt-get install --no-install-recommends chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def look(browser: Chrome, *, width: int, **media: str) -> None:
    """Look at what comes at a width in CSS pixels, with these media features; forget what was logged."""
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for kind in ("browser", "performance"):
        browser.get_log(kind)


def nameless(page: Chrome) -> list[dict[str, object]]:
    """What can be used on a page, or is a picture, and has no name for screen readers."""
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    used = {"button", "link", "textbox", "searchbox", "spinbutton", "combobox", "checkbox", "image", "img"}
    return [
        node
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in used and not node.get("name", {}).get("value")
    ]
