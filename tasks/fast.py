"""The fast stage: VideoMAE looks at every window of a video, and the best become candidates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.errors import WorkerLost
from tasks.core.records import ScoredVideo, ScoredWindow, Timeline, Window, WindowFeatures
from tasks.core.scoring.candidates import choose_candidates
from tasks.core.scoring.scores import salience
from tasks.core.scoring.windows import MAX_BATCH, batches, windows
from tasks.run.logs import log_event
from tasks.run.progress import current_progress
from tasks.run.retries import WORK_RETRY_SECONDS, retry_if_transient
from tasks.run.run import Run
from tasks.work.models import check_fast_model, window_features


def load_fast_model(run: Run) -> None:
    """Load the fast model where it is needed. One that is broken costs no decoding.

    Raises:
        ModelError: it cannot be loaded.
        WorkerLost: no worker lived to load it.
    """
    for pause in (*WORK_RETRY_SECONDS, None):
        try:
            return run.workers.call(check_fast_model, run.fast)
        except WorkerLost:
            if pause is None:
                raise
            time.sleep(pause)


def window_batches(timeline: Timeline, run: Run) -> list[list[Window]]:
    """All windows of a video by start, in runs of at most `MAX_BATCH`: one mapped task each."""
    fps, settings = timeline.fps, run.settings.windows
    lengths = [seconds * fps for seconds in settings.window_seconds]
    every = windows(timeline.n_ticks, lengths=lengths, stride=settings.stride_seconds * fps)
    current_progress.get().expect("windows", len(every))
    return batches(every, size=MAX_BATCH)


@task(
    name="score windows",
    task_run_name="score {timeline.video.name}",
    retries=len(WORK_RETRY_SECONDS),
    retry_delay_seconds=WORK_RETRY_SECONDS,
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def score_windows(batch: list[Window], timeline: Timeline, run: Run) -> WindowFeatures:
    """What VideoMAE makes of a batch of windows of one video.

    Raises:
        ModelError: the model cannot be loaded.
        WorkerLost: no worker lived to do it.
    """
    features = run.workers.call(window_features, batch, timeline, run.for_workers, prefer=timeline.worker)
    current_progress.get().advance("windows", len(batch))
    return features


def score_video(
    timeline: Timeline, batched: Sequence[list[Window]], scored: Sequence[WindowFeatures], run: Run
) -> ScoredVideo:
    """The fast scores of all windows of a video, with candidates and suppressed windows marked.

    `scored` has the features of each batch of windows, in the order of `batched`.
    """
    features = WindowFeatures(
        embeddings=np.concatenate([batch.embeddings for batch in scored]),
        change=np.concatenate([batch.change for batch in scored]),
        seconds=sum(batch.seconds for batch in scored),
    )
    seconds, count = features.seconds, len(features.change)
    log_event(run.run_id, "fast", "scored", video=timeline.video, windows=count, seconds=seconds)
    scores = run.head(features) if run.head else salience(features)
    every = [ScoredWindow(window, score) for window, score in zip(chain(*batched), scores, strict=True)]
    ranking = run.settings.ranking
    return ScoredVideo(
        timeline,
        tuple(choose_candidates(every, count=ranking.candidates, max_overlap=ranking.max_overlap)),
        features.embeddings.astype(np.float16),
        "head" if run.head else "salience",
        features.seconds,
    )
