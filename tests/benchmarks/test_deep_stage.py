"""The benchmark of the deep stage, at sizes that say nothing about speed."""

from __future__ import annotations

import gc
import json
import logging
import runpy
from typing import Any

import pytest

from tests import ROOT


@pytest.fixture(scope="module", params=[[], ["--full-size"]], ids=["film", "drawn"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script writes; it runs in this process, which has the models imported."""
    script = ROOT / "benchmarks" / "deep_stage.py"
    output = tmp_path_factory.mktemp("results") / "quick.json"
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(script.parent)
        patched.setattr("sys.argv", [str(script), "--quick", *request.param, "--output", str(output)])
        patched.setattr(logging.getLogger(), "handlers", [])  # the script adds one
        patched.setattr(gc, "collect", lambda: 0)  # half a second each, where so much is imported
        runpy.run_path(str(script), run_name="__main__")
    return dict(json.loads(output.read_text()))


def test_ours_encodes_each_frame_once_and_the_naive_path_each_time(report: dict[str, Any]) -> None:
    case = report["case"]
    assert report["ours"]["count"]["frames"] == case["seconds"]
    assert report["naive"]["count"]["frames"] == case["segments"] * case["length"]


def test_both_write_answers_of_the_same_length(report: dict[str, Any]) -> None:
    assert report["same_lengths"]
    assert report["ours"]["count"]["new_tokens"] == report["naive"]["count"]["new_tokens"]


def test_answers_depend_neither_on_the_run_nor_on_the_batch(report: dict[str, Any]) -> None:
    assert report["ours"]["repeatable"]
    assert [line["same_answers"] for line in report["sweep"]] == [1, 1]


def test_the_report_says_what_was_measured_where_and_how_it_compares(report: dict[str, Any]) -> None:
    assert report["command"].startswith("python benchmarks/deep_stage.py --quick")
    assert {"torch", "transformers", "llguidance"} <= report["versions"].keys()
    assert report["machine"]["cpu"]
    assert all(report["speedup"][kind] > 0 for kind in ("measured", "predicted"))
    assert {"vision", "prefill", "generate", "total"} <= report["roofline"]["ours"].keys()
    assert all({"goal", "measured", "wanted", "met"} == goal.keys() for goal in report["goals"])
    assert report["warnings"] == []


def test_the_rates_that_people_compare_are_those_of_the_whole_stage(report: dict[str, Any]) -> None:
    case, speed = report["case"], report["throughput"]
    for path in ("naive", "ours"):
        seconds = report[path]["seconds"]
        whole_s = seconds["total"] - (seconds["decode"] or 0)
        assert speed[path]["segments_per_minute"] == pytest.approx(60 * case["segments"] / whole_s)
        written = report[path]["count"]["new_tokens"]
        assert speed[path]["output_tokens_per_second"] == pytest.approx(written / whole_s)
        assert 0.5 < speed[path]["efficiency"] <= 1.001
    count = report["ours"]["count"]
    assert speed["ours"]["prompt_tokens"] == count["prompt_tokens"] - count["shared_tokens"]
    if report["ours"]["seconds"]["decode"] is None:  # both see the very same frames
        assert count["prompt_tokens"] == report["naive"]["count"]["prompt_tokens"]


def test_phases_add_up_to_the_total(report: dict[str, Any]) -> None:
    for path in ("naive", "ours"):
        seconds = report[path]["seconds"]
        parts = sum(seconds[phase] or 0 for phase in ("decode", "look", "vision", "prefill", "generate"))
        assert 0.5 * seconds["total"] < parts <= 1.001 * seconds["total"]
