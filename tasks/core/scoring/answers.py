"""What the deep model is asked about a segment, and the exact shape of its answer."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.core.records import Answer

DEFAULT_PROMPT = """\
You are a strict editor who picks clips for TikTok and YouTube Shorts. Rate this video segment on:
1. Hook: do the first 3 seconds stop the scroll?
2. Pacing: does something new keep happening?
3. Emotional impact: does it make people laugh, gasp, care or get angry?
4. Visual appeal: is it striking, clear and well framed?
5. Storytelling and payoff: is there a build-up that is resolved?
6. Relatability: will viewers see themselves or tag a friend?
7. Trend alignment: does it fit formats and topics that spread today?
Give the overall virality, hook quality and engagement potential from 0 to 100, the viral elements \
that are present, the timestamps in seconds of the strongest moments and why, your reasoning, and \
whether to publish it. Be critical and realistic: only truly viral-worthy content scores above 70.
Answer with JSON only, on one line and in this form: {"virality_score": 0-100, "hook_quality": 0-100, \
"engagement_potential": 0-100, "viral_elements": ["..."], "viral_moments": [{"timestamp": seconds, \
"why": "..."}], "reasoning": "two sentences", "recommendation": "one sentence"}"""

ANSWER = TypeAdapter(Answer)

SCORES = ("virality_score", "hook_quality", "engagement_potential")
"""Integers from 0 to 100, which an answer begins with, in this order."""

MAX_ELEMENTS, MAX_ELEMENT_CHARS = 5, 40
MAX_MOMENTS, MAX_WHY_CHARS = 3, 80
MAX_REASONING_CHARS = 300
MAX_RECOMMENDATION_CHARS = 120


@cache  # called for each segment
def prompt_hash(prompt: str) -> str:
    """Twelve hex digits that name a prompt together with the answer's schema."""
    asked = json.dumps([prompt, answer_schema(start_s=0, end_s=1)])
    return hashlib.sha256(asked.encode()).hexdigest()[:12]


def answer_schema(*, start_s: int, end_s: int) -> dict[str, Any]:
    """JSON Schema of the answer about the segment `[start_s, end_s)`: every length is bounded."""
    score = {"type": "integer", "minimum": 0, "maximum": 100}
    moment = _object(
        timestamp={"type": "integer", "minimum": start_s, "maximum": max(start_s, end_s - 1)},
        why=_text(MAX_WHY_CHARS),
    )
    return _object(
        **dict.fromkeys(SCORES, score),
        viral_elements=_list(_text(MAX_ELEMENT_CHARS), MAX_ELEMENTS),
        viral_moments=_list(moment, MAX_MOMENTS),
        reasoning=_text(MAX_REASONING_CHARS),
        recommendation=_text(MAX_RECOMMENDATION_CHARS),
    )


def parse_answer(text: str) -> Answer:
    """Read the model's answer, which must have the types of `Answer`. Text is tidied.

    Raises:
        ValueError: the text is not JSON of this form. The message names what is wrong.
    """
    try:
        return ANSWER.validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(f"not an answer ({first_error(error)}): {text[:200]!r}") from error


def written(answer: Answer) -> dict[str, Any]:
    """An answer by the names that it has in JSON and in tables."""
    fields: dict[str, Any] = ANSWER.dump_python(answer, by_alias=True)
    return fields


def first_error(error: ValidationError) -> str:
    """What pydantic found first, and where, in one line."""
    first = error.errors(include_url=False)[0]
    return ": ".join([*(str(part) for part in first["loc"]), first["msg"]])


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Any, max_items: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": max_items}


def _text(max_chars: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": max_chars}
