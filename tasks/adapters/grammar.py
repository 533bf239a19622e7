"""Keeping generation inside a JSON schema, and ending it in time.

llguidance says which tokens may come next. What it does not do is count: text of bounded length may
still take any number of tokens, so a closer watches the budget and, when just enough is left, writes
the shortest end of the answer instead of the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import llguidance
import numpy as np
import torch
from transformers import LogitsProcessor

JSON_STYLE: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Without \u escapes no half of a surrogate pair and no NUL can be written.
    "json_allowed_escapes": '"\\nt',
}
"""JSON as language models are used to write it, on one line."""

CLOSERS = ("]", "}", '"', ",", *"0123456789")
"""What ends whatever is open, best first. Inside a string only the quotation mark is wanted."""

ALMOST = 8
"""Tokens kept back for what a single token may leave half done: a number, an escape, a character."""

Plan = list[int]


class AnswerGrammar:
    """A tokenizer prepared for constrained generation: made once a model, shared by all answers."""

    def __init__(self, tokenizer_json: str, *, eos_token_id: int) -> None:
        """`tokenizer_json` is the text of a tokenizer.json, special tokens included."""
        self.tokenizer = llguidance.LLTokenizer(tokenizer_json, eos_token=eos_token_id)
        self.eos_token_id = eos_token_id
        self.quote = self._token('"')
        self.plain = self._token("z")
        self.closers = [self._token(text) for text in CLOSERS]

    def matcher(self, schema: dict[str, Any]) -> llguidance.LLMatcher:
        """A fresh matcher for one answer.

        Raises:
            ValueError: the schema uses what llguidance does not support.
        """
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=JSON_STYLE)
        matcher = llguidance.LLMatcher(self.tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(f"this schema cannot be enforced: {matcher.get_error()}")
        return matcher

    def shortest_end(self, matcher: llguidance.LLMatcher) -> Plan:
        """Tokens that end the answer from where `matcher` stands, as few as it takes."""
        ahead, plan = matcher.deep_copy(), []
        while not ahead.is_stopped():
            step = ahead.compute_ff_tokens() or [self._closer(ahead)]
            if not ahead.consume_tokens(step):
                raise RuntimeError(f"the answer cannot be ended: {ahead.get_error()}")
            plan += step
        return plan

    def _closer(self, matcher: llguidance.LLMatcher) -> int:
        if matcher.validate_tokens([self.plain]):
            return self.quote
        for token in self.closers:
            if matcher.validate_tokens([token]):
                return token
        # In the middle of a character: any byte the grammar allows leads out of it.
        return int(np.flatnonzero(allowed_tokens(matcher))[0])

    def _token(self, text: str) -> int:
        tokens = self.tokenizer.tokenize_str(text)
        if len(tokens) != 1:
            raise ValueError(f"the tokenizer has no token of its own for {text!r}")
        return int(tokens[0])


def allowed_tokens(matcher: llguidance.LLMatcher) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which tokens may come next: bool, at least as long as the tokenizer's vocabulary."""
    bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little").astype(bool)


class AnswerProcessor(LogitsProcessor):  # type: ignore[misc]
    """Masks the logits of a batch so that each row becomes an answer to its own schema, in time.

    Row `i` of the batch is held to `schemas[i]`; each ends with the end-of-sequence token within
    `max_new_tokens`. Good for one generation, with `generate` or with a loop of one's own.

    Raises:
        ValueError: `max_new_tokens` is too small for even the emptiest answer.
    """

    def __init__(
        self, grammar: AnswerGrammar, schemas: Sequence[dict[str, Any]], *, max_new_tokens: int
    ) -> None:
        self.grammar = grammar
        self.matchers = [grammar.matcher(schema) for schema in schemas]
        self.plans: list[Plan | None] = [None] * len(schemas)
        self.remaining = max_new_tokens
        # One token can open at most one more object: its skeleton is what the end may grow by.
        self.slack = ALMOST + max(map(self._growth, schemas))
        self.longest_end = max(len(grammar.shortest_end(m)) for m in self.matchers) + self.slack
        if self.longest_end >= max_new_tokens:
            raise ValueError(
                f"{max_new_tokens} new tokens cannot hold an answer: even an empty one takes "
                f"{self.longest_end}. Allow at least {self.longest_end + 1}."
            )
        self._started = False

    @property
    def finished(self) -> list[bool]:
        """Which rows have a complete answer; nothing but the end-of-sequence token may follow."""
        return [matcher.is_stopped() for matcher in self.matchers]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask `scores` (batch x vocabulary) for the token that follows `input_ids` (batch x length)."""
        if self._started:
            for matcher, token in zip(self.matchers, input_ids[:, -1].tolist(), strict=True):
                if not matcher.is_stopped() and not matcher.consume_token(token):
                    raise RuntimeError(f"token {token} is outside the grammar: {matcher.get_error()}")
        self._started = True
        allowed = np.zeros(scores.shape, dtype=bool)
        for row in range(len(self.matchers)):
            self._allow(row, allowed[row])
        self.remaining -= 1
        mask = torch.from_numpy(allowed).to(scores.device)
        return scores.masked_fill(~mask, -torch.inf)

    def _allow(self, row: int, allowed: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        matcher = self.matchers[row]
        if matcher.is_stopped():
            allowed[self.grammar.eos_token_id] = True
            return
        plan = self.plans[row]
        if plan is None and self.remaining <= self.longest_end + 1:
            end = self.grammar.shortest_end(matcher)
            if len(end) + self.slack >= self.remaining:
                plan = self.plans[row] = end
        if plan:
            allowed[plan.pop(0)] = True
            return
        tokens = allowed_tokens(matcher)[: len(allowed)]
        allowed[: len(tokens)] = tokens

    def _growth(self, schema: dict[str, Any]) -> int:
        items = [part["items"] for part in schema["properties"].values() if part["type"] == "array"]
        return max((len(self.grammar.shortest_end(self.grammar.matcher(item))) for item in items), default=0)
