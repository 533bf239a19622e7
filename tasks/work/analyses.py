"""The analyses of candidates that are in the cache, so that nobody looks at those segments again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tasks.adapters.storage.analysis_cache import AnalysisCache, open_analysis_cache
from tasks.core.records import Analysis, ScoredVideo, ScoredWindow, Timeline, Window
from tasks.core.scoring.analyses import analysis_key
from tasks.core.scoring.answers import prompt_hash, said_hash
from tasks.core.scoring.said import said_in
from tasks.core.scoring.window_cuts import ticks_of
from tasks.core.throughput import Work
from tasks.work.spec import RunSpec
from tasks.work.transcripts import finally_cut


@dataclass(frozen=True, slots=True)
class Analyses:
    """One analysis for every candidate of a video.

    `cached` of them were in the cache; the others took `seconds` together, and `works` from the model.
    """

    by_window: dict[Window, Analysis]
    cached: int = 0
    seconds: float = 0.0
    works: tuple[Work, ...] = ()


def find_analyses(candidates: Sequence[ScoredWindow], timeline: Timeline, spec: RunSpec) -> Analyses | None:
    """The analyses of all candidates if none of them needs the model; otherwise None."""
    seen = seen_windows(candidates, timeline)
    if isinstance(spec.deep, Analysis):
        return Analyses(dict.fromkeys(seen, spec.deep))
    if not known_analyses(candidates[:1], timeline, spec):  # where one is missing, most often all are
        return None
    known = known_analyses(candidates, timeline, spec)
    return Analyses(known, cached=len(seen)) if len(known) == len(seen) else None


def known_analyses(
    candidates: Sequence[ScoredWindow], timeline: Timeline, spec: RunSpec
) -> dict[Window, Analysis]:
    """The analyses of those of these candidates that are in the cache."""
    seen, said = seen_windows(candidates, timeline), quotes(candidates, timeline, spec)
    keys = cache_keys([*seen.values()], timeline, spec, said=said)
    known = cached_analyses(keys, cache_of_run(spec))
    return {window: known[ticks] for window, ticks in seen.items() if ticks in known}


def standing_in(video: ScoredVideo, spec: RunSpec) -> frozenset[Window]:
    """The windows that were analysed before; none where another deep model, or question, gave the answers."""
    cut = finally_cut(video, spec)
    if not spec.lacks_deep and not known_analyses(cut.candidates, cut.timeline, spec):
        return frozenset()
    return frozenset(item.window for item in video.windows if item.analysed_before)


def seen_windows(candidates: Sequence[ScoredWindow], timeline: Timeline) -> dict[Window, Window]:
    """For the window of each candidate, the ticks that the deep model sees of it: those of its cut."""
    return {candidate.window: ticks_of(candidate, timeline) for candidate in candidates}


def cached_analyses(keys: Mapping[Window, str], cache: AnalysisCache | None) -> dict[Window, Analysis]:
    """The analyses that the cache has of these segments."""
    cached = cache.get_many(list(keys.values())) if cache else {}
    return {window: cached[key] for window, key in keys.items() if key in cached}


def cache_of_run(spec: RunSpec) -> AnalysisCache | None:
    """The cache of analyses: one for each run, because a run stops using a cache that fails."""
    return _cache(spec.settings.deep.cache, spec.library or spec.settings.output, spec.run_id)


@lru_cache(maxsize=4)
def _cache(setting: str, output: str, run_id: str) -> AnalysisCache | None:
    return open_analysis_cache(setting, output)


def quotes(candidates: Sequence[ScoredWindow], timeline: Timeline, spec: RunSpec) -> dict[Window, str]:
    """For the ticks that the deep model sees of candidates, what it is told that is said in them."""
    if not spec.settings.speech.in_prompt:
        return {}
    ticks = [ticks_of(each, timeline) for each in candidates]
    by_ticks = dict(zip(ticks, said_in(candidates, timeline), strict=True))
    return {ticks: said for ticks, said in by_ticks.items() if said}


def cache_keys(
    windows: Sequence[Window], timeline: Timeline, spec: RunSpec, *, said: Mapping[Window, str]
) -> Mapping[Window, str]:
    """For each segment, the key made from everything that decides the answer about it.

    `said` is what the deep model is told that is said in them. Empty for a run without a deep model, which
    has no answers.
    """
    checkpoint, deep, backend = spec.deep, spec.settings.deep, spec.deep_backend
    if isinstance(checkpoint, Analysis) or backend is None:
        return {}
    return {
        window: analysis_key(
            timeline.video,
            window,
            fps=timeline.fps,
            frame_size=(timeline.width, timeline.height),
            max_frames=deep.max_frames,
            model=checkpoint.model,
            revision=checkpoint.revision,
            quantization=deep.quantization,
            backend=backend,
            max_new_tokens=deep.max_new_tokens,
            prompt_hash=prompt_hash(deep.question, deep.answer_order),
            n_ticks=timeline.n_ticks,
            said_hash=said_hash(said.get(window, "")),
            adapter=checkpoint.adapter.revision if checkpoint.adapter else "",
        )
        for window in windows
    }
