"""Score every window of a video with VideoMAE, the fast model, and choose the best as candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from itertools import chain

import numpy as np
from prefect import unmapped

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.core.learning.audit import videos_to_audit, with_audit
from tasks.core.records import ScoredVideo, Timeline, VideoRef, Window, WindowFeatures
from tasks.core.scoring.candidates import choose_candidates
from tasks.core.scoring.window_cuts import scored_windows
from tasks.core.scoring.windows import MAX_BATCH, batches, windows
from tasks.core.settings import Windows
from tasks.run.logs import log_event
from tasks.run.progress import current_progress, step
from tasks.run.retries import SHORT_S, WORK_PAUSES_S, result_for, retried
from tasks.run.run import Run
from tasks.run.suspension import result_of
from tasks.work.models import check_fast_model, window_features
from tasks.work.spec import RunSpec


def draw_audit(opened: Sequence[VideoRef], run: Run) -> frozenset[str]:
    """The keys of the videos, among those that a run opens, in which windows are drawn for the audit.

    None without a deep model, nor in a job of the service: somebody waits for it.
    """
    if run.spec.library or not isinstance(run.spec.deep, Checkpoint):
        return frozenset()
    audit = run.spec.settings.audit
    return videos_to_audit(opened, windows=audit.windows, most=audit.most, seed=audit.seed)


@retried("load fast model", pauses_s=WORK_PAUSES_S)
def load_fast_model(run: Run) -> None:
    """Load the fast model before the first video is decoded, so that a broken one costs no decoding.

    By each GPU process: one whose card cannot be used would fail one video after the other.

    Raises:
        ModelError: it cannot be loaded, or there is a GPU that cannot be used, or the head is not of this
            model.
        WorkerLost: the worker died, on every try.
    """
    with step(run.spec.run_id, "fast", "loading VideoMAE"):
        loaded = Counter(run.workers.on_all(check_fast_model, run.spec))
    for device, count in loaded.items():
        log_event(run.spec.run_id, "fast", "model loaded", workers=count, **asdict(device))


def window_batches(timeline: Timeline, settings: Windows) -> list[list[Window]]:
    """All windows of a video by start, in batches of at most `MAX_BATCH`: one call for each."""
    fps = timeline.fps
    lengths = [seconds * fps for seconds in settings.window_seconds]
    every = windows(timeline.n_ticks, lengths=lengths, stride=settings.stride_seconds * fps)
    current_progress.get().expect("windows", len(every))
    return batches(every, size=MAX_BATCH)


@retried("score windows", run_name="score {timeline.video.name}", pauses_s=WORK_PAUSES_S)
def score_windows(batch: list[Window], timeline: Timeline, run: Run) -> WindowFeatures:
    """The VideoMAE features of a batch of windows of one video.

    Raises:
        ModelError: the model cannot be loaded.
        WorkerLost: the worker died, on every try.
        RunEnded: the run was stopped.
    """
    run.raise_if_stopped()
    features = run.do(window_features, batch, timeline.silent, prefer=timeline.worker)
    current_progress.get().advance("windows", len(batch))
    return features


def score_batches(batches: Sequence[list[Window]], timeline: Timeline, run: Run) -> list[WindowFeatures]:
    """The VideoMAE features of all batches of windows of one video.

    Raises:
        ModelError, WorkerLost, RunEnded: as `score_windows`.
        Pause: the run was suspended.
    """
    if timeline.duration_s > SHORT_S:
        return [*map(result_of, score_windows.map(batches, unmapped(timeline), unmapped(run)))]
    return [result_for(timeline, score_windows, batch, timeline, run) for batch in batches]


def score_video(
    timeline: Timeline,
    batched: Sequence[list[Window]],
    scored: Sequence[WindowFeatures],
    spec: RunSpec,
    *,
    audited: Collection[str] = (),
    analysed: Collection[Window] = (),
) -> ScoredVideo:
    """The fast scores of all windows of a video, with candidates and suppressed windows marked.

    `scored` has the features of each batch of windows, in the order of `batched`. In the `audited` videos,
    which are named by their keys, windows are drawn for the audit. `analysed` are windows of this one whose
    answers are known from under another head.
    """
    half = np.concatenate([batch.embeddings for batch in scored]).astype(np.float16)
    features = WindowFeatures(
        # What is stored: scored from storage, the same windows have the same scores.
        embeddings=half.astype(np.float32),
        change=np.concatenate([batch.change for batch in scored]),
        seconds=sum(batch.seconds for batch in scored),
    )
    seconds, count = features.seconds, len(features.change)
    log_event(spec.run_id, "fast", "scored", video=timeline.video, windows=count, seconds=seconds)
    every = scored_windows(chain(*batched), spec.fast_scores(features), timeline, analysed=analysed)
    ranking = spec.settings.ranking
    chosen = choose_candidates(
        every, count=ranking.candidates, max_overlap=ranking.max_overlap, rank_all=True
    )
    video = ScoredVideo(
        timeline,
        tuple(chosen),
        half,
        spec.fast_kind,
        features.seconds,
        frozenset(batch.device for batch in scored if batch.device),
        tuple(batch.work for batch in scored if batch.work),
        change=features.change,
    )
    if timeline.video.key not in audited:
        return video
    return with_audit(video, count=spec.settings.audit.windows, seed=spec.settings.audit.seed)
