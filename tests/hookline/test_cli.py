"""The command line: what it prints, and what it exits with."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hookline.cli import run
from tests.library import write_broken_videos, write_good_videos
from tests.media import numbered_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    numbered_video(folder / "one.mp4", seconds=9)
    numbered_video(folder / "[red]two.mp4", seconds=9)
    return folder


def quick(models: Path) -> list[str]:
    return [
        f"--fast.model={models}/videomae",
        f"--deep.model={models}/videollama3",
        "--deep.max_new_tokens=160",
        "--windows.window_seconds=5",
        "--ranking.top_n=2",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rank", "videos"], "OUTPUT"),
        (["rank", "videos", "out", "--ranking.top 3"], "Unknown option"),
        (["rank", "videos", "out", "--ranking.top_n", "0"], "ranking.top_n: Input should be greater than"),
        (["rank", "videos", "out", "--ranking.top_n", "many"], "not 'many'"),
        (["rank", "videos", "out", "--ranking.deep_weight", "0.7"], "set fast_weight to 0.3"),
        (["rank", "videos", "out", "--settings", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["rnk"], 'Did you mean "rank"'),
        (["rank", "gs://bucket", "out"], "s3://bucket/prefix, or a folder"),
    ],
    ids=str,
)
def test_bad_arguments_exit_with_2_and_name_the_setting(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_help_lists_every_setting_by_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rank", "--help"]) == 0
    printed = capsys.readouterr().out
    for option in ("--ranking.top_n", "--windows.stride_seconds", "--deep.enabled", "--limits.scratch_gb"):
        assert option in printed


@pytest.mark.usefixtures("prefect")
def test_rank_prints_the_ranking_and_show_prints_it_again(
    videos: Path, demo_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rank", str(videos), str(tmp_path), *quick(demo_models)]) == 0
    ranked = capsys.readouterr()
    assert re.search(r"\[red\]two.mp4 +1 0:0\d 0:0\d", ranked.out)
    assert "Completed: 2 of 2 videos ranked" in ranked.out
    assert run(["show", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ranked.out


@pytest.mark.usefixtures("prefect")
def test_settings_come_from_a_file_and_options_win(
    videos: Path, demo_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("select: {limit: 1}\nranking: {deep_weight: 0.5, top_n: 1}\ndry_run: true\n")
    command = [
        "rank",
        str(videos),
        str(tmp_path / "out"),
        "--settings",
        str(file),
        "--ranking.fast_weight=0.5",
    ]
    assert run(command) == 0
    assert "Dry run: 1 videos" in capsys.readouterr().out
    assert run([*command, "--select.limit=0"]) == 0
    assert "Dry run: 2 videos" in capsys.readouterr().out


@pytest.mark.logs_error
@pytest.mark.usefixtures("prefect")
def test_nothing_to_rank_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rank", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "No video under" in capsys.readouterr().err


@pytest.mark.logs_error
@pytest.mark.usefixtures("prefect")
def test_a_missing_source_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rank", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_show_without_a_ranking_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", str(tmp_path)]) == 1
    assert "hookline rank" in capsys.readouterr().err


def test_an_embedded_run_prints_its_result_and_loses_no_history(demo_models: Path, tmp_path: Path) -> None:
    videos, home = tmp_path / "videos", tmp_path / "prefect"
    write_good_videos(videos)
    write_broken_videos(videos)
    hookline = "import sys; from hookline.cli import main; main(sys.argv[1:])"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", hookline, "rank", str(videos), str(tmp_path / "out"), *quick(demo_models)],
        env=environment | {"PREFECT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    assert "CompletedWithFailures: 3 of 8 videos ranked, 5 rejected, 0 failed" in done.stdout
    with sqlite3.connect(home / "prefect.db") as database:
        ((flow_state,),) = database.execute("select state_name from flow_run")
        task_states = database.execute("select name, state_type from task_run").fetchall()
    assert flow_state == "CompletedWithFailures"
    kinds = [name.split()[0] for name, state in task_states if state == "COMPLETED"]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "list": 1, "open": 8, "score": 3, "analyse": 3, "publish": 1
    }  # fmt: skip
    assert len(kinds) == len(task_states)
    assert not [process for process in Path("/proc").glob("[0-9]*/environ") if str(home) in _read(process)]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
