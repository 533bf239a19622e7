"""The deep stage: VideoLLaMA3 takes a close look at the candidates of a video, once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.adapters.analysis_cache import AnalysisCache, open_analysis_cache
from tasks.adapters.checkpoints import Checkpoint
from tasks.adapters.decoding import read_frames
from tasks.core.analyses import analysis_key
from tasks.core.answers import prompt_hash
from tasks.core.errors import ModelError
from tasks.core.records import Analysis, ScoredWindow, Timeline, Window
from tasks.core.settings import Deep
from tasks.progress import watcher
from tasks.retries import retry_if_it_may_pass
from tasks.runs import Run

WRITES_AT_ONCE = 8
"""Analyses on their way into the cache while the next ones are made."""


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
    watcher.get().expect("segments", len(windows))
    cache = cache_of_run(run.settings.deep.cache, run.settings.output, run.run_id)
    keys = {window: cache_key(window, timeline, run.deep, run.settings.deep) for window in windows}
    by_window = kept_before(keys, cache)
    watcher.get().advance("segments", len(by_window))
    cached, began = len(by_window), time.perf_counter()
    unknown = [window for window in windows if window not in by_window]
    with ThreadPoolExecutor(WRITES_AT_ONCE, "keep-analyses") as keeping:
        for window, analysis in analysed(unknown, timeline, run.deep, run.settings.deep):
            by_window[window] = analysis
            watcher.get().advance("segments")
            # What was seen through fewer frames is worth another try, on another night.
            if cache and analysis.reason != "fewer_frames":
                keeping.submit(cache.keep, keys[window], analysis)
    return Analyses(by_window, cached, time.perf_counter() - began)


def find_analyses(candidates: list[ScoredWindow], timeline: Timeline, run: Run) -> Analyses | None:
    """The analyses of all candidates, as far as they need no look at the video; None if one does."""
    windows = [candidate.window for candidate in candidates]
    if isinstance(run.deep, Analysis):
        return Analyses(dict.fromkeys(windows, run.deep))
    cache = cache_of_run(run.settings.deep.cache, run.settings.output, run.run_id)
    keys = {window: cache_key(window, timeline, run.deep, run.settings.deep) for window in windows}
    first = dict(islice(keys.items(), 1))
    if not kept_before(first, cache):  # where one is missing, most often all are
        return None
    by_window = kept_before(keys, cache)
    return Analyses(by_window, cached=len(keys)) if len(by_window) == len(keys) else None


def kept_before(keys: Mapping[Window, str], cache: AnalysisCache | None) -> dict[Window, Analysis]:
    """The analyses that the cache has of these segments."""
    known = cache.find(list(keys.values())) if cache else {}
    return {window: known[key] for window, key in keys.items() if key in known}


@lru_cache(maxsize=4)
def cache_of_run(setting: str, output: str, run_id: str) -> AnalysisCache | None:
    """The cache of analyses; one a run, because a cache that fails is left alone from then on."""
    return open_analysis_cache(setting, output)


def cache_key(window: Window, timeline: Timeline, checkpoint: Checkpoint, deep: Deep) -> str:
    """The name of everything that decides the answer about a segment."""
    return analysis_key(
        timeline.video,
        window,
        fps=timeline.fps,
        frame_size=(timeline.width, timeline.height),
        max_frames=deep.max_frames,
        model=checkpoint.model,
        revision=checkpoint.revision,
        quantization=deep.quantization,
        max_new_tokens=deep.max_new_tokens,
        prompt_hash=prompt_hash(deep.question),
    )


def analysed(
    windows: Sequence[Window], timeline: Timeline, checkpoint: Checkpoint, deep: Deep
) -> Iterator[tuple[Window, Analysis]]:
    """Each window with its analysis, as they are done. A model that will not load fails them all."""
    if not windows:
        return
    # It takes seconds to import, and a night with nothing new needs none of it.
    from tasks.adapters.videollama3 import load_videollama3

    try:
        model = load_videollama3(checkpoint, quantization=deep.quantization)
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
        batch_size=deep.batch_size,
    )
