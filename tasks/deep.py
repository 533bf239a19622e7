"""The deep stage: VideoLLaMA3 takes a close look at the candidates of a video, once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from tasks.adapters.storage.analysis_cache import AnalysisCache
from tasks.core.errors import WorkerLost
from tasks.core.records import Analysis, ScoredWindow, Timeline, Window
from tasks.run.logs import log_event
from tasks.run.progress import current_progress
from tasks.run.retries import WORK_RETRY_SECONDS, retry_if_transient
from tasks.run.run import Run
from tasks.work.models import cache_keys, cache_of_run, new_analyses


@dataclass(frozen=True, slots=True)
class Analyses:
    """One analysis for every candidate of a video.

    `cached` of them had been made before; the others took `seconds` together.
    """

    by_window: dict[Window, Analysis]
    cached: int = 0
    seconds: float = 0.0


@task(
    name="analyse candidates",
    task_run_name="analyse {timeline.video.name}",
    retries=len(WORK_RETRY_SECONDS),
    retry_delay_seconds=WORK_RETRY_SECONDS,
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def analyse_candidates(candidates: list[ScoredWindow], timeline: Timeline, run: Run) -> Analyses:
    """An analysis of every candidate; one without an answer carries the reason.

    Raises:
        WorkerLost: on all tries but the last. What was finished until then is in the cache.
    """
    windows, attempt = [candidate.window for candidate in candidates], task_run.run_count or 1
    if isinstance(run.deep, Analysis):
        return Analyses(dict.fromkeys(windows, run.deep))
    if attempt == 1:
        current_progress.get().expect("segments", len(windows))
    cache, keys = cache_of_run(run), cache_keys(windows, timeline, run.deep, run.settings.deep)
    by_window = kept_before(keys, cache)
    current_progress.get().advance("segments", len(by_window))
    cached, began = len(by_window), time.perf_counter()
    unknown = [window for window in windows if window not in by_window]
    try:
        work = (new_analyses, unknown, timeline, run.deep, run.for_workers)
        for window, analysis in run.workers.each(*work, prefer=timeline.worker) if unknown else ():
            by_window[window] = analysis
            current_progress.get().advance("segments")
    except WorkerLost as lost:
        if attempt <= len(WORK_RETRY_SECONDS):
            raise
        nothing = Analysis.failed(lost.reason, str(lost))
        by_window = {**dict.fromkeys(windows, nothing), **kept_before(keys, cache), **by_window}
    seconds, segments = time.perf_counter() - began, len(windows)
    log_event(
        run.run_id,
        "deep",
        "analysed",
        video=timeline.video,
        segments=segments,
        cached=cached,
        seconds=seconds,
    )
    return Analyses(by_window, cached, seconds)


def find_analyses(candidates: list[ScoredWindow], timeline: Timeline, run: Run) -> Analyses | None:
    """The analyses of all candidates, as far as they need no look at the video; None if one does."""
    windows = [candidate.window for candidate in candidates]
    if isinstance(run.deep, Analysis):
        return Analyses(dict.fromkeys(windows, run.deep))
    cache, keys = cache_of_run(run), cache_keys(windows, timeline, run.deep, run.settings.deep)
    first = dict(islice(keys.items(), 1))
    if not kept_before(first, cache):  # where one is missing, most often all are
        return None
    by_window = kept_before(keys, cache)
    return Analyses(by_window, cached=len(keys)) if len(by_window) == len(keys) else None


def kept_before(keys: Mapping[Window, str], cache: AnalysisCache | None) -> dict[Window, Analysis]:
    """The analyses that the cache has of these segments."""
    known = cache.get_many(list(keys.values())) if cache else {}
    return {window: known[key] for window, key in keys.items() if key in known}
