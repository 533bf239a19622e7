"""Analyse the candidates of a video with VideoLLaMA3, the deep model. No segment is analysed twice."""

from __future__ import annotations

import time
from contextlib import suppress

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.core.errors import ModelError, RunEnded, WorkerLost
from tasks.core.records import Analysis, ScoredWindow, Timeline
from tasks.core.throughput import Work
from tasks.run.logs import log_event
from tasks.run.progress import current_progress, step
from tasks.run.retries import WORK_PAUSES_S, attempt, result_for, retried
from tasks.run.run import Run
from tasks.work.analyses import (
    Analyses,
    cache_keys,
    cache_of_run,
    cached_analyses,
    quotes,
    seen_windows,
)
from tasks.work.models import check_deep_model, new_analyses


@retried("load deep model", pauses_s=())
def load_deep_model(run: Run) -> None:
    """Load the deep model while the first videos are decoded. Without it, each analysis says why."""
    if isinstance(run.spec.deep, Checkpoint):
        with step(run.spec.run_id, "deep", "loading VideoLLaMA3"), suppress(ModelError, WorkerLost, RunEnded):
            run.do(check_deep_model, run.spec.deep)


def analyse_video(candidates: list[ScoredWindow], timeline: Timeline, run: Run) -> Analyses:
    """An analysis of every candidate of a video; one without an answer carries the reason."""
    return result_for(timeline, analyse_candidates, candidates, timeline, run)


@retried("analyse candidates", run_name="analyse {timeline.video.name}", pauses_s=WORK_PAUSES_S)
def analyse_candidates(candidates: list[ScoredWindow], timeline: Timeline, run: Run) -> Analyses:
    """An analysis of every candidate; one without an answer carries the reason.

    Raises:
        WorkerLost: on every try but the last. What was finished until then is in the cache.
    """
    spec, seen = run.spec, seen_windows(candidates, timeline)
    if isinstance(spec.deep, Analysis):
        return Analyses(dict.fromkeys(seen, spec.deep))
    windows = sorted(set(seen.values()))  # two cuts may show the same
    if attempt() == 1:
        current_progress.get().expect("segments", len(windows))
    said = quotes(candidates, timeline, spec)
    cache, keys = cache_of_run(spec), cache_keys(windows, timeline, spec, said=said)
    by_window = cached_analyses(keys, cache)
    current_progress.get().advance("segments", len(by_window))
    cached, began, works = sum(each in by_window for each in seen.values()), time.perf_counter(), list[Work]()
    unknown = [window for window in windows if window not in by_window]
    try:
        work = (new_analyses, unknown, timeline.silent, said, spec.deep, spec)
        for made in run.workers.each(*work, prefer=timeline.worker) if unknown else ():
            if isinstance(made, Work):
                works.append(made)
                continue
            window, analysis = made
            by_window[window] = analysis
            current_progress.get().advance("segments")
    except WorkerLost as lost:
        if attempt() <= len(WORK_PAUSES_S):
            raise
        nothing = Analysis.failed(lost.reason, str(lost))
        by_window = {**dict.fromkeys(windows, nothing), **cached_analyses(keys, cache), **by_window}
    seconds, counts = time.perf_counter() - began, {"segments": len(windows), "cached": cached}
    log_event(spec.run_id, "deep", "analysed", video=timeline.video, **counts, seconds=seconds)
    by_candidate = {window: by_window[ticks] for window, ticks in seen.items()}
    return Analyses(by_candidate, cached, seconds, tuple(works))
