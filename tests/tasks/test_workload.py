"""What workers are sent is small: of a talk of ten hours, words and loudness are megabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.logging import disable_run_logger

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.workers.processes import InProcess
from tasks.analyse import analyse_candidates
from tasks.core.devices import Backend
from tasks.core.records import Analysis, ScoredWindow, Segment, Timeline, VideoRef, Window
from tasks.core.speech.heard import Heard
from tasks.render import render_segments
from tasks.run.run import Run
from tasks.score import score_windows
from tasks.work.media import Media
from tests.spec import make_spec

HEARD = Heard.of([(1_000, 5_000)], end_ms=20_000)
VIDEO = VideoRef("s3://bucket/a.mp4", "0123456789abcdef" * 2, 1000)
TIMELINE = Timeline(VIDEO, "", 20, 1, 28, 28, 20.0, "pyav", heard=HEARD, loudness=np.zeros(200, np.float32))
WINDOW = Window(0, 10)


class Asked(InProcess):
    """Keeps what it is sent, and does nothing."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def call(self, work: Callable[..., Any], *args: Any, gpu: bool = True, prefer: str = "") -> Any:
        self.sent += args
        return Media(())

    def each(self, work: Callable[..., Any], *args: Any, prefer: str = "") -> Iterator[Any]:
        self.sent += args
        return iter([(WINDOW, Analysis.failed("none", "None was made."))])


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: score_windows.fn([WINDOW], TIMELINE, run),
        lambda run: analyse_candidates.fn([ScoredWindow(WINDOW, 50, is_candidate=True)], TIMELINE, run),
        lambda run: render_segments.fn([Segment(WINDOW, 50, 50, Analysis.skipped("off"), 1)], TIMELINE, run),
    ],
    ids=["score", "analyse", "render"],
)
def test_nothing_that_was_heard_is_sent_to_who_only_looks(ask: Callable[[Run], Any], tmp_path: Path) -> None:
    checkpoint, backend = Checkpoint(Path("/nowhere"), "deep", "8f3c"), Backend("cpu", "float32")
    spec = replace(make_spec("s3://bucket", tmp_path / "out"), deep=checkpoint, deep_backend=backend)
    workers = Asked()
    with disable_run_logger():
        ask(Run(spec, tmp_path, workers))
    (sent,) = (each for each in workers.sent if isinstance(each, Timeline))
    assert sent == TIMELINE
    assert (sent.heard, sent.loudness) == (None, None)
