"""Answers that always parse and always end in time, whatever the model would like to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tasks.adapters.grammar import AnswerGrammar, AnswerProcessor
from tasks.core.answers import MAX_MOMENTS, MAX_REASONING_CHARS, answer_schema, parse_answer


@pytest.fixture(scope="session")
def tokenizer(demo_models: Path) -> Tokenizer:
    return Tokenizer.from_file(str(demo_models / "videollama3" / "tokenizer.json"))


@pytest.fixture(scope="session")
def grammar(tokenizer: Tokenizer) -> AnswerGrammar:
    return AnswerGrammar(tokenizer.to_str(), eos_token_id=tokenizer.token_to_id("<|im_end|>"))


def write(
    grammar: AnswerGrammar,
    schemas: list[dict[str, Any]],
    *,
    max_new_tokens: int,
    seed: int = 0,
    liking: dict[int, float] | None = None,
    rows: int = 1024,
) -> list[list[int]]:
    """Let a "model" that knows nothing but its likings write answers; `rows` is its vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    processor = AnswerProcessor(grammar, schemas, max_new_tokens=max_new_tokens)
    tokens = torch.zeros((len(schemas), 1), dtype=torch.long)
    for _ in range(max_new_tokens):
        scores = torch.randn((len(schemas), rows), generator=generator)
        for token, extra in (liking or {}).items():
            scores[:, token] += extra
        choice = processor(tokens, scores).argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, choice], dim=1)
    return [row[1:].tolist() for row in tokens]


def read(tokenizer: Tokenizer, tokens: list[int]) -> str:
    end = tokenizer.token_to_id("<|im_end|>")
    assert end in tokens, "cut off"
    return tokenizer.decode(tokens[: tokens.index(end)], skip_special_tokens=False)


@pytest.mark.parametrize("max_new_tokens", [160, 320, 700])
def test_random_writers_give_valid_answers_in_time(
    grammar: AnswerGrammar, tokenizer: Tokenizer, max_new_tokens: int
) -> None:
    schemas = [answer_schema(start_s=7 * i, end_s=7 * i + 59) for i in range(20)]
    for i, tokens in enumerate(write(grammar, schemas, max_new_tokens=max_new_tokens, seed=max_new_tokens)):
        answer = parse_answer(read(tokenizer, tokens))
        assert all(7 * i <= moment.timestamp_s < 7 * i + 59 for moment in answer.viral_moments)
        assert len(answer.viral_moments) <= MAX_MOMENTS
        assert len(answer.reasoning) <= MAX_REASONING_CHARS


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_writers_with_manias_give_valid_answers_in_time(
    data: st.DataObject, grammar: AnswerGrammar, tokenizer: Tokenizer
) -> None:
    # Escapes, commas, brackets, and bytes that start characters of several bytes: what could be left open.
    likes = ["\\", '"', ",", "{", "[", "n", "0", "1", " ", "Ġ", "ð", "æ", "Ã", "<|im_end|>", "<|video_pad|>"]
    liking = data.draw(st.dictionaries(st.sampled_from(likes), st.sampled_from([2.0, 8.0]), min_size=1))
    tokens = write(
        grammar,
        [answer_schema(start_s=0, end_s=59)],
        max_new_tokens=data.draw(st.sampled_from([160, 200, 320])),
        seed=data.draw(st.integers(0, 1000)),
        liking={tokenizer.token_to_id(token): extra for token, extra in liking.items()},
    )
    parse_answer(read(tokenizer, tokens[0]))


def test_an_answer_of_ordinary_length_is_left_alone(grammar: AnswerGrammar, tokenizer: Tokenizer) -> None:
    text = json.dumps(
        {
            "virality_score": 41,
            "hook_quality": 35,
            "engagement_potential": 50,
            "viral_elements": ["surprise"],
            "viral_moments": [{"timestamp": 12, "why": "the glass falls"}],
            "reasoning": "The start is slow.",
            "recommendation": "publish.",
        }
    )
    wanted = tokenizer.encode(text).ids
    schema = answer_schema(start_s=0, end_s=59)
    processor = AnswerProcessor(grammar, [schema], max_new_tokens=len(wanted) + 40)
    tokens = torch.zeros((1, 1), dtype=torch.long)
    for token in wanted:
        scores = torch.zeros((1, 1024))
        scores[0, token] = 1
        tokens = processor(tokens, scores).argmax(-1, keepdim=True)
        assert tokens.item() == token
    processor(tokens, torch.zeros((1, 1024)))
    assert processor.finished == [True]


def test_nothing_follows_a_complete_answer(grammar: AnswerGrammar, tokenizer: Tokenizer) -> None:
    tokens = write(grammar, [answer_schema(start_s=0, end_s=59)], max_new_tokens=600)[0]
    end = tokenizer.token_to_id("<|im_end|>")
    assert set(tokens[tokens.index(end) :]) == {end}


@pytest.mark.parametrize("rows", [0, 3, 300])
def test_rows_beyond_the_vocabulary_are_never_chosen(
    grammar: AnswerGrammar, tokenizer: Tokenizer, rows: int
) -> None:
    size = tokenizer.get_vocab_size()
    liking = {size + i: 100.0 for i in range(rows)}
    tokens = write(
        grammar, [answer_schema(start_s=0, end_s=9)], max_new_tokens=200, liking=liking, rows=size + rows
    )
    assert max(tokens[0]) < size


def test_a_budget_without_room_for_an_answer_is_refused(grammar: AnswerGrammar) -> None:
    with pytest.raises(ValueError, match="20 new tokens cannot hold an answer"):
        AnswerProcessor(grammar, [answer_schema(start_s=0, end_s=9)], max_new_tokens=20)


def test_a_schema_that_cannot_be_enforced_is_refused(grammar: AnswerGrammar) -> None:
    with pytest.raises(ValueError, match="cannot be enforced"):
        grammar.matcher({"type": "object", "properties": {"a": {"type": "no such type"}}})
