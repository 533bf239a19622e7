"""What a command does not need is not imported: PyTorch and transformers take seconds, Prefect one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from hookline.cli import run
from tests import ROOT
from tests.hookline.test_cli import quick
from tests.media import numbered_video
from tests.prefect_home import environment_of_a_user
from tests.waiting import patience

MODELS = ("torch", "transformers")
HEAVY = (*MODELS, "prefect", "pandas")

PROGRAM = """
import json, sys
from hookline.cli import run
heavy, *commands = map(json.loads, sys.argv[1:])
codes = [run(command) for command in commands]
print(json.dumps([codes, sorted(set(heavy) & set(sys.modules))]))
"""


@pytest.fixture(scope="module")
def ranked(
    prefect: None, demo_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], str]:
    """The command that has ranked one video, and its output."""
    folder = tmp_path_factory.mktemp("ranked")
    (folder / "videos").mkdir()
    numbered_video(folder / "videos" / "one.mp4", seconds=6)
    command = ["rank", str(folder / "videos"), str(folder / "output"), *quick(demo_models)]
    assert run(command) == 0
    return command, str(folder / "output")


def imported(
    of: tuple[str, ...], home: Path, *commands: list[str], **variables: str
) -> tuple[list[int], list[str]]:
    """The exit codes of commands in a process of their own, and which of some modules they have imported."""
    arguments = map(json.dumps, [of, *commands])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment_of_a_user(home) | variables,
        capture_output=True,
        check=True,
        timeout=patience(100),
    )
    codes, modules = json.loads(done.stdout.splitlines()[-1])
    return codes, modules


def test_help_show_and_explain_import_nothing_heavy(ranked: tuple[list[str], str], tmp_path: Path) -> None:
    _, output = ranked
    commands = [["--help"], ["rank", "--help"], ["show", output]]
    assert imported(HEAVY, tmp_path, *commands) == ([0, 0, 0], [])
    explain = ["explain", output, "one", "--at", "0:02"]  # pyarrow imports pandas to look for a name
    assert imported((*MODELS, "prefect"), tmp_path, explain) == ([0], [])


def test_a_run_with_nothing_new_imports_no_models(ranked: tuple[list[str], str], tmp_path: Path) -> None:
    command, _ = ranked
    api_url = str(PREFECT_API_URL.value())
    assert imported(MODELS, tmp_path, command, PREFECT_API_URL=api_url) == ([0], [])


def test_to_deploy_the_flows_imports_no_models(tmp_path: Path) -> None:
    """`make deploy` imports them all."""
    flows = [file.stem for file in (ROOT / "flows").glob("*.py") if file.stem != "__init__"]
    names = ", ".join(f"flows.{flow}" for flow in flows)
    script = f"import sys, {names}; print(set(sys.modules) & {set(MODELS)!r} or 'none')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment_of_a_user(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(100),
    )
    assert done.stdout.splitlines()[-1] == "none"
