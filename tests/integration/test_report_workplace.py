"""The report as a workplace, opened from a file: moments are played, scrubbed and judged."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from hookline.cli import run
from tasks.adapters.report.page import render
from tasks.core.amounts import number_of
from tasks.core.tables.rows import failures_table
from tasks.core.tables.schemas import RANKINGS, upgraded
from tasks.core.views.report import Report, ShownRows, build_report
from tests import FIXTURES
from tests.browser import nameless
from tests.media import numbered_video
from tests.report import SOURCE, STAMP, answer, failure, in_moments, made_report, manifest, ranked_video
from tests.waiting import wait_for

pytestmark = pytest.mark.integration

Show = Callable[..., webdriver.Chrome]
WAIT_S = 10
NO_FAILURES = failures_table((), STAMP)


@pytest.fixture(autouse=True)
def no_verdicts(browser: webdriver.Chrome, show: Show) -> Iterator[None]:
    """No test finds the verdicts of another."""
    yield
    show(made_report()).execute_script("localStorage.clear()")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dog.mp4`, 12 s."""
    return numbered_video(tmp_path_factory.mktemp("videos") / "dog.mp4", seconds=12).parent


@pytest.fixture
def page(show: Show, videos: Path) -> webdriver.Chrome:
    """Moments from 0, 2 and 4 s on, each of 5 s, of a video in a bucket that browsers find in `videos`."""
    return show(made_report(ranked_video(answered=answer()), media_base=videos.as_uri()))


def press(page: webdriver.Chrome, *keys: str) -> None:
    for key in keys:
        ActionChains(page).send_keys(key).perform()


def of_player(page: webdriver.Chrome, rank: int, what: str) -> Any:
    return page.execute_script(
        f"return document.querySelectorAll('.card')[{rank - 1}].querySelector('video').{what}"
    )


def here(page: webdriver.Chrome) -> str:
    """The rank of the card that has the focus."""
    return str(page.execute_script("return document.activeElement.querySelector('.rank')?.textContent"))


def test_a_moment_is_played_from_its_start_to_its_end_by_keyboard(page: webdriver.Chrome) -> None:
    press(page, "n", "n", "l")
    wait_for(lambda: of_player(page, 2, "currentTime") > 2, WAIT_S)
    press(page, "l", "l")
    assert of_player(page, 2, "playbackRate") == 4
    wait_for(lambda: of_player(page, 2, "paused"), WAIT_S)
    assert of_player(page, 2, "currentTime") == pytest.approx(7, abs=0.001)
    press(page, "j", "j", "j")
    wait_for(lambda: of_player(page, 2, "currentTime") < 6.5, WAIT_S)
    press(page, "k")
    stopped_at = of_player(page, 2, "currentTime")
    assert of_player(page, 2, "paused")
    assert page.execute_async_script("setTimeout(arguments[0], 250)") is None
    assert of_player(page, 2, "currentTime") == stopped_at


def test_only_one_moment_is_played_at_a_time_and_a_time_starts_its_player(page: webdriver.Chrome) -> None:
    links = page.find_elements(By.CSS_SELECTOR, ".watch")
    links[1].send_keys(Keys.ENTER)  # 2.5 s, within the first
    wait_for(lambda: of_player(page, 1, "currentTime") > 2.5, WAIT_S)
    press(page, "n", "l")
    wait_for(lambda: not of_player(page, 2, "paused") and of_player(page, 2, "readyState") > 1, WAIT_S)
    assert of_player(page, 1, "paused")


def test_what_cannot_be_played_says_so(show: Show) -> None:
    page = show(made_report(ranked_video(answered=answer()), media_base="file:///nowhere"))
    press(page, "n", "l")
    wait_for(lambda: page.find_elements(By.CSS_SELECTOR, ".unplayed"), WAIT_S)
    assert (
        "file:///nowhere/dog.mp4#t=0,5 is not there" in page.find_element(By.CSS_SELECTOR, ".unplayed").text
    )


