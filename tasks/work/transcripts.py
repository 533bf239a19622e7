"""What is said in the candidates of videos: known from before, or written down by a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tasks.adapters.models.checkpoints import Checkpoint, on_this_machine
from tasks.adapters.stopping import raise_if_stopped
from tasks.adapters.video.timeline import read_sound
from tasks.core.learning.audit import judged
from tasks.core.records import Failure, FailureKind, ScoredVideo, Stage, Timeline
from tasks.core.scoring.analyses import model_identity
from tasks.core.scoring.final_cuts import needed_chunks, with_final_cuts
from tasks.core.scoring.said import span_of
from tasks.core.speech.chunks import chunks, telling
from tasks.core.speech.heard import Transcript, Word
from tasks.core.speech.spans import Span
from tasks.core.speech.transcripts import in_speech, unwritten
from tasks.work.hearing import newest
from tasks.work.opening import opened_here
from tasks.work.spec import Missing, RunSpec

WORDS_VERSION = "2"
"""Part of what tells transcripts apart: raise it when the same model writes other words, or other times."""


def written_by(whisper: Checkpoint, spec: RunSpec) -> tuple[str, ...]:
    """What decides the words of a chunk of speech."""
    return (WORDS_VERSION, *model_identity(whisper.model, whisper.revision), spec.settings.speech.language)


def transcribed_before(scored: ScoredVideo, spec: RunSpec) -> ScoredVideo | None:
    """The same video in its final cuts, if none of its candidates needs the model; otherwise None.

    Without such a model, what any other has written is taken, and what none has is a failure. What this run
    may not use is not in the video (`with_own_words`).
    """
    if not unwritten_chunks(scored, spec):
        return finally_cut(scored, spec)
    if isinstance(spec.whisper, Missing):
        return finally_cut(replace(scored, failures=(not_written_by(spec.whisper, scored.timeline),)), spec)
    return None


def finally_cut(scored: ScoredVideo, spec: RunSpec) -> ScoredVideo:
    """The same video, whose candidates are cut by what is said in them, as far as that is known."""
    overlap = spec.settings.ranking.max_overlap
    return replace(
        scored, windows=tuple(with_final_cuts(scored.windows, scored.timeline, max_overlap=overlap))
    )


def unwritten_chunks(scored: ScoredVideo, spec: RunSpec) -> list[Span]:
    """The chunks of speech in the candidates of a video, or near their ends, that are not written down.

    Those of audited windows too: they are cut and judged alike.
    """
    timeline, whisper, shown = scored.timeline, spec.whisper, judged(scored)
    if (heard := timeline.heard) is None or whisper is None:
        return []
    if isinstance(whisper, Missing):
        spans = [span_of(item, timeline) for item in shown]
        return unwritten(heard, spans, heard.transcript.model if heard.transcript else ())
    chunked = chunks(heard.speech, end_ms=heard.end_ms)
    needed = {chunk for item in shown for chunk in needed_chunks(item, timeline, chunked)}
    return still_unwritten(sorted(needed), timeline, spec)


def still_unwritten(wanted: Sequence[Span], timeline: Timeline, spec: RunSpec) -> list[Span]:
    """Those of these chunks that this run's model has not written down."""
    transcript = timeline.heard and timeline.heard.transcript
    if not transcript or not isinstance(spec.whisper, Checkpoint):
        return list(wanted)
    written = set(transcript.chunks if transcript.model == written_by(spec.whisper, spec) else ())
    return [chunk for chunk in wanted if chunk not in written]


def with_own_words(timeline: Timeline, spec: RunSpec) -> Timeline:
    """A video with no other transcript than one that this run may use."""
    heard, whisper = timeline.heard, spec.whisper
    if heard is None or heard.transcript is None or isinstance(whisper, Missing):
        return timeline
    if whisper and heard.transcript.model == written_by(whisper, spec):
        return timeline
    return replace(timeline, heard=heard.untranscribed)


def with_kept_words(timeline: Timeline, spec: RunSpec) -> Timeline:
    """The same video with what has been written down since, in an earlier try or by another run."""
    return with_own_words(newest(timeline, spec), spec)


def not_written(failure: Failure) -> Failure:
    """The same failure, saying what comes of it."""
    detail = f"What is said is not known, and the video is ranked all the same. {failure.detail}"
    return replace(failure, detail=detail)


def not_written_by(missing: Missing, timeline: Timeline) -> Failure:
    """The failure of a video for which there is no model."""
    why = Failure(timeline.video, Stage.SPEECH, FailureKind.FAILED, missing.reason, missing.detail)
    return not_written(why)


def new_transcript(
    wanted: Sequence[Span], timeline: Timeline, whisper: Checkpoint, spec: RunSpec
) -> tuple[Transcript, int]:
    """What is said in these chunks of a video; and in how many of them nothing but what nobody said.

    Raises:
        ModelError: the model cannot be loaded, or not even one chunk fits the memory.
        DecodeFailed, StorageError: the video cannot be opened on this machine.
        RunEnded: the run was stopped.
    """
    from tasks.adapters.models.whisper.model import load_whisper  # PyTorch takes seconds to import

    model = load_whisper(on_this_machine(whisper), device=spec.settings.engine.device)
    opened, heard = opened_here(timeline, spec), timeline.heard
    if heard is None:
        raise ValueError("nobody has listened to this video")
    read, model_used = partial(read_sound, opened), written_by(whisper, spec)
    if heard.transcript and heard.transcript.model == model_used:
        language = heard.transcript.language
    else:
        told_by = telling(chunks(heard.speech, end_ms=heard.end_ms))
        language = spec.settings.speech.language or model.language(read, told_by)
    words, invented = list[Word](), 0
    for chunk in model.hear(read, wanted, language=language):
        raise_if_stopped(opened.path)
        words += in_speech(chunk.words, heard.speech)
        invented += chunk.invented is not None
    return Transcript(tuple(words), language, tuple(wanted), model_used), invented


def check_whisper(whisper: Checkpoint, spec: RunSpec) -> None:
    """Load the model that writes down what is said; the process keeps it.

    Raises:
        ModelError: it cannot be loaded.
    """
    from tasks.adapters.models.whisper.model import load_whisper

    load_whisper(on_this_machine(whisper), device=spec.settings.engine.device)
