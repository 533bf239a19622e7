"""What is heard in one video: the record of it, which is kept under the output, and the record's key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.speech.spans import Span

HEARING_VERSION = "1"
"""Part of every key: raise it when another track is heard, or other stretches of it count as speech."""

MAX_RECORD_BYTES = 64 * 2**20
"""Longer is no record: the words of a day of talk take some 20 MB."""

Status = Literal["ok", "no_speech", "no_sound", "failed"]
Milliseconds = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its punctuation, in milliseconds on the video's own clock."""

    start_ms: Milliseconds
    end_ms: Milliseconds
    word: str
    probability: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in some stretches of a video, the `chunks`, as the model wrote it.

    `words` lie in order of time. `language` is that of the whole video, None if it is not known for sure.
    `model` tells the model, and what else decides what it writes.
    """

    words: tuple[Word, ...]
    language: str | None
    chunks: tuple[tuple[Milliseconds, Milliseconds], ...]
    model: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What is heard in one video, which ends at `end_ms`.

    `speech` are the milliseconds from and to which somebody speaks, in order. Where the sound cannot be
    used, the status is `failed`, with a short `reason`, and nobody knows who speaks.
    """

    status: Status
    end_ms: Milliseconds
    speech: tuple[tuple[Milliseconds, Milliseconds], ...] = ()
    reason: str | None = None
    transcript: Transcript | None = None

    @classmethod
    def of(cls, speech: Sequence[Span], *, end_ms: int) -> Heard:
        """Of sound in which somebody speaks, or nobody."""
        return cls("ok" if speech else "no_speech", end_ms, tuple((begin, end) for begin, end in speech))

    @classmethod
    def failed(cls, reason: str, *, end_ms: int) -> Heard:
        return cls("failed", end_ms, reason=reason)

    @property
    def untranscribed(self) -> Heard:
        """The same without what is said."""
        return replace(self, transcript=None)

    @property
    def outcome(self) -> Heard:
        """What became of listening, and nothing that was heard."""
        return replace(self, speech=(), transcript=None)


class _Record(BaseModel):
    """What is heard as it is kept."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1]
    heard: Heard

    def content(self) -> bytes:
        record = {"version": self.version, "heard": self.heard}
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_fields)
        return text.encode()


def _fields(part: Heard | Transcript | Word) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__slots__}  # in order, as `asdict`, which copies


def heard_key(video: Sequence[str | int], *, vad: str, threshold: float) -> str:
    """The key of a record, 64 hex digits. What is heard under the same key is the same.

    `video` is what tells its content, `vad` what finds speech in it, above this `threshold`. What is said is
    not part of the key: a transcript says by itself which model wrote it.
    """
    deciding = {"version": HEARING_VERSION, "video": [*video], "vad": vad, "threshold": threshold}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def heard_json(heard: Heard) -> bytes:
    """The record of what is heard, as JSON; `read_heard` gives the same back.

    Raises:
        ValueError: there is something in it that could not be read back.
    """
    content = _Record.model_construct(version=1, heard=heard).content()
    if read_heard(content) != heard:
        raise ValueError("it would read back as another one")
    return content


def read_heard(content: bytes) -> Heard:
    """Read a record back. It is what `heard_json` wrote, byte for byte, or it is refused.

    Raises:
        ValueError: these bytes are no record; the message names what is wrong.
    """
    if len(content) > MAX_RECORD_BYTES:
        raise ValueError(f"not a record of sound ({len(content)} bytes, more than {MAX_RECORD_BYTES})")
    try:
        record = _Record.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ": ".join([*map(str, first["loc"]), first["msg"]])
        raise ValueError(f"not a record of sound ({where:.300})") from error
    if record.content() != content:
        raise ValueError("not a record of sound (not in the form that records are written in)")
    if wrong := _contradiction(record.heard):
        raise ValueError(f"not a record of sound ({wrong})")
    return record.heard


def _contradiction(heard: Heard) -> str:
    """What cannot be true of it; empty if all can."""
    edges = [0, *(edge for span in heard.speech for edge in span), heard.end_ms]
    if any(before > after for before, after in pairwise(edges)):
        return "its stretches of speech are not in order, or reach beyond the end"
    if (heard.status == "ok") != bool(heard.speech):
        return f"{len(heard.speech)} stretches of speech, and the status {heard.status}"
    if (heard.status == "failed") != (heard.reason is not None):
        return f"the status {heard.status} with the reason {heard.reason}"
    return ""


def as_heard(fields: dict[str, Any]) -> Heard:
    """What is heard, from the fields of a `Heard` as JSON holds them."""
    speech = tuple((begin, end) for begin, end in fields["speech"])
    return Heard(fields["status"], fields["end_ms"], speech, fields["reason"])
