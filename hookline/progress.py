"""Progress of a run: bars on a terminal, with rate and time left; elsewhere lines."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
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

from tasks.core.views.escaping import printable
from tasks.run.progress import COUNTED, Counted, Counts, Progress, current_progress

LINE_EVERY_S = 60.0
"""Where there is no terminal, a line is printed at least this often."""


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
        self.steps: defaultdict[str, list[TaskID]] = defaultdict(list)

    def expect(self, what: Counted, count: int) -> None:
        bar = self.bars.tasks[self.ids[what]]
        self.bars.start_task(self.ids[what])
        self.bars.update(self.ids[what], total=(bar.total or 0) + count)

    def advance(self, what: Counted, count: int = 1, *, name: str = "") -> None:
        self.bars.advance(self.ids[what], count)

    def begin(self, step: str) -> None:
        self.steps[step].append(self.bars.add_task(step, total=None))

    def end(self, step: str) -> None:
        self.bars.remove_task(self.steps[step].pop())


class LineProgress(Counts):
    """A line for each video and step, and one after a minute in which there was none: for logs and mails."""

    def __init__(self, console: Console, *, every_s: float = LINE_EVERY_S) -> None:
        super().__init__()
        self._console, self._every_s, self._began = console, every_s, time.monotonic()
        self._printed, self._over = threading.Event(), False
        threading.Thread(target=self._print_now_and_then, name="progress", daemon=True).start()

    def advance(self, what: Counted, count: int = 1, *, name: str = "") -> None:
        super().advance(what, count, name=name)
        if what == "videos":
            self._print(f"{name}: {self._counts()}")

    def begin(self, step: str) -> None:
        self._print(step)

    def end(self, step: str) -> None: ...

    def finish(self) -> None:
        self._over = True
        self._printed.set()

    def _print_now_and_then(self) -> None:
        while not self._over:
            if not self._printed.wait(self._every_s):
                self._print(self._counts())
            self._printed.clear()

    def _counts(self) -> str:
        with self._lock:
            counts = [f"{self._done[what]} of {self._expected[what]:,} {what}" for what in COUNTED]
        return ", ".join(counts)

    def _print(self, text: str) -> None:
        self._printed.set()
        after = timedelta(seconds=round(time.monotonic() - self._began))
        self._console.out(f"{after} {printable(text)}", highlight=False)


@contextmanager
def shown_progress(console: Console) -> Iterator[None]:
    """Show the progress of the flow that runs in the block: as bars on a terminal, elsewhere as lines."""
    if not console.is_terminal:
        lines = LineProgress(console)
        with _watched_by(lines):
            try:
                yield
            finally:
                lines.finish()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeLeftColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars, _watched_by(TerminalProgress(bars)):
        yield


@contextmanager
def _watched_by(progress: Progress) -> Iterator[None]:
    token = current_progress.set(progress)
    try:
        yield
    finally:
        current_progress.reset(token)


def _rate(task: Task) -> float:
    return task.completed / task.elapsed if task.completed and task.elapsed else 0.0
