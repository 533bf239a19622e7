"""Answering many prompts at once: read each, then write all answers side by side, inside the grammar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.adapters.models.devices import sent
from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3.cuda_graphs import GraphRecorder
from tasks.adapters.models.videollama3.fused_layers import fuse_norms, join_projections, pack_linear_weights
from tasks.adapters.models.videollama3.grammar import AnswerGrammar, AnswerWriter, Tokens
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention
from tasks.core.scoring.answers import SCORES


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question: token ids, what fills their video places, and the schema of the answer.

    `video` is called when the prompt's turn comes, and gives `places x hidden`. The first
    `shared_prefix` tokens are the previous prompt's as well, and so is what they stand for.
    """

    ids: Tokens
    video: Callable[[], torch.Tensor]
    schema: dict[str, Any]
    shared_prefix: int = 0


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """An answer's text, and its scores (`SCORES`) as probability-weighted means, 0-100."""

    text: str
    expected: tuple[float, ...]


class AnswerGenerator:
    """The language model of a loaded VideoLLaMA3, and how it answers."""

    def __init__(self, model: Any, tokenizer: Any, grammar: AnswerGrammar, usage: Usage) -> None:
        self.model, self.tokenizer, self.grammar, self.usage = model, tokenizer, grammar, usage
        self.language_model = model.model.language_model
        self.device = model.device
        self.is_quantized = bool(getattr(model, "is_quantized", False))
        # What `_scores` looks at: a first digit each, and a second after the "1".
        sees = torch.eye(11, dtype=torch.bool)
        sees[10, 1] = True
        self._sees = sees.to(self.device)
        self._depths = torch.tensor([0] * 10 + [1], device=self.device)
        self._scored = torch.tensor([*grammar.digits, grammar.number_end], device=self.device)
        self.graphs = GraphRecorder(enabled=self.device.type == "cuda" and not self.is_quantized)
        use_row_attention(self.language_model)
        if self.device.type == "cpu" and not self.is_quantized:
            pack_linear_weights(self.language_model, model.lm_head)
        if self.device.type == "cuda":
            fuse_norms(self.language_model)
            if not self.is_quantized:
                join_projections(self.language_model)

    def answer(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[GeneratedAnswer]:
        """Answer all prompts: greedily whatever the generation config says, each inside its schema.

        Raises:
            ValueError: `max_new_tokens` is too small for even the emptiest answer.
        """
        with self.usage.timing("grammar", whole=False):
            writers = [AnswerWriter(self.grammar, p.schema, max_new_tokens=max_new_tokens) for p in prompts]
        longest = max(len(prompt.ids) for prompt in prompts) + max_new_tokens
        rows = BatchKVCache(self.language_model, len(prompts), longest, graphs=self.graphs)
        hidden = torch.cat([self._read(rows, i, prompts[i], writers[i]) for i in range(len(prompts))])
        with self.usage.timing("generate"):
            expected = self._write(rows, writers, hidden)
        self.usage.count["new_tokens"] += sum(len(writer.tokens) for writer in writers)
        return [
            GeneratedAnswer(str(self.tokenizer.decode(writer.tokens)), tuple(means))
            for writer, means in zip(writers, expected.tolist(), strict=True)
        ]

    def _read(self, rows: BatchKVCache, row: int, prompt: Prompt, writer: AnswerWriter) -> torch.Tensor:
        """Read a prompt and what every answer begins with; the last hidden state, `1 x hidden`."""
        video = prompt.video()
        with self.usage.timing("prefill"):
            ids = prompt.ids + writer.tokens
            embeddings = self.language_model.embed_tokens(sent(torch.tensor(ids), self.device))
            token = self.model.config.video_token_id
            places = torch.tensor([place for place, each in enumerate(ids) if each == token])
            embeddings.index_copy_(0, sent(places.long(), self.device), video.to(embeddings.dtype))
            hidden = rows.prefill(row, embeddings, shared=prompt.shared_prefix)
        self.usage.count["prompt_tokens"] += len(prompt.ids)
        self.usage.count["shared_tokens"] += prompt.shared_prefix
        self.usage.count["forced_tokens"] += len(writer.tokens)
        return hidden

    def _write(
        self, rows: BatchKVCache, writers: Sequence[AnswerWriter], hidden: torch.Tensor
    ) -> torch.Tensor:
        """Write all answers to their ends; the expected scores, `rows x len(SCORES)`."""
        hidden = self._write_texts(rows, writers, hidden)
        expected = []
        for _ in SCORES:
            scores, mean = self._scores(rows, hidden)
            expected.append(mean)
            chosen = [self._number(score) for score in scores]
            hidden = self._advance(rows, writers, chosen, hidden)
        self._write_texts(rows, writers, hidden)
        return torch.stack(expected, dim=1)

    def _write_texts(
        self, rows: BatchKVCache, writers: Sequence[AnswerWriter], hidden: torch.Tensor
    ) -> torch.Tensor:
        """Write until each answer has come to its scores, or its end; the hidden states, `rows x hidden`."""
        while any(writer.in_text for writer in writers):
            hidden = self._advance(rows, writers, self._likeliest(writers, hidden), hidden)
        return hidden

    def _scores(self, rows: BatchKVCache, hidden: torch.Tensor) -> tuple[list[int], torch.Tensor]:
        """The score that greedy decoding writes next in each row, and its probability-weighted mean.

        One pass over a tree of eleven tokens, the ten first digits and the second of "10", holds the
        probability of every number from 0 to 100.
        """
        digits = self.grammar.digits
        ahead = rows.lookahead([*digits, digits[0]], self._depths, self._sees)
        states = torch.cat([hidden[:, None], ahead], dim=1)
        logits = states.float() @ self.model.lm_head.weight[self._scored].float().T
        return greedy_scores(logits), score_chances(logits) @ torch.arange(101.0, device=self.device)

    def _number(self, score: int) -> Tokens:
        digits = [self.grammar.digits[int(digit)] for digit in str(score)]
        # Only these could go on; all others have to end here, which the grammar knows.
        return [*digits, self.grammar.number_end] if 1 <= score <= 10 else digits

    def _likeliest(self, writers: Sequence[AnswerWriter], hidden: torch.Tensor) -> list[Tokens]:
        """The likeliest allowed token of each row; none for those that wait for the others."""
        waiting = [row for row, writer in enumerate(writers) if writer.in_text]
        # While a GPU is still at the pass before.
        with self.usage.timing("grammar", whole=False):
            packed = self.grammar.allowed([writers[row] for row in waiting])
        words = sent(torch.from_numpy(packed), self.device)
        logits = self.model.lm_head(hidden.index_select(0, sent(torch.tensor(waiting), self.device)))
        bits = words[:, :, None] >> torch.arange(32, dtype=torch.int32, device=self.device) & 1
        allowed = bits.flatten(1)[:, : logits.shape[1]].bool()
        # The embedding may have more rows than there are tokens.
        tokens = logits[:, : allowed.shape[1]].masked_fill(~allowed, -torch.inf).argmax(-1).tolist()
        chosen: list[Tokens] = [[] for _ in writers]
        for row, token in zip(waiting, tokens, strict=True):
            chosen[row] = [token]
        return chosen

    def _advance(
        self, rows: BatchKVCache, writers: Sequence[AnswerWriter], chosen: list[Tokens], hidden: torch.Tensor
    ) -> torch.Tensor:
        """Write what was chosen and what has to follow; the hidden states after it, `rows x hidden`."""
        with self.usage.timing("grammar", whole=False):
            written = [w.write(tokens) if tokens else [] for w, tokens in zip(writers, chosen, strict=True)]
            unread = [[] if w.finished else tokens for w, tokens in zip(writers, written, strict=True)]
        self.usage.count["forced_tokens"] += sum(map(len, written)) - sum(map(len, chosen))
        self.usage.count["steps"] += 1
        return rows.decode(unread, hidden)


def score_chances(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities of the numbers 0 to 100: `rows x 101`.

    `logits` is `rows x 12 states x 11`: before the number, after each first digit, after "10"; for
    each of them the ten digits, and the number's end.
    """
    first = logits[:, 0, :10].softmax(-1)
    second = logits[:, 1:11].softmax(-1)
    third = logits[:, 11, ::10].softmax(-1)  # "0" and the end
    tens = first[:, 1:, None] * second[:, 1:, :10]
    ten = tens[:, 0, 0].clone()
    tens[:, 0, 0] = ten * third[:, 1]
    ones = torch.cat([first[:, :1], first[:, 1:] * second[:, 1:, 10]], dim=1)
    return torch.cat([ones, tens.flatten(1), ten[:, None] * third[:, :1]], dim=1)


def greedy_scores(logits: torch.Tensor) -> list[int]:
    """The number that greedy decoding writes, token by token; `logits` as for `score_chances`."""
    first = logits[:, 0, :10].argmax(-1)
    second = logits[:, 1:11].argmax(-1)
    hundred = logits[:, 11, 0] > logits[:, 11, 10]
    scores = []
    # All together: each question to a GPU waits for its answer.
    for digit, *seconds, is_hundred in torch.cat([first[:, None], second, hundred[:, None]], dim=1).tolist():
        following = seconds[digit]
        if digit == 0 or following == 10:
            scores.append(digit)
        elif (digit, following) == (1, 0) and is_hundred:
            scores.append(100)
        else:
            scores.append(10 * digit + following)
    return scores
