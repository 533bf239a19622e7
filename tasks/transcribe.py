"""Write down what is said in the candidates of a video with Whisper. Nothing is written down twice."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from logging import WARNING

from tasks.core.records import Failure, ScoredVideo, Stage, Timeline
from tasks.core.speech.spans import Span
from tasks.run.logs import log_event
from tasks.run.progress import step
from tasks.run.retries import WORK_PAUSES_S, attempt, is_transient, result_for, retried
from tasks.run.run import Run
from tasks.work.hearing import keep_transcript
from tasks.work.transcripts import (
    check_whisper,
    new_transcript,
    not_written,
    transcribed_before,
    unwritten_chunks,
    without_foreign_words,
)

_loading = threading.Lock()
_loaded_in: deque[str] = deque(maxlen=8)
"""The newest runs that have loaded the model: each does with its first video in which somebody speaks."""


def transcribe_candidates(scored: ScoredVideo, run: Run) -> ScoredVideo:
    """The same video with what is said in its candidates, or with a failure that says why nobody knows.

    Where nobody speaks the model is not even loaded.
    """
    scored = without_foreign_words(scored, run.spec)  # they are not this run's, whatever fails below
    if known := transcribed_before(scored, run.spec):
        return known
    return result_for(scored.timeline, transcribe, unwritten_chunks(scored, run.spec), scored, run)


@retried("transcribe", run_name="transcribe {scored.timeline.video.name}", pauses_s=WORK_PAUSES_S)
def transcribe(wanted: list[Span], scored: ScoredVideo, run: Run) -> ScoredVideo:
    """The same video with these chunks of its speech. An error that is transient is tried again."""
    began, video = time.perf_counter(), scored.timeline.video
    try:
        load_once(run)
        with step(run.spec.run_id, "speech", f"writing down what is said in {video.name}", video=video):
            timeline = transcribed(wanted, scored.timeline, run)
    except Exception as error:  # no words are worth a ranking
        if is_transient(error) and attempt() <= len(WORK_PAUSES_S):
            raise
        failure = not_written(Failure.from_error(video, Stage.SPEECH, error, attempts=attempt()))
        log_event(
            run.spec.run_id, "speech", failure.detail, video=video, level=WARNING, reason=failure.reason
        )
        return replace(scored, failures=(failure,))
    return replace(scored, timeline=timeline, speech_seconds=time.perf_counter() - began)


def load_once(run: Run) -> None:
    """Load the model, unless this run has.

    Raises:
        ModelError, WorkerLost: it cannot be loaded.
    """
    with _loading:
        if run.spec.run_id not in _loaded_in:
            with step(run.spec.run_id, "speech", "loading Whisper"):
                run.do(check_whisper, run.spec.whisper)
            _loaded_in.append(run.spec.run_id)


def transcribed(wanted: Sequence[Span], timeline: Timeline, run: Run) -> Timeline:
    """The same video with what is said in these chunks, which is kept under the output.

    Raises:
        ModelError, WorkerLost, DecodeFailed, StorageError: it cannot be written down.
    """
    began = time.perf_counter()
    new, invented = run.do(new_transcript, wanted, timeline, run.spec.whisper, prefer=timeline.worker)
    counts = {"chunks": len(wanted), "invented": invented, "words": len(new.words)}
    seconds, language = time.perf_counter() - began, new.language or "not known"
    log_event(
        run.spec.run_id,
        "speech",
        "written down",
        video=timeline.video,
        seconds=seconds,
        language=language,
        **counts,
    )
    return keep_transcript(timeline, new, run.spec)
