"""Answers of a batch are those of stock transformers, one at a time and token by token."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.generator import GeneratedAnswer, Prompt, greedy_scores, score_chances
from tasks.adapters.models.videollama3.grammar import AnswerGrammar, AnswerWriter
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.core.scoring.answers import SCORES, answer_schema, parse_answer

SCHEMA = answer_schema(start_s=0, end_s=9)
SCORES_FIRST = answer_schema(start_s=0, end_s=9, order="scores_first")


@pytest.fixture(scope="module")
def stock(llama: VideoLlama3) -> Any:
    """The same weights, as transformers loads and runs them."""
    return load_model(llama.checkpoint, dtype=torch.float32)


class OneByOne(LogitsProcessor):
    """Holds stock generation to what a writer allows, also where there is only one token to choose."""

    def __init__(self, grammar: AnswerGrammar, schema: dict[str, Any], *, max_new_tokens: int) -> None:
        self.grammar = grammar
        self.writer = AnswerWriter(grammar, schema, max_new_tokens=max_new_tokens)
        self.given = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.given > len(self.writer.tokens):
            self.writer.write([int(input_ids[0, -1])])
        if self.given < len(self.writer.tokens):
            allowed = [self.writer.tokens[self.given]]
        elif self.writer.finished:
            allowed = [self.grammar.eos_token_id]
        else:
            bits = self.grammar.allowed([self.writer]).view(np.uint8)
            allowed = np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist()
        self.given += 1
        masked = torch.full_like(scores, -torch.inf)
        masked[:, allowed] = scores[:, allowed]
        return masked


def features(llama: VideoLlama3, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((7 + seed, 64), generator=generator)


def prompt(llama: VideoLlama3, seed: int, schema: dict[str, Any] = SCHEMA) -> Prompt:
    """A question of its own length about 7 + `seed` vision tokens."""
    video = features(llama, seed)
    ids = llama.language.ids([len(video)], [0.0], prompt="How viral? " * seed)
    return Prompt(ids, lambda: video, schema)


def stock_answer(
    llama: VideoLlama3, stock: Any, seed: int, *, max_new_tokens: int, schema: dict[str, Any] = SCHEMA
) -> str:
    ids = prompt(llama, seed).ids
    video = BaseModelOutputWithPooling(pooler_output=[features(llama, seed)])
    output = stock.generate(
        input_ids=torch.tensor([ids]),
        mm_encoder_outputs={"video": video},
        logits_processor=[OneByOne(llama.decoder.grammar, schema, max_new_tokens=max_new_tokens)],
        max_new_tokens=max_new_tokens + 1,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
    )
    return llama.language.tokenizer.decode(output[0, len(ids) :].tolist(), skip_special_tokens=True)


@torch.inference_mode()
def answers(
    llama: VideoLlama3, seeds: list[int], *, max_new_tokens: int, schema: dict[str, Any] = SCHEMA
) -> list[GeneratedAnswer]:
    prompts = [prompt(llama, seed, schema) for seed in seeds]
    return llama.decoder.answer(prompts, max_new_tokens=max_new_tokens)


@pytest.mark.parametrize(
    ("max_new_tokens", "schema"),
    [(100, SCHEMA), (200, SCHEMA), (100, SCORES_FIRST)],
    ids=["short", "long", "scores first"],
)
def test_a_batch_answers_as_stock_generation_does_one_by_one(
    llama: VideoLlama3, stock: Any, max_new_tokens: int, schema: dict[str, Any]
) -> None:
    seeds, asked = [3, 0, 5], {"max_new_tokens": max_new_tokens, "schema": schema}
    together = answers(llama, seeds, **asked)
    alone = [stock_answer(llama, stock, seed, **asked) for seed in seeds]
    assert [written.text for written in together] == alone
    assert len(set(map(len, alone))) == len(alone), "one that is finished waits for the others"


def test_neighbours_and_places_in_the_batch_change_nothing(llama: VideoLlama3) -> None:
    seeds = list(range(8))
    alone = {seed: answers(llama, [seed], max_new_tokens=90)[0] for seed in seeds}
    for order in (seeds[::-1], [5, 2, 7], [1, 1, 4]):
        for seed, written in zip(order, answers(llama, order, max_new_tokens=90), strict=True):
            assert written.text == alone[seed].text
            assert written.expected == pytest.approx(alone[seed].expected, abs=1e-3)


@pytest.mark.parametrize("schema", [SCHEMA, SCORES_FIRST], ids=["reasons first", "scores first"])
@torch.inference_mode()
def test_expected_scores_equal_those_of_every_number_tried_by_itself(
    llama: VideoLlama3, stock: Any, schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    grammar, tokens = llama.decoder.grammar, list[int]()
    decode = llama.language.tokenizer.decode
    keeping = SimpleNamespace(decode=lambda some: tokens.extend(some) or decode(some))
    monkeypatch.setattr(llama.decoder, "tokenizer", keeping)
    written = answers(llama, [2], max_new_tokens=100, schema=schema)[0]
    scores = parse_answer(written.text)
    writer = AnswerWriter(grammar, schema, max_new_tokens=100)
    while not writer.at_score:
        writer.write([tokens[len(writer.tokens)]])
    question = llama.language.ids([9], [0.0], prompt="How viral? " * 2)
    video = BaseModelOutputWithPooling(pooler_output=[features(llama, 2)])
    end = grammar.number_end
    for name, expected in zip(SCORES, written.expected, strict=True):
        base = question + writer.tokens

        @cache
        def logits(before: str, base: list[int] = base) -> torch.Tensor:
            """What the model gives behind these digits."""
            ids = torch.tensor([base + [grammar.digits[int(digit)] for digit in before]])
            return stock(input_ids=ids, mm_encoder_outputs={"video": video}).logits[0, -1]

        def chance(number: str, logits: Callable[[str], torch.Tensor] = logits, end: int = end) -> float:
            """Product of the tokens' probabilities among digits and the end, where they may come."""
            product = 1.0
            for i, token in enumerate([*(grammar.digits[int(digit)] for digit in number), end]):
                before = number[:i]
                if before in ("0", "100") or (len(before) == 2 and before != "10"):
                    break  # nothing but the end may come
                allowed = [*(grammar.digits if before != "10" else grammar.digits[:1]), *([end] * bool(i))]
                product *= float(logits(before)[allowed].softmax(-1)[allowed.index(token)])
            return product

        chances = [chance(str(number)) for number in range(101)]
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        assert expected == pytest.approx(sum(i * p for i, p in enumerate(chances)), abs=1e-3)
        score = getattr(scores, name)
        tokens = [grammar.digits[int(digit)] for digit in str(score)]
        writer.write([*tokens, end] if 1 <= score <= 10 else tokens)


