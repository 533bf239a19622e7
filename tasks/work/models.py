"""What is done with the models, wherever they are: the functions that workers are sent.

Knows no Prefect. A worker on another machine finds checkpoints and frames there, or brings them there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial

from tasks.adapters.models.checkpoints import Checkpoint, on_this_machine
from tasks.adapters.storage.analysis_cache import AnalysisCache, open_analysis_cache
from tasks.adapters.video.timeline import read_frames
from tasks.adapters.workers.processes import this_worker
from tasks.core.errors import DecodeFailed, ModelError
from tasks.core.records import Analysis, Failure, ReadFrames, Timeline, VideoRef, Window, WindowFeatures
from tasks.core.scoring.analyses import analysis_key
from tasks.core.scoring.answers import prompt_hash
from tasks.core.settings import Deep
from tasks.run.run import Run
from tasks.work.opening import opened_videos_here

WRITE_THREADS = 8
"""Analyses on their way into the cache while the next ones are made."""


def open_on_worker(video: VideoRef, run: Run) -> Timeline | Failure:
    """Open a video on the worker's own disk.

    Raises:
        StorageError: the video could not be fetched.
    """
    opened = opened_videos_here(run.settings.limits.scratch_dir).open(video, run)
    return replace(opened, worker=this_worker()) if isinstance(opened, Timeline) else opened


def check_fast_model(fast: Checkpoint) -> None:
    """Load the fast model, to keep it.

    Raises:
        ModelError: it cannot be loaded.
    """
    # PyTorch takes seconds to import, and a night with nothing new needs none of it.
    from tasks.adapters.models.videomae import load_videomae

    load_videomae(on_this_machine(fast))


def window_features(batch: Sequence[Window], timeline: Timeline, run: Run) -> WindowFeatures:
    """What VideoMAE makes of a batch of windows of one video.

    Raises:
        ModelError: the model cannot be loaded, or gives what is no number.
    """
    from tasks.adapters.models.videomae import load_videomae

    model = load_videomae(on_this_machine(run.fast))
    return model.features(frames_of(timeline, run), batch, batch_size=run.settings.fast.batch_size)


def new_analyses(
    windows: Sequence[Window], timeline: Timeline, deep: Checkpoint, run: Run
) -> Iterator[tuple[Window, Analysis]]:
    """Each window with its analysis, as they are done; each is in the cache before all are done.

    A model that will not load fails them all.
    """
    from tasks.adapters.models.videollama3.model import load_videollama3

    asked = run.settings.deep
    try:
        model = load_videollama3(on_this_machine(deep), quantization=asked.quantization)
    except ModelError as error:
        yield from ((window, Analysis.failed(error.reason, str(error))) for window in windows)
        return
    made = model.analyse(
        frames_of(timeline, run),
        windows,
        fps=timeline.fps,
        prompt=asked.question,
        max_frames=asked.max_frames,
        max_new_tokens=asked.max_new_tokens,
        batch_size=asked.batch_size,
    )
    cache, keys = cache_of_run(run), cache_keys(windows, timeline, deep, asked)
    with ThreadPoolExecutor(WRITE_THREADS, "keep-analyses") as keeping:
        for window, analysis in made:
            # What was seen through fewer frames is worth another try, on another night.
            if cache and analysis.reason != "fewer_frames":
                keeping.submit(cache.put, keys[window], analysis)
            yield window, analysis


def frames_of(timeline: Timeline, run: Run) -> ReadFrames:
    """Reads a timeline's frames from this machine's disk, where they are brought first if need be.

    Raises:
        DecodeFailed: they are on another machine, and this one cannot make them.
        StorageError: the video could not be fetched again.
    """
    return partial(read_frames, opened_here(timeline, run))


def opened_here(timeline: Timeline, run: Run) -> Timeline:
    """The same timeline on this machine's disk, where it is brought if need be. Raises as `frames_of`."""
    if timeline.worker in ("", this_worker()):
        return timeline
    opened = open_on_worker(timeline.video, run)
    if isinstance(opened, Failure):
        raise DecodeFailed(opened.detail, reason=opened.reason)
    return opened


def cache_of_run(run: Run) -> AnalysisCache | None:
    """The cache of analyses; one a run, because a cache that fails is left alone from then on."""
    return _cache(run.settings.deep.cache, run.settings.output, run.run_id)


@lru_cache(maxsize=4)
def _cache(setting: str, output: str, run_id: str) -> AnalysisCache | None:
    return open_analysis_cache(setting, output)


def cache_keys(
    windows: Sequence[Window], timeline: Timeline, checkpoint: Checkpoint, deep: Deep
) -> Mapping[Window, str]:
    """For each segment the name of everything that decides the answer about it."""
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
            max_new_tokens=deep.max_new_tokens,
            prompt_hash=prompt_hash(deep.question),
        )
        for window in windows
    }
