"""The cache of analyses: the key of an analysis, and the record in which it is stored."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from tasks.core.devices import Backend
from tasks.core.errors import first_error
from tasks.core.records import Analysis, Answer, VideoRef, Window

ANSWERS_VERSION = "2"
"""Part of every key: raise it when preprocessing or generation changes what is answered."""

RECORD_VERSION: Literal[1] = 1
"""The form of a record. One of another form is not read."""

Percent = Annotated[float, Field(ge=0, le=100)]

MAX_RECORD_BYTES = 64 * 2**10
"""Longer is no record: the longest answer that the schema allows takes a few kilobytes."""

_CONTENT_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")


def analysis_key(
    video: VideoRef,
    window: Window,
    *,
    fps: int,
    frame_size: tuple[int, int],
    max_frames: int,
    model: str,
    revision: str,
    quantization: str,
    backend: Backend,
    max_new_tokens: int,
    prompt_hash: str,
    n_ticks: int,
    said_hash: str = "",
    adapter: str = "",
) -> str:
    """The key of an analysis, 64 hex digits. Analyses with the same key are the same, so one can be reused.

    `window` and the whole video's `n_ticks`, both of which the model is told, are in ticks of `fps`;
    `frame_size` is the pixels the timeline is decoded to. `said_hash` names what it is told that is said;
    empty if it is told nothing, as in all versions before. `adapter` is the revision of one, if there is one.
    """
    asked = {
        "answers_version": ANSWERS_VERSION,
        "video": video_identity(video),
        "segment": [window.start, window.end, fps],
        "frame_size": frame_size,
        "max_frames": max_frames,
        "model": model_identity(model, revision),
        "quantization": quantization,
        "backend": [backend.device, backend.dtype],
        "max_new_tokens": max_new_tokens,
        "prompt_hash": prompt_hash,
        "n_ticks": n_ticks,
        **({"said": said_hash} if said_hash else {}),
        **({"adapter": adapter} if adapter else {}),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def model_identity(model: str, revision: str) -> list[str]:
    """What tells weights apart: a revision that is a hash over the files, wherever these lie."""
    return [revision] if revision.startswith("sha256:") else [revision, model]


def video_identity(video: VideoRef) -> Sequence[str | int]:
    """What tells a video's content: a renamed or copied one is the same where the ETag says so.

    S3's ETags are the MD5 of the object, or of its parts' MD5s followed by how many there are
    (docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Others may tell versions of one
    object apart only, so the URI counts too.
    """
    made_of_content = _CONTENT_ETAG.fullmatch(video.etag) is not None
    return [video.etag, video.size_bytes, *([] if made_of_content else [video.uri])]


class _Record(BaseModel):
    """An analysis as it is kept, its fields in the order in which they are written."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)

    version: Literal[1]
    answer: Answer
    expected_score: Percent | None
    expected_hook_quality: Percent | None = Field(alias="expected_hook")
    expected_engagement_potential: Percent | None = Field(alias="expected_engagement")
    frames: PositiveInt | None
    batch_size: PositiveInt | None
    reason: str | None
    detail: str | None

    def content(self) -> bytes:
        fields = self.model_dump(mode="json", by_alias=True, warnings="error")
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def analysis_json(analysis: Analysis) -> bytes:
    """The record of an analysis, as JSON; `read_analysis` gives the same one back.

    Raises:
        ValueError: there is no answer in it, or something that could not be read back.
    """
    if analysis.status != "ok" or analysis.answer is None:
        raise ValueError(f"only an answer is worth a record, not {analysis.status!r} ({analysis.reason})")
    try:
        measured = {name: getattr(analysis, name) for name in _Record.model_fields if name != "version"}
        content = _Record(version=RECORD_VERSION, **measured).content()
        if read_analysis(content) != analysis:
            raise ValueError("it would read back as another one")
    except ValueError as error:
        raise ValueError(f"no record can hold this analysis ({error}): {analysis!r:.200}") from error
    return content


def read_analysis(content: bytes) -> Analysis:
    """Read a record back. It is what `analysis_json` wrote, byte for byte, or it is refused.

    Raises:
        ValueError: these bytes are no record; the message names what is wrong.
    """
    if len(content) > MAX_RECORD_BYTES:
        raise ValueError(f"not a record of an analysis ({len(content)} bytes, more than {MAX_RECORD_BYTES})")
    try:
        record = _Record.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"not a record of an analysis ({first_error(error):.300})") from error
    if record.content() != content:
        raise ValueError("not a record of an analysis (not in the form that records are written in)")
    return Analysis("ok", **{name: value for name, value in record if name != "version"})