def peaked(*path: int) -> torch.Tensor:
    """Logits of a model that is sure of these digits (10 = the end), one after the other."""
    logits = torch.zeros((1, 12, 11))
    states = [0, 1 + path[0], 11]
    for state, choice in zip(states, path, strict=False):
        logits[0, state, choice] = 50
    return logits


@pytest.mark.parametrize(
    ("path", "score"),
    [
        ((0, 10), 0),
        ((7, 10), 7),
        ((1, 10), 1),
        ((4, 2), 42),
        ((9, 9), 99),
        ((1, 0, 10), 10),
        ((1, 0, 0), 100),
        ((1, 7), 17),
    ],
)
def test_every_kind_of_number_is_read_from_its_digits(path: tuple[int, ...], score: int) -> None:
    chances = score_chances(peaked(*path))
    assert greedy_scores(peaked(*path)) == [score]
    assert chances[0].argmax().item() == score
    assert chances[0, score].item() == pytest.approx(1)


def test_chances_of_all_numbers_add_up_to_one() -> None:
    logits = 3 * torch.randn((5, 12, 11), generator=torch.Generator().manual_seed(0))
    chances = score_chances(logits)
    assert chances.shape == (5, 101)
    torch.testing.assert_close(chances.sum(1), torch.ones(5))


def test_embedding_rows_beyond_the_vocabulary_are_never_written(llama: VideoLlama3) -> None:
    size = llama.decoder.grammar.tokenizer.vocab_size
    assert llama.model.lm_head.out_features > size

    def like_them_best(module: object, inputs: object, logits: torch.Tensor) -> torch.Tensor:
        logits[:, size:] = 1000
        return logits

    hook = llama.model.lm_head.register_forward_hook(like_them_best)
    try:
        parse_answer(answers(llama, [1], max_new_tokens=100)[0].text)
    finally:
        hook.remove()
