"""The benchmark of speed, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests import ROOT

PARTS = ("decode", "fast", "whole")


@pytest.fixture(scope="module")
def output(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script writes; it runs in this process, and its run on the server of the tests."""
    from prefect.settings import PREFECT_API_URL

    script = ROOT / "benchmarks" / "speed.py"
    path = tmp_path_factory.mktemp("results") / "quick.json"
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(script.parent)
        patched.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
        patched.setattr("sys.argv", [str(script), *PARTS, "--quick", "--output", str(path)])
        runpy.run_path(str(script), run_name="__main__")
    return path


@pytest.fixture(scope="module")
def report(output: Path) -> dict[str, Any]:
    return dict(json.loads(output.read_text()))


def test_every_part_has_its_baseline_and_its_goals(report: dict[str, Any]) -> None:
    assert list(report["parts"]) == list(PARTS)
    for part in report["parts"].values():
        assert all({"goal", "measured", "wanted", "met"} == goal.keys() for goal in part["goals"])
    for seconds in report["parts"]["decode"]["seconds"].values():
        assert {"ours", "floor", "naive"} == seconds.keys()
    assert report["command"].startswith("python benchmarks/speed.py decode fast whole --quick")
    assert report["machine"]["cpu"]


def test_the_fast_stage_sees_what_one_call_a_window_sees(report: dict[str, Any]) -> None:
    (cosine,) = [goal for goal in report["parts"]["fast"]["goals"] if "cosine" in goal["goal"]]
    assert cosine["met"]


def test_the_whole_run_ranks_the_film(report: dict[str, Any]) -> None:
    whole = report["parts"]["whole"]
    assert whole["windows"] == whole["candidates"] == 5


def test_the_chart_has_a_bar_for_each_baseline(output: Path) -> None:
    chart = ElementTree.fromstring(output.with_suffix(".svg").read_text())
    assert len(chart.findall("{http://www.w3.org/2000/svg}rect")) == 6