def test_next_and_previous_go_through_what_is_shown_and_can_be_switched_off(show: Show) -> None:
    page = show(made_report(in_moments(ranked_video(answered=answer())), ranked_video(f"{SOURCE}/b.mp4")))
    press(page, *"nnnn", "p")
    assert here(page) == "#3"
    press(page, *"nn")  # past three moments of one video, the only one of the other, and no further
    assert here(page) == "#1"
    page.find_element(By.ID, "least").send_keys("n")  # typed, not pressed
    assert page.switch_to.active_element.get_attribute("id") == "least"
    page.find_element(By.CSS_SELECTOR, ".keys summary").click()
    page.find_element(By.ID, "keys").click()
    press(page, "n")
    assert page.switch_to.active_element.get_attribute("id") == "keys"


def test_a_sheet_is_scrubbed_by_pointer_and_by_keyboard(page: webdriver.Chrome) -> None:
    press(page, "n")
    sheet = page.find_element(By.CSS_SELECTOR, ".scrub")
    ActionChains(page).move_to_element_with_offset(sheet, sheet.size["width"] // 2 - 4, 0).perform()
    assert page.find_element(By.CSS_SELECTOR, ".preview span").text == "0:04.6"
    ActionChains(page).move_to_element(page.find_element(By.CSS_SELECTOR, ".card .bars")).perform()
    assert page.find_elements(By.CSS_SELECTOR, ".preview") == []
    page.execute_script("arguments[0].focus()", sheet)
    press(page, Keys.HOME, Keys.ARROW_RIGHT)
    assert (sheet.aria_role, sheet.get_attribute("aria-valuetext")) == ("slider", "0:01.3")
    press(page, Keys.ENTER)
    wait_for(lambda: of_player(page, 1, "currentTime") >= 1.25, WAIT_S)


def test_a_moment_is_found_by_what_is_said_even_in_an_alternative(show: Show) -> None:
    video = ranked_video(answered=answer("A dog."))
    page = show(made_report(in_moments(video)))
    said = "Nobody expects it."
    page.execute_script(  # the alternatives' own transcripts, as Whisper would have told them apart
        "const text = document.createElement('p'); text.className = 'said'; text.textContent = arguments[0];"
        "document.querySelector('.alternatives .card').append(text)",
        said,
    )
    Select(page.find_element(By.ID, "where")).select_by_value("said")
    page.find_element(By.ID, "search").send_keys("expects")
    shown = [card for card in page.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()]
    assert [said in card.text for card in shown] == [True, True]  # the moment, and within it the alternative
    assert page.find_element(By.ID, "shown").text == "1 moment of 1 of 1 video"
    page.find_element(By.ID, "search").send_keys(" dog")  # in the reasons alone
    assert page.find_element(By.ID, "shown").text == "0 moments of 0 of 1 video"


NASTY_NAME = 'file:///videos/one, "two"\n\u202e=3+4.mp4'


def published(output: Path) -> Report:
    """The report of what lies under an output, one of whose videos has a nasty name."""
    for path in output.glob("*/run_date=*/*.parquet"):
        table = pq.ParquetFile(path).read()
        at = table.schema.get_field_index("video_uri")
        uris = [NASTY_NAME if uri.endswith("/second.mkv") else uri for uri in table["video_uri"].to_pylist()]
        pq.write_table(table.set_column(at, table.schema.field(at), [uris]), path)
    (ranking,) = output.glob("rankings/run_date=*/*.parquet")
    shown = ShownRows()
    list(shown.passing([upgraded(pq.ParquetFile(ranking).read(), RANKINGS)]))
    return build_report(
        manifest("file:///videos"),
        shown,
        NO_FAILURES,
        curves={},
        library={},
        sheet_of=lambda row: None,
        output=output.as_uri(),
    )


def test_verdicts_survive_a_reload_and_what_is_exported_goes_through_hookline_labels(
    show: Show, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shutil.copytree(FIXTURES / "published-schema-2", tmp_path / "out")
    page = show(published(output))
    press(page, "n", "1", "3", *'Good, "really".', Keys.ENTER, "n", "2", "n", "1", "1")
    page.refresh()
    assert "1 published, 1 rejected. Verdicts stay" in page.find_element(By.ID, "marked").text
    assert page.find_element(By.CSS_SELECTOR, ".marking input").get_attribute("value") == 'Good, "really".'
    pressed = page.find_elements(By.CSS_SELECTOR, "[aria-pressed=true]")
    assert [button.text for button in pressed] == ["Published", "Rejected"]
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.find_element(By.ID, "export").click()
    wait_for(lambda: list(tmp_path.glob("verdicts-*.csv")), WAIT_S)
    (file,) = tmp_path.glob("verdicts-*.csv")
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["verdict"]: row["note"] for row in rows} == {"published": 'Good, "really".', "rejected": ""}
    assert page.find_element(By.ID, "export").text == "Export all 2 again"
    assert run(["labels", str(output), str(file)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "2 labels (1 published, 1 rejected): 2 of ranked segments" in told
    (labels,) = output.glob("labels/*.parquet")
    kept = {row["verdict"]: row for row in pq.ParquetFile(labels).read().to_pylist()}
    assert kept["published"]["match"] == "ranked"
    assert NASTY_NAME in {row["video_uri"] for row in kept.values()}


def test_where_a_browser_keeps_nothing_the_page_says_so_and_does_not_close_in_silence(
    browser: webdriver.Chrome,
) -> None:
    html = render(made_report(ranked_video(answered=answer()), sheets=False))
    browser.get("data:text/html," + quote(html))  # pages without an origin have no localStorage
    assert "This browser keeps no verdicts" in browser.find_element(By.ID, "marked").text
    leave = "const leaving = new Event('beforeunload', { cancelable: true }); return dispatchEvent(leaving)"
    assert browser.execute_script(leave)
    press(browser, "n", "1")
    assert "#1 of dog.mp4: published." in browser.find_element(By.ID, "marked").text
    assert not browser.execute_script(leave)


def test_a_note_is_kept_while_it_is_typed_even_if_another_window_marks_something(
    page: webdriver.Chrome,
) -> None:
    press(page, "n", "3", *"Good")
    elsewhere = """["v", "1", "0", "5"]"""
    page.execute_script(
        "dispatchEvent(new StorageEvent('storage', { key: MARKS + arguments[0], newValue: arguments[1] }))",
        elsewhere,
        '{"verdict": "rejected"}',
    )
    press(page, *" dog")
    assert page.find_element(By.CSS_SELECTOR, ".marking input").get_attribute("value") == "Good dog"
    assert "1 rejected" in page.find_element(By.ID, "marked").text
    page.refresh()  # the field was never left
    assert page.find_element(By.CSS_SELECTOR, ".marking input").get_attribute("value") == "Good dog"


@pytest.mark.parametrize("hide", ["find('least').value = 101; filter()", "find('toggle').click()"])
def test_keys_mark_no_moment_that_is_not_shown(page: webdriver.Chrome, hide: str) -> None:
    press(page, "n")
    page.execute_script(hide)
    press(page, "1")
    assert "No verdicts yet" in page.find_element(By.ID, "marked").text


def test_verdicts_are_a_filter(page: webdriver.Chrome) -> None:
    press(page, *"nn2")
    for choice, count in (("rejected", 1), ("published", 0), ("none", 2), ("any", 3)):
        Select(page.find_element(By.ID, "verdict")).select_by_visible_text(choice)
        assert page.find_element(By.ID, "shown").text.startswith(f"{number_of(count, 'moment')} of")


def test_all_of_it_has_names_for_screen_readers_and_fits_a_phone(show: Show, videos: Path) -> None:
    report = made_report(
        ranked_video(answered=answer()), failures=(failure(),), media_base=videos.as_uri(), fps=25.0
    )
    page = show(report, width=390)
    press(page, "n", "1")
    assert nameless(page) == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
