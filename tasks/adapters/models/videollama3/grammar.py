"""Keeping generation inside a JSON schema, and ending it in time.

llguidance says which tokens may come next. Where that is a single one, as in the fixed parts of the
JSON, it is written without asking the model. What llguidance does not do is count: text of bounded
length may still take any number of tokens, so a closer watches the budget and, when just enough is
left, writes the shortest end of what is open itself. It never writes a score: these are left to the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
import numpy.typing as npt

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

RESERVED_TOKENS = 8
"""Tokens kept back for what a single token may leave half done: a number, an escape, a character."""

DIGITS = "0123456789"

MAX_SCORE_TOKENS = 32
"""Tokens of a score's name and number at the most: a token is a character or more."""

Tokens = list[int]


class AnswerGrammar:
    """A tokenizer prepared for constrained generation: made once a model, shared by all answers."""

    def __init__(self, tokenizer_json: str, *, eos_token_id: int) -> None:
        """`tokenizer_json` is the text of a tokenizer.json, special tokens included."""
        self.tokenizer = llguidance.LLTokenizer(tokenizer_json, eos_token=eos_token_id)
        self.eos_token_id = eos_token_id
        self.quote = self._token('"')
        self.plain = self._token("z")
        self.closers = [self._token(text) for text in CLOSERS]
        self.digits = [self._token(digit) for digit in DIGITS]
        self.number_end = self._number_end()
        self._executor = llguidance.LLExecutor()

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

    def shortest_completion(self, matcher: llguidance.LLMatcher, *, until: str = "") -> Tokens:
        """Tokens that end the answer from where `matcher` stands, as few as it takes.

        With `until` they stop behind this text, a name and what leads to its value, where it is ahead.
        """
        ahead, plan = matcher.deep_copy(), Tokens()
        while not ahead.is_stopped() and not (until and self.ends_with(plan, until)):
            step = ahead.compute_ff_tokens() or [self._closer(ahead)]
            if not ahead.consume_tokens(step):
                raise RuntimeError(f"the answer cannot be ended: {ahead.get_error()}")
            plan += step
        return plan

    def ends_with(self, tokens: Tokens, text: str) -> bool:
        """Whether what these tokens say ends with this ASCII text."""
        return bool(self.tokenizer.decode_str(tokens[-len(text) :]).endswith(text))

    def allowed(self, writers: Sequence[AnswerWriter]) -> npt.NDArray[np.int32]:
        """What each writer may write next, as packed bits: `writers x ceil(vocabulary / 32)`.

        Bit `k` of word `i` stands for token `32 * i + k`. For one that is finished no bit is set.
        """
        bits = np.zeros((len(writers), -(-self.tokenizer.vocab_size // 32)), dtype=np.int32)
        waiting = [(w.matcher, row) for row, w in enumerate(writers) if not w.finished]
        llguidance.numpy.fill_next_token_bitmask_par(self._executor, waiting, bits)
        return bits

    def _closer(self, matcher: llguidance.LLMatcher) -> int:
        if matcher.validate_tokens([self.plain]):
            return self.quote
        for token in self.closers:
            if matcher.validate_tokens([token]):
                return token
        # In the middle of a character: any byte the grammar allows leads out of it.
        return int(np.flatnonzero(allowed_tokens(matcher))[0])

    def _number_end(self) -> int:
        """The token that ends a score; a score is read as digits and this, so it must be a single one."""
        score = {"type": "integer", "minimum": 0, "maximum": 100}
        matcher = self.matcher(
            {"type": "object", "properties": {"a": score, "b": score}, "required": ["a", "b"]}
        )
        matcher.consume_tokens([*matcher.compute_ff_tokens(), self.digits[5]])
        found = {int(token) for token in np.flatnonzero(allowed_tokens(matcher))}
        ends = found - set(self.digits)
        if len(ends) != 1 or not found > ends:
            raise ValueError(
                f"the tokenizer does not keep digits and commas apart: {len(ends)} tokens may end a number"
            )
        return ends.pop()

    def _token(self, text: str) -> int:
        tokens = self.tokenizer.tokenize_str(text)
        if len(tokens) != 1:
            raise ValueError(f"the tokenizer has no token of its own for {text!r}")
        return int(tokens[0])


def allowed_tokens(matcher: llguidance.LLMatcher) -> npt.NDArray[np.bool_]:
    """Which tokens may come next: bool, at least as long as the tokenizer's vocabulary."""
    bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little").astype(bool)


class AnswerWriter:
    """One answer as it is written: inside its schema, and closed within `max_new_tokens`.

    `tokens` is all that is written so far; from the start that is what every answer begins with. The integers
    of the schema, which stand together, are its scores: what comes before them is closed in time for them.

    Raises:
        ValueError: `max_new_tokens` is too small for even the emptiest answer.
    """

    def __init__(self, grammar: AnswerGrammar, schema: dict[str, Any], *, max_new_tokens: int) -> None:
        self.grammar = grammar
        self.matcher = grammar.matcher(schema)
        scores = [name for name, part in schema["properties"].items() if part["type"] == "integer"]
        # No text of the model's can hold this: a quotation mark in it has a backslash before it.
        self.score = re.compile(rf'(?:{"|".join(scores)})": [0-9]*$')
        self.first_score = f'{scores[0]}": '
        whole = self._shortest_end()
        self.room_for_scores = len(whole) - len(self._shortest_end(until=self.first_score)) + 2 * len(scores)
        # One token can open at most one more object: its skeleton is what the end may grow by.
        self.slack = RESERVED_TOKENS + self._max_growth(schema)
        # The shortest end has numbers of one digit; scores may have three.
        self.check_below = len(whole) + 2 * len(scores) + self.slack
        if max_new_tokens <= self.check_below:
            raise ValueError(
                f"{max_new_tokens} new tokens cannot hold an answer: allow at least {self.check_below + 1}."
            )
        self.longest_tail = self._max_tail(schema)
        self.max_new_tokens = max_new_tokens
        self.at_score = False
        self.tokens: Tokens = []
        self.write([])

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return bool(self.matcher.is_stopped())

    @property
    def in_text(self) -> bool:
        """Whether neither a score nor the end has come."""
        return not (self.at_score or self.finished)

    def write(self, chosen: Tokens) -> Tokens:
        """Write what the model chose, and all that has to follow it; returns both, in their order.

        Raises:
            RuntimeError: the choice was none that `AnswerGrammar.allowed` allows.
        """
        if not self.matcher.consume_tokens(chosen):
            reason = self.matcher.get_error().splitlines()[0]
            raise RuntimeError(f"{chosen} is outside the grammar: {reason}")
        forced = [] if self.finished else self.matcher.compute_ff_tokens()
        self.matcher.consume_tokens(forced)
        self.tokens += [*chosen, *forced]
        self._look_for_score()
        end = self._end_if_time_is_up()
        if end:
            self.matcher.consume_tokens(end)
            self.tokens += end
            self._look_for_score()
        return [*chosen, *forced, *end]

    def _look_for_score(self) -> None:
        text = self.grammar.tokenizer.decode_str(self.tokens[-MAX_SCORE_TOKENS:])
        self.at_score = self.score.search(text) is not None
        if self.at_score:
            self.first_score, self.room_for_scores = "", 0

    def _end_if_time_is_up(self) -> Tokens:
        """What closes the answer, or leads to its scores where these are still ahead; empty in good time."""
        remaining = self.max_new_tokens - len(self.tokens)
        if not self.in_text or remaining > self.check_below:
            return []
        end = self._shortest_end(until=self.first_score)
        needed = len(end) + self.room_for_scores
        if needed <= self.longest_tail:  # behind all lists, where nothing can be opened any more
            self.check_below = self.longest_tail + self.slack
        return end if needed + self.slack >= remaining else []

    def _shortest_end(self, *, until: str = "") -> Tokens:
        return self.grammar.shortest_completion(self.matcher, until=until)

    def _max_growth(self, schema: dict[str, Any]) -> int:
        """How many tokens longer the shortest end can get by one token: an object opened in a list."""
        items = [part["items"] for part in schema["properties"].values() if part["type"] == "array"]
        ends = (self.grammar.shortest_completion(self.grammar.matcher(item)) for item in items)
        return max(map(len, ends), default=0)

    def _max_tail(self, schema: dict[str, Any]) -> int:
        """The longest shortest end once the property that follows the last list has begun."""
        properties = list(schema["properties"].items())
        while any(part["type"] == "array" for _, part in properties):
            properties.pop(0)
        matcher = self.grammar.matcher(
            {**schema, "properties": dict(properties), "required": [name for name, _ in properties]}
        )
        matcher.consume_tokens(matcher.compute_ff_tokens())
        numbers = [name for name, part in properties if part["type"] == "integer"]
        return len(self.grammar.shortest_completion(matcher)) + 2 * len(numbers)
