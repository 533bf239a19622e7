"""Analyses that need not be made twice: what one is the answer to, and how it is written down."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from tasks.core.errors import SettingsError
from tasks.core.records import Analysis, Answer, VideoRef, Window
from tasks.core.scoring.answers import parse_answer

ANSWERS_VERSION = "1"
"""Part of every key: raise it when preprocessing or generation changes what is answered."""

RECORD_VERSION = 1
"""The form of a record. One of another form is not read."""

MAX_RECORD_BYTES = 64 * 2**10
"""Longer is no record: the longest answer that the schema allows takes a few kilobytes."""

_CONTENT_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
_REDIS_URL = re.compile(r"rediss?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?(/[0-9]*)?")
_CREDENTIALS = re.compile(r"@|\b(user(name)?|pass(word)?)=", re.IGNORECASE)


def check_cache(setting: str) -> None:
    """Raise SettingsError unless this says where analyses are kept: `output`, `off` or a Redis URL.

    >>> check_cache("redis://cache.internal:6379/0")
    """
    if _CREDENTIALS.search(setting):
        # Not repeated: this is where a password would be.
        raise SettingsError(
            "the analysis cache may not name a user or a password, because settings are published with "
            "every run: write redis://host:port/0, and set HOOKLINE_REDIS_PASSWORD (and "
            "HOOKLINE_REDIS_USERNAME, where there is one) in the environment of the workers."
        )
    url = _REDIS_URL.fullmatch(setting)
    if setting not in ("output", "off") and (url is None or int(url["port"] or 6379) > 65535):
        raise SettingsError(
            f"{setting!r} is no analysis cache: write output, off, or redis://host:port/0 "
            "(rediss:// for TLS)."
        )


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
    max_new_tokens: int,
    prompt_hash: str,
) -> str:
    """64 hex digits that name what was asked about what: the same key, an answer that can be reused.

    `window` is in ticks of `fps`, `frame_size` the pixels the timeline is decoded to.
    """
    asked = {
        "answers_version": ANSWERS_VERSION,
        "video": _video_identity(video),
        "segment": [window.start, window.end, fps],
        "frame_size": frame_size,
        "max_frames": max_frames,
        "model": model_identity(model, revision),
        "quantization": quantization,
        "max_new_tokens": max_new_tokens,
        "prompt_hash": prompt_hash,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def model_identity(model: str, revision: str) -> list[str]:
    """What tells weights apart: a revision that is a hash over the files, wherever these lie."""
    return [revision] if revision.startswith("sha256:") else [revision, model]


def _video_identity(video: VideoRef) -> Sequence[str | int]:
    """What tells a video's content: a renamed or copied one is the same where the ETag says so.

    S3's ETags are the MD5 of the object, or of its parts' MD5s followed by how many there are
    (docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Others may tell versions of one
    object apart only, so the URI counts too.
    """
    made_of_content = _CONTENT_ETAG.fullmatch(video.etag) is not None
    return [video.etag, video.size_bytes, *([] if made_of_content else [video.uri])]


def analysis_json(analysis: Analysis) -> bytes:
    """The record of an analysis, as JSON; `read_analysis` gives the same one back.

    Raises:
        ValueError: there is no answer in it, or something that could not be read back.
    """
    if analysis.status != "ok" or analysis.answer is None:
        raise ValueError(f"only an answer is worth a record, not {analysis.status!r} ({analysis.reason})")
    try:
        content = _written(analysis, analysis.answer)
        if read_analysis(content) != analysis:
            raise ValueError("it would read back as another one")
    except (TypeError, ValueError) as error:
        raise ValueError(f"no record can hold this analysis ({error}): {analysis!r:.200}") from error
    return content


def read_analysis(content: bytes) -> Analysis:
    """Read a record back. It is what `analysis_json` wrote, byte for byte, or it is refused.

    Raises:
        ValueError: these bytes are no record; the message names what is wrong.
    """
    try:
        if len(content) > MAX_RECORD_BYTES:
            raise ValueError(f"{len(content)} bytes, more than {MAX_RECORD_BYTES}")
        record = json.loads(content)
        if record["version"] != RECORD_VERSION:
            raise ValueError(f"version {record['version']!r:.40}, not {RECORD_VERSION}")
        answer = parse_answer(json.dumps(record["answer"]))
        analysis = Analysis.ok(
            answer,
            reason=_text(record["reason"]),
            detail=_text(record["detail"]),
            expected_score=_expected(record["expected_score"]),
            expected_hook=_expected(record["expected_hook"]),
            expected_engagement=_expected(record["expected_engagement"]),
            frames=_count(record["frames"]),
            batch_size=_count(record["batch_size"]),
        )
        if _written(analysis, answer) != content:
            raise ValueError("not in the form that records are written in")
    # RecursionError: JSON nested thousands of levels deep.
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a record of an analysis ({error!r:.300})") from error
    return analysis


def _written(analysis: Analysis, answer: Answer) -> bytes:
    record = {
        "version": RECORD_VERSION,
        "answer": {
            "virality_score": answer.virality_score,
            "hook_quality": answer.hook_quality,
            "engagement_potential": answer.engagement_potential,
            "viral_elements": answer.viral_elements,
            "viral_moments": [
                {"timestamp": float(moment.timestamp_s), "why": moment.why} for moment in answer.viral_moments
            ],
            "reasoning": answer.reasoning,
            "recommendation": answer.recommendation,
        },
        "expected_score": _decimal(analysis.expected_score),
        "expected_hook": _decimal(analysis.expected_hook),
        "expected_engagement": _decimal(analysis.expected_engagement),
        "frames": analysis.frames,
        "batch_size": analysis.batch_size,
        "reason": analysis.reason,
        "detail": analysis.detail,
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()


def _decimal(value: float | None) -> float | None:
    # 50 and 50.0 are the same score, and are written the same.
    return value if value is None else float(value)


def _expected(value: Any) -> float | None:
    if value is not None and not (isinstance(value, float) and 0 <= value <= 100):
        raise ValueError(f"an expected score is a number from 0 to 100 or null, not {value!r}")
    return value


def _count(value: Any) -> int | None:
    if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        raise ValueError(f"a count is a positive integer or null, not {value!r}")
    return value


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"a note is a text or null, not {value!r:.40}")
    return value
