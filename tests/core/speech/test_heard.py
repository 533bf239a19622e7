"""The record of what is heard: it reads back as it was, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.speech import heard as module
from tasks.core.speech.heard import Heard, Transcript, Word, heard_json, heard_key, read_heard

SPOKEN = Heard.of([(320, 2048), (2112, 5000)], end_ms=5000)
WRITTEN = replace(
    SPOKEN,
    transcript=Transcript(
        (Word(320, 700, 'He said "no".', 0.75), Word(700, 2048, "ünï 視頻\n</s>{{", 1.0)),
        "en",
        ((320, 2048),),
        ("openai/whisper-base", "sha256:01"),
    ),
)
RECORDS = {
    "ok": SPOKEN,
    "no_speech": Heard.of([], end_ms=5000),
    "no_sound": Heard("no_sound", 5000),
    "failed": Heard.failed("sound_unreadable", end_ms=5000),
    "transcribed": WRITTEN,
    "another language": replace(WRITTEN, transcript=replace(WRITTEN.transcript, language=None, words=())),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_back_as_it_was(name: str) -> None:
    assert read_heard(heard_json(RECORDS[name])) == RECORDS[name]


@given(
    st.lists(st.integers(1, 10_000), max_size=40).map(lambda steps: steps[: len(steps) // 2 * 2]),
    st.integers(0, 100),
)
def test_whatever_is_heard_is_read_back(steps: list[int], rest: int) -> None:
    edges = [sum(steps[: n + 1]) for n in range(len(steps))]
    heard = Heard.of(list(zip(edges[::2], edges[1::2], strict=True)), end_ms=sum(steps) + rest)
    assert read_heard(heard_json(heard)) == heard
    assert heard.status == ("ok" if edges else "no_speech")


def changed(**fields: Any) -> bytes:
    record = json.loads(heard_json(SPOKEN))
    record["heard"] |= fields
    return json.dumps(record, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"{}",
        heard_json(SPOKEN)[:-10],
        heard_json(SPOKEN) + b"\n",
        heard_json(SPOKEN).replace(b'"version":1', b'"version":2'),
        heard_json(SPOKEN).replace(b'"version":1', b'"version":"1"'),
        changed(more=1),
        changed(status="perhaps"),
        changed(status="no_speech"),
        changed(status="failed"),
        changed(reason="but why"),
        changed(speech=[]),
        changed(speech=[[320, 2048], [2000, 5000]]),
        changed(speech=[[320, 2048, 1]]),
        changed(speech=[[-1, 2048]]),
        changed(speech=[[0.5, 2048]]),
        changed(end_ms=4999),
        changed(transcript={"words": []}),
    ],
)
def test_what_is_no_record_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a record of sound"):
        read_heard(content)


def test_a_record_without_end_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORD_BYTES", len(heard_json(SPOKEN)) - 1)
    with pytest.raises(ValueError, match="more than"):
        read_heard(heard_json(SPOKEN) + b" ")


@pytest.mark.parametrize("odd", [replace(SPOKEN, speech=((5, 1),)), replace(SPOKEN, end_ms=1)])
def test_what_could_not_be_read_back_is_not_written(odd: Heard) -> None:
    with pytest.raises(ValueError, match="not a record of sound"):
        heard_json(odd)


def test_what_became_of_listening_says_nothing_of_what_was_heard() -> None:
    assert WRITTEN.untranscribed == SPOKEN
    assert (WRITTEN.outcome.status, WRITTEN.outcome.speech, WRITTEN.outcome.transcript) == ("ok", (), None)


@pytest.mark.parametrize(
    "change", [{"video": ["etag", 2]}, {"vad": "other"}, {"threshold": 0.41}, {"version": "another"}]
)
def test_every_ingredient_changes_the_key(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"video": ["etag", 1], "vad": "weights", "threshold": 0.4}
    before = heard_key(asked["video"], vad=asked["vad"], threshold=asked["threshold"])
    assert len(before) == 64
    if version := change.pop("version", ""):
        monkeypatch.setattr(module, "HEARING_VERSION", version)
    asked |= change
    assert heard_key(asked["video"], vad=asked["vad"], threshold=asked["threshold"]) != before
