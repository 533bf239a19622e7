"""What VideoLLaMA3 is asked, in its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.videollama3.config import check_described
from tasks.adapters.models.videollama3.grammar import AnswerGrammar
from tasks.core.errors import ModelError


class PromptLanguage:
    """A tokenizer, and how prompts are laid out for the model."""

    def __init__(self, tokenizer: Any, *, video_token_id: int) -> None:
        self.tokenizer, self.video_token_id = tokenizer, video_token_id

    def ids(self, tokens_per_frame: Sequence[int], seconds: Sequence[float], *, prompt: str) -> list[int]:
        """Token ids of the question: a timestamp and the place of its vision tokens for each frame.

        The chat layout the model was trained on. `prompt` is plain text: nothing in it can become one
        of the special tokens.
        """
        start, end = (self.tokenizer.token_to_id(f"<|im_{side}|>") for side in ("start", "end"))
        ids = [start, *self._encode("user\n")]
        for i, (count, second) in enumerate(zip(tokens_per_frame, seconds, strict=True)):
            ids += self._encode(f"{',' if i else ''}Time {second:.1f}s:")
            ids += [self.video_token_id] * count
        ids += [*self._encode(f"\n{prompt}"), end, *self._encode("\n")]
        return [*ids, start, *self._encode("assistant\n")]

    def length(self, ids: Sequence[int], *, vision_tokens: int) -> int:
        """How many of a prompt's ids it takes to hold its first so many vision tokens."""
        if not vision_tokens:
            return 0
        places = (i for i, token in enumerate(ids) if token == self.video_token_id)
        return next(islice(places, vision_tokens - 1, None)) + 1

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many items two sequences have in common from the start.

    >>> common_length([3, 4, 5], [3, 4, 6, 7])
    2
    """
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def load_tokenizer(checkpoint: Checkpoint) -> tuple[Any, AnswerGrammar]:
    """The tokenizer, deaf to special tokens in what it is given, and the grammar built on it.

    Raises:
        ModelError: it is missing, or not VideoLLaMA3's.
    """
    from tokenizers import Tokenizer
    from transformers import Qwen2Tokenizer

    check_described(checkpoint)  # without files transformers makes an empty tokenizer
    try:
        tokenizer_json = Qwen2Tokenizer.from_pretrained(checkpoint.path).backend_tokenizer.to_str()
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{checkpoint.model} has no usable tokenizer ({error}). Fetch the checkpoint again, with "
            "tokenizer.json and tokenizer_config.json.",
            reason="model_invalid",
        ) from error
    tokenizer = Tokenizer.from_str(tokenizer_json)
    end = tokenizer.token_to_id("<|im_end|>")
    if end is None or tokenizer.token_to_id("<|im_start|>") is None:
        raise ModelError(
            f"The tokenizer of {checkpoint.model} lacks <|im_start|> or <|im_end|>: it is not VideoLLaMA3's. "
            "Fetch the checkpoint again, whole.",
            reason="model_invalid",
        )
    tokenizer.encode_special_tokens = True
    try:
        return tokenizer, AnswerGrammar(tokenizer_json, eos_token_id=end)
    except ValueError as error:
        raise ModelError(
            f"The tokenizer of {checkpoint.model} is not VideoLLaMA3's: {error}. Fetch the checkpoint again, "
            "whole.",
            reason="model_invalid",
        ) from error
