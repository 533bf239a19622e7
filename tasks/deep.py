"""The deep stage: VideoLLaMA3 takes a close look at the candidates of a video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.adapters.checkpoints import Checkpoint
from tasks.adapters.decoding import read_frames
from tasks.adapters.videollama3 import load_videollama3
from tasks.core.errors import ModelError
from tasks.core.records import Analysis, ScoredWindow, Timeline, Window
from tasks.core.settings import Deep
from tasks.progress import watcher
from tasks.retries import retry_if_it_may_pass
from tasks.runs import Run


@dataclass(frozen=True, slots=True)
class Analyses:
    """One analysis for every candidate of a video, and the seconds they took together."""

    by_window: dict[Window, Analysis]
    seconds: float = 0.0


@task(
    name="analyse candidates",
    task_run_name="analyse {timeline.video.name}",
    retries=1,
    retry_delay_seconds=1,
    retry_condition_fn=retry_if_it_may_pass,
    cache_policy=NO_CACHE,
)
def analyse_candidates(candidates: list[ScoredWindow], timeline: Timeline, run: Run) -> Analyses:
    """An analysis of every candidate; one without an answer carries the reason."""
    windows = [candidate.window for candidate in candidates]
    if isinstance(run.deep, Analysis):
        return Analyses(dict.fromkeys(windows, run.deep))
    began = time.perf_counter()
    watcher.get().expect("segments", len(windows))
    by_window = {}
    for window, analysis in analysed(windows, timeline, run.deep, run.settings.deep):
        by_window[window] = analysis
        watcher.get().advance("segments")
    return Analyses(by_window, time.perf_counter() - began)


def analysed(
    windows: list[Window], timeline: Timeline, checkpoint: Checkpoint, deep: Deep
) -> Iterator[tuple[Window, Analysis]]:
    """Each window with its analysis, as they are done. A model that will not load fails them all."""
    try:
        model = load_videollama3(checkpoint)
    except ModelError as error:
        yield from ((window, Analysis.failed(error.reason, str(error))) for window in windows)
        return
    yield from model.analyse(
        partial(read_frames, timeline),
        windows,
        fps=timeline.fps,
        prompt=deep.question,
        max_frames=deep.max_frames,
        max_new_tokens=deep.max_new_tokens,
    )
