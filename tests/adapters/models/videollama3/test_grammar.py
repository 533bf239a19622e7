"""Answers that always parse and always end in time, whatever the model would like to write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tasks.adapters.models.videollama3.grammar import AnswerGrammar, AnswerWriter
from tasks.core.scoring.answers import (
    FIELDS,
    MAX_MOMENTS,
    MAX_REASONING_CHARS,
    SCORES,
    AnswerOrder,
    answer_schema,
    parse_answer,
)


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
) -> list[list[int]]:
    """Let a "model" that knows nothing but its likings write answers. All scores must be its own."""
    generator = torch.Generator().manual_seed(seed)
    writers = [AnswerWriter(grammar, schema, max_new_tokens=max_new_tokens) for schema in schemas]
    chosen = [""] * len(writers)
    while not all(writer.finished for writer in writers):
        allowed = unpacked(grammar.allowed(writers))
        scores = torch.randn(allowed.shape, generator=generator)
        for token, extra in (liking or {}).items():
            scores[:, token] += extra
        choice = scores.masked_fill(~allowed, -torch.inf).argmax(-1)
        for row, (writer, token) in enumerate(zip(writers, choice.tolist(), strict=True)):
            if not writer.finished:
                at_score = writer.at_score
                writer.write([token])
                chosen[row] += grammar.tokenizer.decode_str([token]) if at_score else ""
    assert all(len(writer.tokens) <= max_new_tokens for writer in writers), "too long"
    for writer, digits in zip(writers, chosen, strict=True):
        answer = json.loads(grammar.tokenizer.decode_str(writer.tokens))
        assert digits.replace(",", "") == "".join(str(answer[name]) for name in SCORES)
    return [writer.tokens for writer in writers]


def unpacked(bits: npt.NDArray[np.int32]) -> torch.Tensor:
    return torch.from_numpy(np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little").astype(bool))


@pytest.mark.parametrize("order", FIELDS)
@pytest.mark.parametrize("max_new_tokens", [160, 320, 700])
def test_random_writers_give_valid_answers_in_time(
    grammar: AnswerGrammar, tokenizer: Tokenizer, max_new_tokens: int, order: AnswerOrder
) -> None:
    schemas = [answer_schema(start_s=7 * i, end_s=7 * i + 59, order=order) for i in range(10)]
    for i, tokens in enumerate(write(grammar, schemas, max_new_tokens=max_new_tokens, seed=max_new_tokens)):
        answer = parse_answer(tokenizer.decode(tokens, skip_special_tokens=False))
        assert all(7 * i <= moment.timestamp_s < 7 * i + 59 for moment in answer.viral_moments)
        assert len(answer.viral_moments) <= MAX_MOMENTS
        assert len(answer.reasoning) <= MAX_REASONING_CHARS


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_writers_with_manias_give_valid_answers_in_time(
    data: st.DataObject, grammar: AnswerGrammar, tokenizer: Tokenizer
) -> None:
    # Escapes, commas, brackets, and bytes that start characters of several bytes: what could be left open.
    likes = ["\\", '"', ",", "{", "[", "n", "0", "1", " ", "Ġ", "ð", "æ", "Ã", "<|im_end|>", "<|video_pad|>"]
    liking = data.draw(st.dictionaries(st.sampled_from(likes), st.sampled_from([2.0, 8.0]), min_size=1))
    tokens = write(
        grammar,
        [answer_schema(start_s=0, end_s=59, order=data.draw(st.sampled_from(list(FIELDS))))],
        max_new_tokens=data.draw(st.sampled_from([160, 200, 320])),
        seed=data.draw(st.integers(0, 1000)),
        liking={tokenizer.token_to_id(token): extra for token, extra in liking.items()},
    )
    parse_answer(tokenizer.decode(tokens[0], skip_special_tokens=False))


def test_an_answer_of_ordinary_length_is_left_alone(grammar: AnswerGrammar, tokenizer: Tokenizer) -> None:
    text = json.dumps(
        {
            "viral_moments": [{"timestamp": 12, "why": "the glass falls"}],
            "viral_elements": ["surprise"],
            "reasoning": "The start is slow.",
            "virality_score": 41,
            "hook_quality": 35,
            "engagement_potential": 50,
            "recommendation": "publish.",
        }
    )
    wanted = tokenizer.encode(text).ids
    schema = answer_schema(start_s=0, end_s=59)
    writer = AnswerWriter(grammar, schema, max_new_tokens=len(wanted) + 40)
    while not writer.finished:
        assert writer.tokens == wanted[: len(writer.tokens)]
        writer.write([wanted[len(writer.tokens)]])
    assert writer.tokens == wanted


def test_what_has_to_follow_is_written_at_once(grammar: AnswerGrammar, tokenizer: Tokenizer) -> None:
    schema = answer_schema(start_s=0, end_s=59, order="scores_first")
    writer = AnswerWriter(grammar, schema, max_new_tokens=320)
    assert tokenizer.decode(writer.tokens) == '{"virality_score": '
    written = writer.write([tokenizer.token_to_id(digit) for digit in "41"])
    assert tokenizer.decode(written) == '41, "hook_quality": '


def test_scores_follow_the_reasons_and_no_text_passes_for_one(
    grammar: AnswerGrammar, tokenizer: Tokenizer
) -> None:
    text = '{"viral_moments": [], "viral_elements": ["hook_quality"], "reasoning": "\\"hook_quality\\": 7", '
    wanted = tokenizer.encode(text + '"virality_score": ').ids
    writer = AnswerWriter(grammar, answer_schema(start_s=0, end_s=59), max_new_tokens=320)
    while writer.tokens != wanted:
        assert writer.tokens == wanted[: len(writer.tokens)]
        assert not writer.at_score
        writer.write([wanted[len(writer.tokens)]])
    for number in ("41", "100", "0"):
        assert writer.at_score
        writer.write([tokenizer.token_to_id(digit) for digit in number])
    assert not writer.at_score
    assert tokenizer.decode(writer.tokens).endswith(
        '"virality_score": 41, "hook_quality": 100, "engagement_potential": 0, "recommendation":'
    )


def test_a_number_ends_with_a_comma_alone(grammar: AnswerGrammar, tokenizer: Tokenizer) -> None:
    assert grammar.number_end == tokenizer.token_to_id(",")


def test_a_tokenizer_in_which_a_comma_begins_more_is_refused(tokenizer: Tokenizer) -> None:
    data = json.loads(tokenizer.to_str())
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    vocab[",Ġ"] = vocab.pop("".join(merges.pop()))  # in place of the token learned last
    merges.append([",", "Ġ"])
    with pytest.raises(ValueError, match="does not keep digits and commas apart: 2 tokens"):
        AnswerGrammar(json.dumps(data), eos_token_id=tokenizer.token_to_id("<|im_end|>"))


@pytest.mark.parametrize("order", FIELDS)
@pytest.mark.parametrize("start_s", [0, 95, 9990])
def test_the_tightest_budgets_are_kept(
    grammar: AnswerGrammar, tokenizer: Tokenizer, start_s: int, order: AnswerOrder
) -> None:
    schema = answer_schema(start_s=start_s, end_s=start_s + 59, order=order)
    with pytest.raises(ValueError, match="allow at least") as refusal:
        AnswerWriter(grammar, schema, max_new_tokens=1)
    smallest = int(re.findall(r"at least (\d+)", str(refusal.value))[0])
    likings = [{}, {"{": 9.0, ",": 9.0}, {'"': 6.0}, {"\\": 9.0, '"': 3.0}, {"ð": 8.0}, {"1": 9.0, "0": 9.0}]
    for extra in (0, 1, 5, 23):
        for seed, liking in enumerate(likings):
            liked = {tokenizer.token_to_id(token): value for token, value in liking.items()}
            [tokens] = write(grammar, [schema], max_new_tokens=smallest + extra, seed=seed, liking=liked)
            parse_answer(tokenizer.decode(tokens, skip_special_tokens=False))


def test_a_token_outside_the_grammar_is_an_error(grammar: AnswerGrammar, tokenizer: Tokenizer) -> None:
    writer = AnswerWriter(grammar, answer_schema(start_s=0, end_s=59), max_new_tokens=320)
    with pytest.raises(RuntimeError, match="outside the grammar"):
        writer.write([tokenizer.token_to_id("z")])


def test_nothing_follows_a_complete_answer(grammar: AnswerGrammar) -> None:
    schema = answer_schema(start_s=0, end_s=59, order="scores_first")
    done, waiting = (AnswerWriter(grammar, schema, max_new_tokens=320) for _ in range(2))
    done.write(grammar.shortest_completion(done.matcher))
    allowed = unpacked(grammar.allowed([done, waiting]))
    assert done.finished
    assert not allowed[0].any()
    assert allowed[1].nonzero().flatten().tolist() == sorted(grammar.digits)


def test_a_budget_without_room_for_an_answer_is_refused(grammar: AnswerGrammar) -> None:
    with pytest.raises(ValueError, match="20 new tokens cannot hold an answer"):
        AnswerWriter(grammar, answer_schema(start_s=0, end_s=9), max_new_tokens=20)


def test_a_schema_that_cannot_be_enforced_is_refused(grammar: AnswerGrammar) -> None:
    with pytest.raises(ValueError, match="cannot be enforced"):
        grammar.matcher({"type": "object", "properties": {"a": {"type": "no such type"}}})
