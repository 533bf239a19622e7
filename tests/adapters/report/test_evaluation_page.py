"""The page of an evaluation shows every number that was measured, and says what is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.adapters.report.evaluation import render_evaluation
from tasks.core.learning.calibration import Bin
from tasks.core.learning.measured import Measured
from tasks.core.learning.metrics import Estimate
from tasks.core.views.evaluation.page import build_evaluation_page
from tasks.core.views.evaluation.plots import HEIGHT, Plot
from tests.adapters.report.test_page import Page

NIGHTS = [f"2026010{day}T000000Z-00000{day}" for day in range(1, 8)]
COUNTS = [Measured(name, "", "all", Estimate(0.0), 0) for name in ("labels", "labels_joined")]
NASTY = "</style><script>alert(1)</script>"


def of_night(run_id: str, recall: float | None, drift: float | None) -> list[Measured]:
    known = Estimate(recall, 0.3, 0.9, 20) if recall else Estimate()
    return [
        Measured(
            "recall_at_own_bar", "fast", run_id, known, 40, True, "" if recall else "unknown: no audits"
        ),
        Measured("recall_at_own_bar", "random", run_id, known, 40, True),
        Measured("spearman_fast_deep", "fast", run_id, Estimate(0.25, 0.1, 0.4, 20), 600),
        Measured(
            "drift_of_level",
            "deep",
            run_id,
            Estimate(drift, videos=20),
            20,
            note="alarm: beyond 3" if drift == 4 else "",
        ),
        Measured("drift_of_agreement", "fast", run_id, Estimate(0.5, videos=20), 20),
    ]


def page_of(
    measured: Sequence[Measured],
    *,
    reliability: Sequence[Bin] = (),
    heads: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
) -> tuple[Page, dict[str, Plot]]:
    built = build_evaluation_page(
        "salience",
        measured,
        reliability=reliability,
        heads=heads,
        notes=notes,
        evaluated_at=datetime(2026, 1, 9, tzinfo=UTC),
    )
    return Page(render_evaluation(built)), {plot.title: plot for plot in built.plots}


def test_each_night_is_a_mark_with_its_interval_and_its_number() -> None:
    whole = of_night("all", 0.61, None)[:2]
    nights = [row for n, run_id in enumerate(NIGHTS) for row in of_night(run_id, 0.5 + n / 20, n - 2.0)]
    page, plots = page_of([*whole, *nights, *COUNTS])
    marks = [mark for mark in plots["Recall of the fast score"].marks if not mark.kind]
    assert [mark.said.partition(":")[0] for mark in marks] == NIGHTS
    assert all(0 <= mark.high < mark.y < mark.low <= HEIGHT for mark in marks if mark.low and mark.high)
    assert [mark.x for mark in marks] == sorted(mark.x for mark in marks)
    assert [mark.y for mark in marks] == sorted((mark.y for mark in marks), reverse=True)
    assert "All nights together: 0.61 (0.30 to 0.90), 20 videos." in page.text
    assert len(page.find("circle")) == sum(len(plot.marks) for plot in plots.values())
    said = " ".join(str(svg["aria-label"]) for svg in page.find("svg"))
    assert f"{NIGHTS[0]}: 0.50 (0.30 to 0.90), 20 videos" in said


def test_a_night_beyond_the_line_is_named() -> None:
    nights = [row for n, run_id in enumerate(NIGHTS) for row in of_night(run_id, 0.5, n - 2.0)]
    page, plots = page_of([*of_night("all", 0.6, None)[:2], *nights, *COUNTS])
    alarms = [level for level, said in plots["Drift"].levels if said == "alarm"]
    beyond = [mark for mark in plots["Drift"].marks if mark.y < min(alarms)]
    assert [mark.said.partition(":")[0] for mark in beyond] == [NIGHTS[-1]]
    assert f"Night {NIGHTS[-1]}: what the judge says is +4.0 standard errors" in page.text
    assert page.text.count("standard errors from the nights before") == 1


def test_chances_and_heads_lie_where_their_numbers_are() -> None:
    bins = [Bin(0.1, 0.2, 20), Bin(0.9, 0.8, 20)]
    heads = [
        {"videos": 400, "r2_by_video": 0.2, "promoted": True},
        {"videos": 100, "r2_by_video": 0.1},
        {"videos": NASTY, "r2_by_video": 1},
        {},
    ]
    page, plots = page_of([*of_night("all", None, None)[:2], *COUNTS], reliability=bins, heads=heads)
    low, high = plots["Chance of being published"].marks
    assert (low.x, low.y) < (high.x, HEIGHT)
    assert low.y > high.y
    fewer, more = plots["Learning curve"].marks
    assert (fewer.x < more.x, fewer.y > more.y, more.kind) == (True, True, "promoted")
    assert "chance 0.10: 0.20 of 20 were published" in " ".join(
        str(svg["aria-label"]) for svg in page.find("svg")
    )


def test_what_is_not_known_is_said_and_nothing_is_drawn() -> None:
    page, plots = page_of([*of_night("all", None, None)[:2], *COUNTS])
    assert not any(plot.marks for plot in plots.values())
    assert page.find("svg") == []
    for said in (
        "Unknown: no audits",
        "it takes 40 labels",
        "There is no head yet",
        "a night after one or more",
    ):
        assert said in page.text


@pytest.mark.parametrize("nasty", [NASTY, "\u202egnp"])
def test_no_text_on_it_is_code_and_no_request_leaves_it(nasty: str) -> None:
    page, _ = page_of([*of_night("all", 0.5, None)[:2], *COUNTS], notes=[nasty])
    assert page.find("script") == []
    assert "\u202e" not in page.text
    (policy,) = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert str(policy["content"]).startswith("default-src 'none'; style-src 'sha256-")
    assert [name for name, attributes in page.elements if {"src", "href"} & attributes.keys()] == []
