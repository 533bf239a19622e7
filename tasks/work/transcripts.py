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
from tasks.core.scoring.said import span_of
from tasks.core.speech.chunks import chunks, telling
from tasks.core.speech.heard import Transcript, Word
from tasks.core.speech.spans import Span
from tasks.core.speech.transcripts import in_speech, unwritten
from tasks.work.opening import opened_here
from tasks.work.spec import Missing, RunSpec

WORDS_VERSION = "1"
"""Part of what tells transcripts apart: raise it when the same model writes other words, or other times."""


def written_by(whisper: Checkpoint, spec: RunSpec) -> tuple[str, ...]:
    """What decides the words of a chunk of speech."""
    return (WORDS_VERSION, *model_identity(whisper.model, whisper.revision), spec.settings.speech.language)


def transcribed_before(scored: ScoredVideo, spec: RunSpec) -> ScoredVideo | None:
    """The same video with what is said, if none of its candidates needs the model; otherwise None.

    Without such a model, what any other has written is taken, and what none has is a failure.
    """
    scored, whisper = without_foreign_words(scored, spec), spec.whisper
    if not unwritten_chunks(scored, spec):
        return scored
    if isinstance(whisper, Missing):
        why = Failure(scored.timeline.video, Stage.SPEECH, FailureKind.FAILED, whisper.reason, whisper.detail)
        return replace(scored, failures=(not_written(why),))
    return None


def unwritten_chunks(scored: ScoredVideo, spec: RunSpec) -> list[Span]:
    """The chunks of speech in the candidates of a video that are not written down.

    Those of audited windows too, if the deep model is told what is said: it judges both alike.
    """
    timeline, whisper = scored.timeline, spec.whisper
    if (heard := timeline.heard) is None or whisper is None:
        return []
    any_model = heard.transcript.model if heard.transcript else ()
    model = any_model if isinstance(whisper, Missing) else written_by(whisper, spec)
    shown = judged(scored) if spec.settings.speech.in_prompt else scored.candidates
    return unwritten(heard, [span_of(item, timeline) for item in shown], model)


def without_foreign_words(scored: ScoredVideo, spec: RunSpec) -> ScoredVideo:
    """A video with no other transcript than one that this run may use."""
    heard, whisper = scored.timeline.heard, spec.whisper
    if heard is None or heard.transcript is None or isinstance(whisper, Missing):
        return scored
    if whisper and heard.transcript.model == written_by(whisper, spec):
        return scored
    return replace(scored, timeline=replace(scored.timeline, heard=heard.untranscribed))


def not_written(failure: Failure) -> Failure:
    """The same failure, saying what comes of it."""
    detail = f"What is said is not known, and the video is ranked all the same. {failure.detail}"
    return replace(failure, detail=detail)


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
