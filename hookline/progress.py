"""Progress bars on a terminal: videos, windows, segments, each with rate and time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from tasks.run.progress import Counted, current_progress

COUNTED: tuple[Counted, ...] = ("videos", "windows", "segments")


class RateColumn(ProgressColumn):
    """Items a second since the first was expected, or a minute where that reads better."""

    def render(self, task: Task) -> Text:
        rate = _rate(task)
        if not rate:
            return Text("")
        return Text(f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min", style="cyan")


class TimeLeftColumn(ProgressColumn):
    """Time left at that rate. Rich's own needs two steps before it knows, and batches are few."""

    def render(self, task: Task) -> Text:
        rate = _rate(task)
        if not rate or not task.remaining:
            return Text("")
        return Text(f"{timedelta(seconds=round(task.remaining / rate))} left")


class TerminalProgress:
    """The bars behind the `Progress` seam; Rich locks them for threads."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.ids: dict[str, TaskID] = {what: bars.add_task(what, total=0, start=False) for what in COUNTED}

    def expect(self, what: Counted, count: int) -> None:
        bar = self.bars.tasks[self.ids[what]]
        self.bars.start_task(self.ids[what])
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
        TimeLeftColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        token = current_progress.set(TerminalProgress(bars))
        try:
            yield
        finally:
            current_progress.reset(token)


def _rate(task: Task) -> float:
    return task.completed / task.elapsed if task.completed and task.elapsed else 0.0
