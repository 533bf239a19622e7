"""Progress bars on a terminal: videos, windows, segments, each with rate and time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from tasks.progress import Counted, watcher

COUNTED: tuple[Counted, ...] = ("videos", "windows", "segments")


class RateColumn(ProgressColumn):
    """Items a second, or a minute where that reads better."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{speed * 60:.1f}/min", style="cyan")


class TerminalProgress:
    """The bars behind the `Progress` seam; Rich locks them for threads."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.ids: dict[str, TaskID] = {what: bars.add_task(what, total=0) for what in COUNTED}

    def expect(self, what: Counted, count: int) -> None:
        bar = self.bars.tasks[self.ids[what]]
        self.bars.update(self.ids[what], total=(bar.total or 0) + count)

    def advance(self, what: Counted, count: int = 1) -> None:
        self.bars.advance(self.ids[what], count)


@contextmanager
def progress_bars(console: Console) -> Iterator[None]:
    """Show bars for the flow that runs in the block; nothing where `console` is not a terminal."""
    if not console.is_terminal:
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        token = watcher.set(TerminalProgress(bars))
        try:
            yield
        finally:
            watcher.reset(token)
