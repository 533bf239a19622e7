"""What is heard is kept once, and found again by whoever hears the same."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.storage import Store
from tasks.adapters.video.sound import weights
from tasks.core.errors import StorageError
from tasks.core.records import Timeline, VideoRef
from tasks.core.speech.heard import Heard, Transcript, Word, heard_json
from tasks.work.hearing import keep_heard, keep_transcript, key_of, recall_heard
from tasks.work.spec import RunSpec
from tests.spec import make_spec

VIDEO = VideoRef("s3://bucket/a.mp4", "0123456789abcdef" * 2, 1000)
OTHER = replace(VIDEO, etag="fedcba9876543210" * 2)
SPOKEN = Heard.of([(1000, 3000)], end_ms=5000)
WRITTEN = replace(SPOKEN, transcript=Transcript((), "en", ((1000, 3000),), ("whisper",)))


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return replace(make_spec("unused", tmp_path / "out"), run_id=tmp_path.name)


def opened(heard: Heard | None, video: VideoRef = VIDEO) -> Timeline:
    return Timeline(video, "frames", 5, 1, 28, 28, 5.0, "pyav", heard=heard)


def later(spec: RunSpec, **speech: Any) -> RunSpec:
    """The next run, with other settings of speech."""
    group = spec.settings.speech.model_copy(update=speech)
    settings = spec.settings.model_copy(update={"speech": group})
    return replace(spec, run_id=f"{spec.run_id}-later", settings=settings)


@pytest.mark.parametrize(
    "heard", [SPOKEN, Heard.of([], end_ms=5000), Heard("no_sound", 5000), Heard.failed("why", end_ms=5000)]
)
def test_a_later_run_knows_what_was_heard(spec: RunSpec, heard: Heard) -> None:
    assert keep_heard(opened(heard), spec).heard == heard
    assert recall_heard([OTHER, VIDEO], later(spec)) == {VIDEO: heard}
    renamed = replace(VIDEO, uri="s3://bucket/b.mp4")  # its ETag tells the content
    assert recall_heard([renamed], later(spec)) == {renamed: heard}
    assert recall_heard([VIDEO], later(spec, threshold=0.5)) == {}
    assert recall_heard([VIDEO], later(spec, enabled=False)) == {}


def test_a_record_is_written_once_and_keeps_what_is_said(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_heard(opened(WRITTEN), spec)
    written: list[str] = []
    monkeypatch.setattr(Store, "write_bytes", lambda self, name, content: written.append(name))
    assert keep_heard(opened(SPOKEN), later(spec)).heard == WRITTEN
    assert written == []
    assert keep_heard(opened(replace(SPOKEN, end_ms=5001)), later(spec)).heard == replace(SPOKEN, end_ms=5001)
    assert len(written) == 1


def test_two_runs_that_write_down_chunks_of_a_video_lose_none(spec: RunSpec) -> None:
    spoken = Heard.of([(1000, 3000), (4000, 4900)], end_ms=5000)
    first, second = Word(1000, 1500, " one", 0.9), Word(4000, 4500, " two", 0.8)
    one, other = keep_heard(opened(spoken), spec), keep_heard(opened(spoken), later(spec))
    keep_transcript(one, Transcript((first,), "en", ((900, 3100),), ("whisper",)), spec)
    keep_transcript(other, Transcript((second,), "en", ((3900, 5000),), ("whisper",)), later(spec))
    # Both may have written the same chunk.
    both = keep_transcript(one, Transcript((first,), "en", ((900, 3100),), ("whisper",)), spec)
    (heard,) = recall_heard([VIDEO], later(spec)).values()
    assert heard == both.heard
    assert heard.transcript == Transcript((first, second), "en", ((900, 3100), (3900, 5000)), ("whisper",))


def test_without_listening_nothing_is_kept(spec: RunSpec, tmp_path: Path) -> None:
    keep_heard(opened(None), spec)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("harm", [b"", b"garbage", heard_json(WRITTEN)[:-1]])
def test_a_record_that_does_not_read_is_none_and_is_written_anew(
    spec: RunSpec, tmp_path: Path, harm: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    keep_heard(opened(SPOKEN), spec)
    (file,) = (tmp_path / "out" / "speech").rglob("*.json")
    assert file.name == f"{key_of(VIDEO, spec)}.json"
    file.write_bytes(harm)
    assert recall_heard([VIDEO], later(spec)) == {}
    assert "speech record" in caplog.text
    keep_heard(opened(SPOKEN), later(spec))
    assert recall_heard([VIDEO], later(spec)) == {VIDEO: SPOKEN}


def test_an_output_that_cannot_be_reached_costs_no_video(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def unreachable(self: Store, name: str) -> bytes:
        calls.append(name)
        raise StorageError("The network is down.", reason="unavailable", retryable=True)

    monkeypatch.setattr(Store, "read_bytes", unreachable)
    for _ in range(3):
        assert keep_heard(opened(SPOKEN), spec).heard == SPOKEN
    assert len(calls) == 1
    # Ranked again without its cuts, a video would stay so.
    with pytest.raises(StorageError, match="The network is down"):
        recall_heard([VIDEO], later(spec))
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == ["The speech record cache is not used for 60 s. The network is down."]


def test_another_library_is_shared(spec: RunSpec, tmp_path: Path) -> None:
    keep_heard(opened(SPOKEN), replace(spec, library=str(tmp_path / "library")))
    assert not (tmp_path / "out").exists()
    job = replace(spec, run_id="job", library=str(tmp_path / "library"))
    assert recall_heard([VIDEO], job) == {VIDEO: SPOKEN}


def test_without_its_weights_nothing_can_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    weights.vad_identity.cache_clear()
    assert len(weights.vad_identity()) == 12
    weights.vad_identity.cache_clear()
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    assert weights.vad_identity() == "none"
    weights.vad_identity.cache_clear()


def test_what_a_run_has_written_down_stays_when_another_model_writes_meanwhile(spec: RunSpec) -> None:
    first, second = [(1000, 3000)], [(3500, 4500)]
    heard = Heard.of([*first, *second], end_ms=5000)
    mine = keep_transcript(
        keep_heard(opened(heard), spec), Transcript((), "en", tuple(first), ("whisper",)), spec
    )
    other = Transcript((), "en", tuple(first), ("another",))
    keep_transcript(opened(heard), other, later(spec))
    done = keep_transcript(mine, Transcript((), "en", tuple(second), ("whisper",)), spec)
    assert done.heard
    assert done.heard.transcript
    assert done.heard.transcript.chunks == (*first, *second)
