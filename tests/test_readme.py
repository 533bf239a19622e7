"""What the README shows is run: its commands, its settings file, its query."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from hookline.cli import run
from tasks.core.settings import Settings
from tests import ROOT
from tests.library import upload, write_good_videos
from tests.s3 import Server

pytest_plugins = ["tests.s3"]

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line[:1] == [program]]


@pytest.fixture
def workplace(aws: Server, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a bucket as the README names them, with videos in both."""
    monkeypatch.chdir(tmp_path)
    write_good_videos(tmp_path / "videos")
    (tmp_path / "2026-11").mkdir()
    shutil.copytree(tmp_path / "videos", tmp_path / "videos" / "2026-11")
    (tmp_path / "videos" / "tonight.txt").write_text("first.mp4\n")
    (tmp_path / "settings.yaml").write_text(blocks("yaml")[0])
    return tmp_path


def test_the_readme_has_commands_to_try() -> None:
    assert len(commands("hookline")) >= 7
    assert commands("make") == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("command", commands("make"), ids=" ".join)
def test_make_knows_the_readmes_targets(command: list[str]) -> None:
    subprocess.run([*command, "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.usefixtures("prefect")
def test_the_readmes_commands_run_and_its_query_reads_what_they_leave(
    workplace: Path, aws: Server, demo_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(workplace / "videos", aws.new_bucket("my-bucket"), "videos")
    demo = [f"--fast.model={demo_models}/videomae", f"--deep.model={demo_models}/videollama3"]
    demo.append(f"--speech.model={demo_models}/whisper")
    for command in commands("hookline"):
        extra = {
            "rank": [*demo, "--deep.max_new_tokens=160"],
            "doctor": [*demo, "--limits.scratch_gb=1"],
        }.get(command[1], [])
        assert run([*command[1:], *extra]) == 0, command
    (workplace / "demo").mkdir()
    (workplace / "rankings").rename(workplace / "demo" / "output")
    (query,) = blocks("python")
    capsys.readouterr()
    exec(query)
    assert "video_uri" in capsys.readouterr().out


def test_the_readmes_settings_file_is_valid() -> None:
    (text,) = blocks("yaml")
    made = Settings.model_validate({"source": "a", "output": "b", **yaml.safe_load(text)})
    assert made.ranking.top_n == 15


def test_every_column_of_the_rankings_is_explained() -> None:
    from tasks.core.tables.schemas import RANKINGS

    table = README[README.index("The columns of `rankings`") : README.index("In `windows`")]
    explained = set(re.findall(r"`(\w+)`", table))
    assert set(RANKINGS.names) <= explained


def test_every_layer_the_readme_draws_exists() -> None:
    drawn = re.findall(r"^\| `([\w/]+)/` \|", README, flags=re.MULTILINE)
    assert len(drawn) >= 5
    for folder in drawn:
        assert list((ROOT / folder).iterdir()), folder


def test_the_readme_asks_for_the_python_that_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (oldest,) = re.findall(r"Python ([\d.]+) or newer", README)
    assert project["requires-python"] == f">={oldest}"
