"""The report in a real browser: nothing is loaded, nothing of a hostile text runs, and the tools work."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tasks.core.views.report import Report
from tests.browser import nameless
from tests.report import NASTY, SOURCE, answer, failure, in_moments, made_report, ranked_video

pytestmark = pytest.mark.integration

Show = Callable[..., webdriver.Chrome]


def several() -> Report:
    """Three videos: of a dog (the longest, unanswered), a cat and a hare (the best)."""
    return made_report(
        ranked_video(f"{SOURCE}/dog.mp4", windows=40, segments=2),
        ranked_video(f"{SOURCE}/cat.mp4", windows=20, answered=answer("A cat falls.", score=10)),
        ranked_video(f"{SOURCE}/hare.mp4", windows=30, answered=answer("A hare runs.")),
        failures=(failure(),),
    )


def names(page: webdriver.Chrome) -> list[str]:
    found = page.find_elements(By.CSS_SELECTOR, ".video summary .name")
    return [name.text for name in found if name.is_displayed()]


def cards(page: webdriver.Chrome) -> int:
    return len([card for card in page.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()])


def requests(page: webdriver.Chrome) -> list[str]:
    """What was asked for over the network or from a file, pictures within the page left out."""
    events: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"] for entry in page.get_log("performance")
    ]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "about:"))]


def test_nothing_but_the_page_is_loaded_and_the_browser_has_no_complaint(show: Show) -> None:
    page = show(several())
    assert [url.rsplit("/", 1)[-1] for url in requests(page)] == ["index.html"]
    assert page.get_log("browser") == []


@pytest.mark.parametrize("text", NASTY)
def test_no_text_runs(show: Show, text: str) -> None:
    nasty = ranked_video(f"{SOURCE}/{text}.mp4", answered=answer(text))
    page = show(made_report(nasty, failures=(failure(text),)))
    assert [url.rsplit("/", 1)[-1] for url in requests(page)] == ["index.html"]
    assert page.get_log("browser") == []
    assert page.execute_script("return document.querySelectorAll('script, body > svg').length") == 1


def test_even_if_a_script_were_let_in_the_policy_would_stop_it(show: Show) -> None:
    page = show(several())
    page.execute_script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">');"
        "const code = document.createElement('script'); code.textContent = 'window.hit = 2';"
        "document.body.append(code);"
    )
    assert page.execute_script("return window.hit") is None
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_phone_and_desktop_in_both_schemes(show: Show, width: int, scheme: str) -> None:
    page = show(several(), width=width, prefers_color_scheme=scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 300) == (scheme == "dark")
    overflowing = page.execute_script(
        "return [...document.querySelectorAll('.card *, .video summary *, .tools *')]"
        ".filter(e => e.offsetWidth && e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert overflowing == 0
    assert page.find_element(By.CSS_SELECTOR, ".bars b").text == "90"


def test_videos_are_sorted(show: Show) -> None:
    page = show(several())
    by = Select(page.find_element(By.ID, "sort"))
    orders = [("name", "cat dog hare"), ("duration", "dog hare cat"), ("best", "cat dog hare")]
    for choice, expected in orders:
        by.select_by_value(choice)
        assert [name.removesuffix(".mp4") for name in names(page)] == expected.split()


def test_moments_are_filtered(show: Show) -> None:
    page = show(several())
    assert (len(names(page)), cards(page)) == (3, 8)
    page.find_element(By.ID, "search").send_keys("hare runs")
    assert (names(page), cards(page)) == (["hare.mp4"], 3)
    least = page.find_element(By.ID, "least")
    least.clear()
    least.send_keys("80")
    assert cards(page) == 2
    assert page.find_element(By.ID, "shown").text == "2 moments of 1 of 3 videos"


def test_times_are_copied_by_keyboard(show: Show) -> None:
    page = show(several())
    button = page.find_element(By.CSS_SELECTOR, ".copy")
    wanted = button.get_attribute("data-copy")
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    button.send_keys(Keys.ENTER)
    copied = page.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == wanted == "0:00-0:05"


def test_a_link_to_a_moment_opens_its_video(show: Show) -> None:
    many = made_report(*(ranked_video(f"{SOURCE}/{k}.mp4", answered=answer()) for k in range(5)))
    target = many.videos[3].cards[1].anchor
    page = show(many, part=f"#{target}")
    assert page.find_element(By.ID, target).is_displayed()
    assert len(page.find_elements(By.CSS_SELECTOR, "details[open]")) == 1
    assert page.switch_to.active_element.get_attribute("id") == target


def test_alternatives_are_folded_away_counted_with_their_moment_and_opened_by_a_link(show: Show) -> None:
    report = made_report(in_moments(ranked_video(answered=answer())), ranked_video(f"{SOURCE}/b.mp4"))
    alternative = next(video for video in report.videos if len(video.moments) == 1).cards[2].anchor
    page = show(report)
    assert not page.find_element(By.ID, alternative).is_displayed()
    assert page.find_element(By.ID, "shown").text == "4 moments of 2 of 2 videos"
    page = show(report, part=f"#{alternative}")
    assert page.find_element(By.ID, alternative).is_displayed()
    assert page.switch_to.active_element.get_attribute("id") == alternative


def test_everything_that_can_be_used_has_a_name_for_screen_readers(show: Show) -> None:
    page = show(several())
    assert nameless(page) == []


def test_paper_shows_every_card(show: Show) -> None:
    many = made_report(*(ranked_video(f"{SOURCE}/{k}.mp4", answered=answer()) for k in range(5)))
    page = show(many)
    assert cards(page) == 0
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    heights = "[...document.querySelectorAll('.card')].map(card => card.getBoundingClientRect().height)"
    assert min(page.execute_script(f"return {heights}")) > 50
    assert not page.find_element(By.ID, "search").is_displayed()
