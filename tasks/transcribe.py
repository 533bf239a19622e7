"""Write down what is said in the candidates of a video with Whisper. Nothing is written down twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from logging import WARNING

from tasks.core.errors import ModelError
from tasks.core.records import Failure, ScoredVideo, Stage, Timeline
from tasks.core.scoring.windows import batches
from tasks.core.secrets import redacted
from tasks.core.speech.spans import Span
from tasks.run.logs import log_event
from tasks.run.progress import step
from tasks.run.retries import WORK_PAUSES_S, attempt, is_transient, result_for, retried
from tasks.run.run import Run
from tasks.work.hearing import keep_transcript
from tasks.work.spec import Missing
from tasks.work.transcripts import (
    check_whisper,
    finally_cut,
    new_transcript,
    not_written,
    not_written_by,
    still_unwritten,
    transcribed_before,
    unwritten_chunks,
    with_kept_words,
    with_own_words,
)

KEPT_AT_ONCE = 16
"""Chunks after which what is said in them is kept: as many as a GPU hears at once, some minutes of talk."""
MAX_RUNS = 8
"""The newest runs of which it is known whether the model can be loaded."""

_loading = threading.Lock()
_loads: dict[str, Missing | None] = {}
"""For runs that have tried to load the model, why they could not; None if they could."""


@dataclass(frozen=True, slots=True)
class Transcribed:
    """A video with what is said in it, how long that took, and why it is not all there."""

    timeline: Timeline
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0


def transcribe_candidates(scored: ScoredVideo, run: Run) -> ScoredVideo:
    """The same video with what is said in its candidates, or with a failure that says why nobody knows.

    Its candidates are cut where sentences end, as far as that is known. Where nobody speaks the model is not
    even loaded.
    """
    # Other words than its own are not this run's, whatever fails below.
    scored = replace(scored, timeline=with_own_words(scored.timeline, run.spec))
    if known := transcribed_before(scored, run.spec):
        return known
    found = result_for(scored.timeline, transcribe, unwritten_chunks(scored, run.spec), scored.timeline, run)
    scored = replace(scored, timeline=found.timeline, failures=found.failures, speech_seconds=found.seconds)
    return finally_cut(scored, run.spec)


@retried("transcribe", run_name="transcribe {timeline.video.name}", pauses_s=WORK_PAUSES_S)
def transcribe(wanted: Sequence[Span], timeline: Timeline, run: Run) -> Transcribed:
    """What is said in these chunks of a video. An error that is transient is tried again.

    What is written down until something fails is kept under the output.
    """
    began, video, spec = time.perf_counter(), timeline.video, run.spec
    try:
        if missing := why_not_loaded(run):
            return Transcribed(timeline, (not_written_by(missing, timeline),))
        with step(spec.run_id, "speech", f"writing down what is said in {video.name}", video=video):
            if attempt() > 1:
                timeline = with_kept_words(timeline, spec)
            timeline = transcribed(wanted, timeline, run)
    except Exception as error:  # no words are worth a ranking
        if is_transient(error) and attempt() <= len(WORK_PAUSES_S):
            raise
        failure = not_written(Failure.from_error(video, Stage.SPEECH, error, attempts=attempt()))
        log_event(spec.run_id, "speech", failure.detail, video=video, level=WARNING, reason=failure.reason)
        return Transcribed(with_kept_words(timeline, spec), (failure,))
    return Transcribed(timeline, seconds=time.perf_counter() - began)


def why_not_loaded(run: Run) -> Missing | None:
    """Load the model, unless this run has. If it cannot be loaded, that is found out and told once a run.

    Raises:
        ModelError: memory is short, which may pass.
        WorkerLost: the worker died.
    """
    spec = run.spec
    with _loading:
        if spec.run_id not in _loads:
            with step(spec.run_id, "speech", "loading Whisper"):
                try:
                    run.do(check_whisper, spec.whisper)
                    _loads[spec.run_id] = None
                except ModelError as error:
                    if error.reason == "out_of_memory":
                        raise
                    _loads[spec.run_id] = missing = Missing(error.reason, redacted(str(error)))
                    told = f"What is said is not known in any video of this run. {missing.detail}"
                    log_event(spec.run_id, "speech", told, level=WARNING, reason=missing.reason)
            while len(_loads) > MAX_RUNS:
                del _loads[next(iter(_loads))]
        return _loads[spec.run_id]


def transcribed(wanted: Sequence[Span], timeline: Timeline, run: Run) -> Timeline:
    """The same video with what is said in these chunks. It is kept under the output a few at a time.

    Raises:
        ModelError, WorkerLost, DecodeFailed, StorageError: it cannot be written down.
    """
    began, spec, invented, words = time.perf_counter(), run.spec, 0, 0
    for part in batches(still_unwritten(wanted, timeline, spec), size=KEPT_AT_ONCE):
        new, unsaid = run.do(new_transcript, part, timeline, spec.whisper, prefer=timeline.worker)
        timeline = keep_transcript(timeline, new, spec)
        invented, words = invented + unsaid, words + len(new.words)
    transcript = timeline.heard and timeline.heard.transcript
    log_event(
        spec.run_id,
        "speech",
        "written down",
        video=timeline.video,
        seconds=time.perf_counter() - began,
        language=(transcript and transcript.language) or "not known",
        chunks=len(wanted),
        invented=invented,
        words=words,
    )
    return timeline
