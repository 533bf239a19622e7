"""Greedy decoding of a batch of chunks, and the guards against text that nobody said."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.adapters.models.whisper.alignment import Looks, token_starts_ms
from tasks.adapters.models.whisper.checkpoint import Tokens

MAX_TOKENS = 224
"""Of a chunk: half of what the decoder has room for, as OpenAI's own decoding allows."""
MAX_COMPRESSION = 2.4
MIN_LOGPROB = -1.0
MIN_SILENT_LOGPROB_AT = 0.6
"""OpenAI's thresholds (whisper/transcribe.py)."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of one chunk.

    `tokens` are those of the text, `probabilities` how likely each of them was, and `starts_ms` has when each
    begins and, at last, when the last one ends, from the start of the chunk. `logprob` is the mean of the
    text and its end, `no_speech` how likely it is that nobody speaks.
    """

    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]
    starts_ms: tuple[int, ...]
    logprob: float
    no_speech: float


def why_invented(text: str, *, logprob: float, no_speech: float) -> str | None:
    """Why a text is none that was said; None if it may be.

    >>> why_invented("thank you. " * 20, logprob=-0.2, no_speech=0.1)
    'repeats'
    """
    content = text.encode()
    if content and len(content) / len(zlib.compress(content)) > MAX_COMPRESSION:
        return "repeats"
    if logprob < MIN_LOGPROB and no_speech > MIN_SILENT_LOGPROB_AT:
        return "no_speech"
    return None


def language_probabilities(model: Any, tokens: Tokens, features: torch.Tensor) -> npt.NDArray[np.float32]:
    """`chunks x languages`: how likely each of `tokens.languages` is spoken."""
    states = model.model.encoder(features).last_hidden_state
    start = torch.full((len(features), 1), tokens.start, device=features.device)
    made = model.model.decoder(input_ids=start, encoder_hidden_states=states, use_cache=False)
    logits = model.proj_out(made.last_hidden_state[:, -1])
    ids = torch.tensor(list(tokens.languages.values()), device=features.device)
    found: npt.NDArray[np.float32] = logits[:, ids].softmax(-1).cpu().numpy()
    return found


class Decoder:
    """Writes down what is said in chunks, the likeliest token at each step."""

    def __init__(self, model: Any, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens
        self._looks = Looks(model, tokens.heads)
        forbidden = torch.zeros(model.config.vocab_size, device=model.device)
        forbidden[list(tokens.suppressed)] = -torch.inf
        self._forbidden = forbidden
        self._forbidden_first = forbidden.clone()
        self._forbidden_first[list(tokens.suppressed_first)] = -torch.inf

    def write(
        self, features: torch.Tensor, prompts: Sequence[Sequence[int]], frames: Sequence[int]
    ) -> list[Written]:
        """What is said in each chunk of a batch, by its spectra.

        The prompts have one length; `frames` are how many of the encoder's positions hold sound.
        """
        states = self._model.model.encoder(features).last_hidden_state
        try:
            with self._looks.watching():
                chosen, scores, no_speech = self._greedily(states, prompts)
            rows = zip(chosen.tolist(), scores.tolist(), no_speech.tolist(), frames, strict=True)
            return [self._row(number, *row) for number, row in enumerate(rows)]
        finally:
            self._looks.forget()

    def _greedily(
        self, states: torch.Tensor, prompts: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`chunks x steps`: tokens, and their log-probabilities; and how likely it is that nobody speaks."""
        decoder, head, cache = self._model.model.decoder, self._model.proj_out, None
        ids = torch.tensor(prompts, device=states.device)
        ended = torch.zeros(len(ids), dtype=torch.bool, device=states.device)
        no_speech = torch.empty(0)
        chosen: list[torch.Tensor] = []
        scores: list[torch.Tensor] = []
        while len(chosen) < MAX_TOKENS and not ended.all():
            made = decoder(input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True)
            hidden, cache = made.last_hidden_state, made.past_key_values
            forbidden = self._forbidden if chosen else self._forbidden_first
            if not chosen:
                no_speech = head(hidden[:, 0]).softmax(-1)[:, self._tokens.no_speech]
            logprobs = head(hidden[:, -1]).log_softmax(-1)
            ids = (logprobs + forbidden).argmax(-1, keepdim=True)
            chosen.append(ids[:, 0])
            scores.append(logprobs.gather(-1, ids)[:, 0])
            ended |= ids[:, 0] == self._tokens.end
        return torch.stack(chosen, 1), torch.stack(scores, 1), no_speech

    def _row(
        self, number: int, chosen: list[int], scores: list[float], no_speech: float, frames: int
    ) -> Written:
        end = self._tokens.end
        is_whole = end in chosen
        length = chosen.index(end) if is_whole else len(chosen)
        starts = token_starts_ms(self._looks.of_row(number, tokens=length + is_whole, frames=frames))
        if not is_whole:
            starts.append(frames * 20)
        counted = scores[: length + is_whole]
        return Written(
            tuple(chosen[:length]),
            tuple(np.exp(scores[:length]).tolist()),
            tuple(starts),
            float(np.mean(counted)),
            no_speech,
        )
