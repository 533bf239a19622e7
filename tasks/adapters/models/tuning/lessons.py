"""What VideoLLaMA3 is taught: segments, what is asked about them, and the answers it should have given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.videollama3.grammar import AnswerGrammar, AnswerWriter
from tasks.core.errors import ModelError
from tasks.core.learning.tuning import MAX_MOVE
from tasks.core.records import Answer, Window
from tasks.core.scoring.answers import FIELDS, SCORES, AnswerOrder, written

if TYPE_CHECKING:
    from tasks.adapters.models.videollama3.questions import Question

SCORE = SCORES[0]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A segment of a video of `n_ticks`, its earlier answer, and the `score` that it should have had.

    The video's frames lie in the file `frames` (uint8, `ticks x height x width x 3`), one for each of
    `ticks`. `said` is what the model is told that is said.
    """

    video: str
    frames: str
    ticks: tuple[int, ...]
    window: Window
    fps: int
    n_ticks: int
    said: str
    answer: Answer
    score: int


REASON = "reason"
"""The file beside a job that says why it failed."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that is needed to tune a checkpoint, on so many `gpus` (0 = all).

    The frames lie in `folder`, and there the adapter is put.
    What is finished of it is kept under `unfinished` in the store `output` after every epoch.
    """

    checkpoint: Checkpoint
    device: str
    prompt: str
    order: AnswerOrder
    max_frames: int
    max_new_tokens: int
    lessons: tuple[Lesson, ...]
    epochs: int
    learning_rate: float
    folder: Path
    output: str
    gpus: int = 0

    @property
    def digest(self) -> str:
        """Twelve hex digits over all that decides the adapter, wherever it is made."""
        places = ("folder", "output", "gpus", "checkpoint", "lessons")
        deciding = {name: getattr(self, name) for name in self.__slots__ if name not in places}
        lessons = [asdict(lesson) | {"frames": ""} for lesson in self.lessons]
        parts = [deciding, self.checkpoint.model, self.checkpoint.revision, lessons]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def room(self) -> int:
        """Tokens that an earlier answer may take: a few more than it took, as its text was tidied since."""
        return 2 * self.max_new_tokens

    @property
    def unfinished(self) -> str:
        return f"adapters/unfinished/{self.digest}.safetensors"


@dataclass(frozen=True, slots=True)
class WrittenLesson:
    """An answer token by token, as the deep stage writes it.

    `texts` are the places of the tokens of its texts that the grammar leaves open; `digits` those of the
    overall score, each with the digits before it. Texts behind a score that moves far are none of them: they
    argue for another one. Those before it are, or the score would be learnt behind texts that nobody writes.
    """

    tokens: Sequence[int]
    texts: Sequence[int]
    digits: Sequence[tuple[int, str]]


def question_of(job: Job, lesson: Lesson) -> Question:
    """What the deep stage asks about the segment of a lesson."""
    from tasks.adapters.models.videollama3.questions import Question  # takes torch, which not all here need

    said = {lesson.window: lesson.said} if lesson.said else {}
    return Question(job.prompt, job.order, lesson.fps, lesson.n_ticks, job.max_new_tokens, said)


def writable(job: Job, grammar: AnswerGrammar) -> tuple[list[Lesson], str]:
    """The lessons whose answers can be written token by token; and why the others cannot be.

    Raises:
        ModelError: none can be.
    """
    found, why_not = list[Lesson](), ""
    for lesson in job.lessons:
        schema = question_of(job, lesson).schema(lesson.window)
        try:
            write_lesson(lesson, schema, grammar, score=lesson.score, order=job.order, room=job.room)
            found.append(lesson)
        except ValueError as error:
            why_not = str(error)
    if not found:
        raise ModelError(f"None of {len(job.lessons)} earlier answers can be written again: {why_not}")
    return found, why_not


def write_lesson(
    lesson: Lesson,
    schema: dict[str, Any],
    grammar: AnswerGrammar,
    *,
    score: int,
    order: AnswerOrder,
    room: int,
) -> WrittenLesson:
    """The earlier answer to a lesson with this overall score in it; `room` is how many tokens it may have.

    Raises:
        ValueError: the grammar does not let such an answer through.
    """
    text, spans = _text(lesson.answer, score, order)
    writer = AnswerWriter(grammar, schema, max_new_tokens=room)
    plain = grammar.tokenizer.tokenize_bytes(text)
    begin, end = spans.pop(SCORE)
    texts, digits = list[int](), list[tuple[int, str]]()
    while not writer.finished:
        done = grammar.tokenizer.decode_bytes(writer.tokens)
        if not text.startswith(done):
            raise ValueError(f"the grammar writes {done[-40:]!r} where the answer has another text")
        at, place = len(writer.tokens), len(done)
        rest = plain[at:] if writer.tokens == plain[:at] else grammar.tokenizer.tokenize_bytes(text[place:])
        if not rest or writer.matcher.validate_tokens(rest[:1]) != 1:
            raise ValueError(f"the grammar does not allow {text[place : place + 40]!r}")
        token = grammar.tokenizer.decode_bytes(rest[:1])
        if begin <= place <= end:
            digits.append((at, text[begin:place].decode()))
        elif any(first < place + len(token) and place < last for first, last in spans.values()):
            texts.append(at)
        writer.write(rest[:1])
    if grammar.tokenizer.decode_bytes(writer.tokens) != text:
        raise ValueError("the grammar ends it before its end")
    if abs(lesson.score - lesson.answer.virality_score) > MAX_MOVE:
        texts = [place for place in texts if place < digits[0][0]]
    return WrittenLesson(writer.tokens, texts, digits)


def _text(answer: Answer, score: int, order: AnswerOrder) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """An answer as JSON, and from where to where the overall score and the texts lie in it."""
    fields = written(answer) | {SCORE: score}
    fields["viral_moments"] = [
        {**moment, "timestamp": round(moment["timestamp"])} for moment in fields["viral_moments"]
    ]
    text, spans = b"{", {}
    for name in FIELDS[order]:
        text += b", " * (len(text) > 1) + f'"{name}": '.encode()
        value = json.dumps(fields[name], ensure_ascii=False).encode()
        if name == SCORE or name not in SCORES:
            spans[name] = (len(text), len(text) + len(value))
        text += value
    return text + b"}", spans
