"""The cache's keys and records: what tells two analyses apart, and reading one back strictly."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.devices import Backend
from tasks.core.records import Analysis, Answer, Moment, VideoRef, Window
from tasks.core.scoring import analyses
from tasks.core.scoring.analyses import (
    MAX_RECORD_BYTES,
    analysis_json,
    analysis_key,
    read_analysis,
)

ANSWER = Answer(
    virality_score=72,
    hook_quality=0,
    engagement_potential=100,
    viral_elements=("surprise", "ünï-ćode 視頻 👩\u200d🚀"),
    viral_moments=(Moment(33.0, 'the "glass" falls'), Moment(0.5, "")),
    reasoning="It builds up \\ and pays off.",
    recommendation="Publish.",
)
BARE = Analysis.ok(replace(ANSWER, viral_elements=(), viral_moments=(), reasoning=""))
FULL = Analysis.ok(
    ANSWER,
    reason="fewer_frames",
    detail="memory allowed 64 frames, not 128",
    expected_score=71.25,
    expected_hook_quality=0.0,
    expected_engagement_potential=100.0,
    frames=64,
    batch_size=4,
)
RECORD: dict[str, Any] = json.loads(analysis_json(FULL))

S3_VIDEO = VideoRef("s3://bucket/a.mp4", "0123456789abcdef" * 2, 1000)
PARTS_VIDEO = replace(S3_VIDEO, etag=S3_VIDEO.etag + "-12")
FOLDER_VIDEO = VideoRef("file:///videos/a.mp4", "3e8-17a1b2c3d4e5f607", 1000)
OPAQUE_VIDEO = replace(S3_VIDEO, etag="opaque")

ASKED: dict[str, Any] = {
    "video": S3_VIDEO,
    "window": Window(0, 59),
    "fps": 1,
    "frame_size": (448, 252),
    "max_frames": 128,
    "model": "DAMO-NLP-SG/VideoLLaMA3-2B",
    "revision": "8f3c",
    "quantization": "none",
    "backend": Backend("cuda", "bfloat16"),
    "max_new_tokens": 320,
    "prompt_hash": "0123456789ab",
    "n_ticks": 290,
    "said_hash": "",
    "adapter": "",
}


def key(**changes: Any) -> str:
    asked = {**ASKED, **changes}
    return analysis_key(asked.pop("video"), asked.pop("window"), **asked)


def written(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("ingredient", "value"),
    [
        ("video", replace(S3_VIDEO, etag="f" * 32)),
        ("video", replace(S3_VIDEO, size_bytes=1001)),
        ("video", PARTS_VIDEO),
        ("window", Window(1, 59)),
        ("window", Window(0, 60)),
        ("fps", 2),
        ("frame_size", (252, 448)),
        ("max_frames", 64),
        ("model", "someone/VideoLLaMA3-2B"),
        ("revision", "8f3d"),
        ("quantization", "int8"),
        ("backend", Backend("cpu", "bfloat16")),
        ("backend", Backend("cuda", "float32")),
        ("max_new_tokens", 321),
        ("prompt_hash", "0123456789ac"),
        ("n_ticks", 291),
        ("said_hash", "0123456789ab"),
        ("adapter", "sha256:0123456789ab"),
    ],
    ids=str,
)
def test_every_ingredient_changes_the_key(ingredient: str, value: object) -> None:
    assert key(**{ingredient: value}) != key() == key()


def test_every_ingredient_is_among_those_tested() -> None:
    names = list(ASKED)
    assert names == [name for name in analysis_key.__annotations__ if name != "return"]


def test_a_segment_in_which_nothing_is_said_has_the_key_that_it_had_before_anybody_listened() -> None:
    assert key() == "fdb7a0465ffdb8afe8e0bc8891db041bb51e3bd8137878ca88cd64638f18d05d"


def test_a_key_is_64_hex_digits_and_changes_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    assert len(before) == 64
    assert int(before, 16) >= 0
    monkeypatch.setattr(analyses, "ANSWERS_VERSION", "another")
    assert key() != before


@pytest.mark.parametrize(
    ("video", "is_the_same"),
    [(S3_VIDEO, True), (PARTS_VIDEO, True), (FOLDER_VIDEO, False), (OPAQUE_VIDEO, False)],
    ids=lambda value: getattr(value, "etag", value),
)
def test_a_copied_video_is_the_same_where_the_etag_is_made_of_content(
    video: VideoRef, is_the_same: bool
) -> None:
    copied = replace(video, uri="s3://other/renamed.mp4")
    assert (key(video=video) == key(video=copied)) is is_the_same


@pytest.mark.parametrize(("revision", "is_the_same"), [("sha256:0123456789ab", True), ("8f3c", False)])
def test_a_moved_model_is_the_same_where_the_revision_is_made_of_content(
    revision: str, is_the_same: bool
) -> None:
    here, there = key(model="/models/a", revision=revision), key(model="/elsewhere/a", revision=revision)
    assert (here == there) is is_the_same


def test_a_name_that_is_no_text_still_has_a_key() -> None:
    assert key(video=replace(FOLDER_VIDEO, uri="file:///videos/\udcff.mp4")) != key(video=FOLDER_VIDEO)


@pytest.mark.parametrize("analysis", [FULL, BARE, replace(FULL, expected_score=None, frames=None)])
def test_an_analysis_is_read_back_as_it_was(analysis: Analysis) -> None:
    assert read_analysis(analysis_json(analysis)) == analysis


def test_a_record_has_the_bytes_that_it_had_when_the_first_were_written() -> None:
    digest = hashlib.sha256(analysis_json(FULL)).hexdigest()
    assert digest == "0c3c698c8f837df0351c6ad391adad9f012b8b806fe926e929e931b3cdce4949"


TIDY = st.text(st.characters(exclude_categories=("Cc", "Cs"))).map(str.strip)
SCORE = st.integers(0, 100)
EXPECTED = st.none() | st.floats(0, 100)
COUNT = st.none() | st.integers(1, 500)
NOTE = st.none() | st.text(st.characters(exclude_categories=("Cs",)))


@given(
    answer=st.builds(
        Answer,
        virality_score=SCORE,
        hook_quality=SCORE,
        engagement_potential=SCORE,
        viral_elements=st.lists(TIDY, max_size=5).map(tuple),
        viral_moments=st.lists(st.builds(Moment, st.floats(0, 1e6), TIDY), max_size=3).map(tuple),
        reasoning=TIDY,
        recommendation=TIDY,
    ),
    notes=st.tuples(NOTE, NOTE),
    expected=st.tuples(EXPECTED, EXPECTED, EXPECTED),
    counts=st.tuples(COUNT, COUNT),
)
def test_any_answer_is_read_back_as_it_was(
    answer: Answer, notes: tuple[Any, ...], expected: tuple[Any, ...], counts: tuple[Any, ...]
) -> None:
    analysis = Analysis("ok", *notes, answer, *expected, *counts)
    assert read_analysis(analysis_json(analysis)) == analysis


def test_a_whole_expected_score_may_be_an_integer() -> None:
    assert read_analysis(analysis_json(replace(FULL, expected_score=50))).expected_score == 50.0


@pytest.mark.parametrize(
    "analysis",
    [
        Analysis.failed("out_of_memory", "too little"),
        Analysis.skipped("disabled"),
        replace(FULL, answer=None),
        replace(FULL, status="failed"),
        replace(FULL, expected_score=float("nan")),
        replace(FULL, expected_hook_quality=100.5),
        replace(FULL, expected_engagement_potential="50"),
        replace(FULL, frames=0),
        replace(FULL, batch_size=2.0),
        replace(FULL, answer=replace(ANSWER, virality_score=101)),
        replace(FULL, answer=replace(ANSWER, virality_score={1})),
        replace(FULL, answer=replace(ANSWER, reasoning=" not tidied\n")),
        replace(FULL, answer=replace(ANSWER, reasoning="half a pair: \ud800")),
        replace(FULL, detail="x" * MAX_RECORD_BYTES),
    ],
)
def test_what_would_not_read_back_is_not_written(analysis: Analysis) -> None:
    with pytest.raises(ValueError, match=r"only an answer|no record can hold"):
        analysis_json(analysis)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("version", "1"),
        ("version", True),
        ("version", None),
        ("expected_score", -0.1),
        ("expected_score", 100.1),
        ("expected_score", float("nan")),
        ("expected_score", float("inf")),
        ("expected_hook", "50"),
        ("expected_hook", True),
        ("expected_hook", 50),
        ("expected_engagement", []),
        ("frames", 0),
        ("frames", True),
        ("frames", 64.0),
        ("batch_size", -1),
        ("batch_size", "4"),
        ("expected_hook", 10**400),
        ("reason", 7),
        ("detail", ["x"]),
        ("answer", None),
        ("answer", "text"),
        ("answer", {**RECORD["answer"], "virality_score": 101}),
        ("answer", {**RECORD["answer"], "virality_score": True}),
        ("answer", {**RECORD["answer"], "viral_elements": "surprise"}),
        ("answer", {**RECORD["answer"], "reasoning": " not tidied"}),
        ("answer", {**RECORD["answer"], "more": 1}),
        ("more", 1),
    ],
)
def test_a_field_of_another_kind_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="not a record of an analysis"):
        read_analysis(written({**RECORD, field: value}))


@pytest.mark.parametrize("field", RECORD)
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        read_analysis(written({name: value for name, value in RECORD.items() if name != field}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'{"version": ' + b"1" * 5000 + b"}",
        b"[" * 50_000,
        b'{"version": 1, "answer": ' + b"[" * 50_000,
        b'{"version": 1, "answer": ' + b"[" * 900 + b"]" * 900 + b"}",
        b"\xff\xfe" + analysis_json(FULL),
        analysis_json(FULL) + b"\n",
        analysis_json(FULL)[:-1],
        analysis_json(FULL).decode().encode("utf-16"),
        json.dumps(RECORD, indent=1).encode(),
        b" " * MAX_RECORD_BYTES + analysis_json(FULL),
        pickle.dumps(FULL),
        pickle.dumps({"version": 1}, protocol=0),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a record of an analysis"):
        read_analysis(content)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(RECORD)) | st.text(), inner),
    max_leaves=12,
)


@given(st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_nothing_but_value_error_is_ever_raised(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a record of an analysis"):
        read_analysis(content)


@given(field=st.sampled_from(list(RECORD)), value=ANY_JSON)
def test_one_odd_field_gives_an_analysis_or_value_error(field: str, value: object) -> None:
    try:
        content = written({**RECORD, field: value})
        analysis = read_analysis(content)
    except ValueError:
        return
    assert analysis_json(analysis) == content


@given(at=st.integers(0, len(analysis_json(FULL)) - 1), byte=st.integers(0, 255))
def test_one_odd_byte_gives_an_analysis_or_value_error(at: int, byte: int) -> None:
    content = bytearray(analysis_json(FULL))
    content[at] = byte
    try:
        analysis = read_analysis(bytes(content))
    except ValueError:
        return
    assert analysis_json(analysis) == content
