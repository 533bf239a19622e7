"""What people see of a run while it goes on, with a terminal and without one."""

from __future__ import annotations

import io
import time

from rich.console import Console

from hookline.progress import LineProgress, TerminalProgress, shown_progress
from tasks.run.progress import NO_PROGRESS, current_progress, step
from tests.waiting import wait_for


def console() -> Console:
    return Console(file=io.StringIO(), width=60)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_without_a_terminal_each_step_and_each_video_is_a_line() -> None:
    with shown_progress(log := console()):
        progress = current_progress.get()
        progress.expect("videos", 2)
        with step("run", "fast", "loading VideoMAE"):
            progress.expect("windows", 1200)
        progress.advance("windows", 32)
        progress.advance("videos", name="s3://bucket/[red]a\n.mp4")
    assert printed(log) == [
        "0:00:00 loading VideoMAE",
        "0:00:00 s3://bucket/[red]a .mp4: 1 of 2 videos, 32 of 1,200 windows, 0 of 0 segments",
    ]
    assert current_progress.get() is NO_PROGRESS


def test_without_a_terminal_a_line_comes_now_and_then_until_the_run_ends() -> None:
    progress = LineProgress(log := console(), every_s=0.05)
    progress.expect("segments", 30)
    wait_for(lambda: len(printed(log)) > 1, 30)
    progress.finish()
    time.sleep(0.2)
    count = len(printed(log))
    assert printed(log)[1] == "0:00:00 0 of 0 videos, 0 of 0 windows, 0 of 30 segments"
    time.sleep(0.2)
    assert len(printed(log)) == count


def test_on_a_terminal_a_step_has_a_bar_while_it_lasts() -> None:
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    with shown_progress(terminal):
        progress = current_progress.get()
        assert isinstance(progress, TerminalProgress)
        with step("run", "render", "cutting clips"), step("run", "render", "cutting clips"):
            named = [task.description for task in progress.bars.tasks]
            assert named == ["videos", "windows", "segments", "cutting clips", "cutting clips"]
        assert len(progress.bars.tasks) == 3
