"""The answer asked of the deep model: its prompt, its schema, and reading it back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Answer, Moment
from tasks.core.scoring.answers import DEFAULT_PROMPT, answer_schema, parse_answer, prompt_hash

GOOD: dict[str, Any] = {
    "virality_score": 72,
    "hook_quality": 0,
    "engagement_potential": 100,
    "viral_elements": ["surprise"],
    "viral_moments": [{"timestamp": 33, "why": "the glass falls"}],
    "reasoning": "It builds up.",
    "recommendation": "Publish.",
}

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(GOOD)) | st.text(), inner),
    max_leaves=12,
)


def test_an_answer_is_read_back() -> None:
    assert parse_answer(json.dumps(GOOD)) == Answer(
        virality_score=72,
        hook_quality=0,
        engagement_potential=100,
        viral_elements=("surprise",),
        viral_moments=(Moment(33.0, "the glass falls"),),
        reasoning="It builds up.",
        recommendation="Publish.",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("virality_score", 101),
        ("virality_score", -1),
        ("virality_score", 50.0),
        ("virality_score", True),
        ("hook_quality", "50"),
        ("engagement_potential", None),
        ("viral_elements", "surprise"),
        ("viral_elements", [1]),
        ("viral_moments", {"timestamp": 1}),
        ("viral_moments", [{"timestamp": 1}]),
        ("viral_moments", [{"timestamp": True, "why": ""}]),
        ("viral_moments", [{"timestamp": float("nan"), "why": ""}]),
        ("viral_moments", [{"timestamp": float("inf"), "why": ""}]),
        ("viral_moments", [{"timestamp": 10**400, "why": ""}]),
        ("viral_moments", [{"timestamp": -1, "why": ""}]),
        ("reasoning", None),
        ("recommendation", ["Publish."]),
        ("recommendation", "half a pair: \ud800"),
    ],
)
def test_a_field_of_another_kind_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="not an answer"):
        parse_answer(json.dumps({**GOOD, field: value}))


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        parse_answer(json.dumps({key: value for key, value in GOOD.items() if key != field}))


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"score"', "[" * 100_000, '{"virality_score": 7'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an answer"):
        parse_answer(text)


@given(st.text() | ANY_JSON.map(json.dumps))
def test_nothing_but_value_error_is_ever_raised(text: str) -> None:
    with pytest.raises(ValueError, match="not an answer"):
        parse_answer(text)


@given(field=st.sampled_from(list(GOOD)), value=ANY_JSON)
def test_one_odd_field_gives_an_answer_or_value_error(field: str, value: object) -> None:
    try:
        answer = parse_answer(json.dumps({**GOOD, field: value}))
    except ValueError:
        return
    answer.reasoning.encode()
    assert 0 <= answer.virality_score <= 100


@pytest.mark.parametrize(("written", "read"), [("a\nb\x00", "a b"), (" a ", "a"), ("👩\u200d🚀",) * 2])
def test_text_is_tidied(written: str, read: str) -> None:
    assert parse_answer(json.dumps({**GOOD, "reasoning": written})).reasoning == read


@pytest.mark.parametrize(
    ("start_s", "end_s", "lowest", "highest"), [(0, 59, 0, 58), (33, 92, 33, 91), (7, 8, 7, 7), (7, 7, 7, 7)]
)
def test_timestamps_are_bounded_to_the_segment(start_s: int, end_s: int, lowest: int, highest: int) -> None:
    moments = answer_schema(start_s=start_s, end_s=end_s)["properties"]["viral_moments"]
    timestamp = moments["items"]["properties"]["timestamp"]
    assert (timestamp["minimum"], timestamp["maximum"]) == (lowest, highest)


def test_every_length_in_the_schema_is_bounded() -> None:
    def check(part: dict[str, Any]) -> None:
        match part["type"]:
            case "object":
                assert part["required"] == list(part["properties"])
                assert part["additionalProperties"] is False
                for inner in part["properties"].values():
                    check(inner)
            case "array":
                assert part["maxItems"]
                check(part["items"])
            case "string":
                assert part["maxLength"]
            case "integer":
                assert {"minimum", "maximum"} <= part.keys()

    check(answer_schema(start_s=0, end_s=59))


def test_the_prompt_names_every_field_of_the_answer() -> None:
    for field in answer_schema(start_s=0, end_s=1)["properties"]:
        assert f'"{field}"' in DEFAULT_PROMPT


def test_the_prompt_hash_tells_prompts_apart() -> None:
    assert prompt_hash("a") == prompt_hash("a") != prompt_hash("b")
    assert len(prompt_hash("a")) == 12
