"""The first minutes on a GPU, rehearsed: the same checks in tiny sizes, where little is installed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests import ROOT

ABSENT = (
    *("prefect", "decord", "av", "ffmpeg", "imageio_ffmpeg", "bitsandbytes"),
    *(
        "s3fs",
        "fsspec",
        "aiobotocore",
        "boto3",
        "botocore",
        "pyarrow",
        "redis",
        "distributed",
        "cyclopts",
        "rich",
    ),
)
"""What need not be installed for it."""

BARE = f"""
import runpy
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def find_present(name, path=None, target=None):
    return None if name.partition(".")[0] in {ABSENT!r} else find(name, path, target)

PathFinder.find_spec = find_present
runpy.run_path({str(ROOT / "tests" / "watch" / "sitecustomize.py")!r})
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(BARE)
    output = folder / "quick.json"
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{folder}:{ROOT}", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu_first_contact.py", "--rehearse", "--output", str(output)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "As expected. Next:\n  python benchmarks/deep_stage.py --full-size" in done.stdout
    return dict(json.loads(output.read_text()))


def found(report: dict[str, Any], what: str) -> dict[str, Any]:
    (line,) = (line for line in report["lines"] if line["what"] == what)
    return dict(line)


def test_every_check_runs_without_prefect_and_decord(report: dict[str, Any]) -> None:
    assert not report["surprise"]
    assert [line for line in report["lines"] if line["expected_found"] is False] == []
    tried = [line for line in report["lines"] if "not tried" in line["found"]]
    assert [line["what"] for line in tried] == ["int8", "int4"]
    assert all("bitsandbytes" in line["found"] for line in tried)


def test_what_does_not_depend_on_a_gpu_is_judged(report: dict[str, Any]) -> None:
    judged = {line["what"] for line in report["lines"] if line["expected_found"]}
    assert judged >= {
        *("chosen, 1 wide", "chosen, 16 wide", "cosine to float32, one by one", "1 wide", "16 wide"),
        *("segments", "same answers", "batch", "short of memory", "broken", "the next call", "layers"),
        *("computes in", "a batch as one by one", "speech in noise", "threads of PyTorch"),
    }
    assert found(report, "short of memory")["found"] == "['smaller_batch']"
    assert found(report, "broken")["found"].startswith("A GPU worker ended")


def test_times_and_what_only_a_gpu_has_are_not_judged(report: dict[str, Any]) -> None:
    for what in ("a prompt", "1 wide: a step", "windows a second", "recorded", "it works with"):
        assert found(report, what)["expected_found"] is None


def test_it_says_where_it_ran(report: dict[str, Any]) -> None:
    assert report["command"].startswith("python benchmarks/gpu_first_contact.py --rehearse")
    assert {"torch", "transformers"} <= report["versions"].keys()
    assert report["machine"]["cpu"]


def test_it_stops_at_the_first_surprise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("gpu_first_contact")
    lab = importlib.import_module("first_contact_lab")

    def well(_: object) -> list[Any]:
        """Well."""
        return [
            lab.Line("one", "1", "1", True),
            lab.Line("two", "2", "3", False),
            lab.Line("three", "", "", None),
        ]

    def never(_: object) -> list[Any]:
        pytest.fail("it goes on")

    def breaks(_: object) -> list[Any]:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(script, "checks", lambda: (well, never))
    assert [line.what for line in script.run(None)] == ["one", "two"]
    assert "two: 3 (expected: 2) SURPRISE" in capsys.readouterr().out
    monkeypatch.setattr(script, "checks", lambda: (breaks, never))
    (line,) = script.run(None)
    assert (line.found, line.expected_found) == ("RuntimeError: CUDA error", False)
