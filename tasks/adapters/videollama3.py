"""VideoLLaMA3 through transformers: from frames of the timeline to a judged segment.

One segment takes five steps, each a method of its own: encode its frames (once, however many
segments share them), gather the tokens worth keeping, write the prompt, generate, parse.

Zhang et al. 2025, "VideoLLaMA 3: Frontier Multimodal Foundation Models for Image and Video
Understanding". The published weights are under Apache-2.0.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.adapters.checkpoints import Checkpoint
from tasks.adapters.devices import LOADING, pick_device, pick_dtype
from tasks.adapters.grammar import AnswerGrammar, AnswerProcessor
from tasks.adapters.videollama3_checkpoint import load_model
from tasks.adapters.videollama3_frames import (
    FrameSpec,
    frame_budget,
    kept_tokens,
    patchify,
    read_frame_spec,
)
from tasks.core.answers import answer_schema, parse_answer
from tasks.core.errors import ModelError
from tasks.core.records import Analysis, ReadFrames, Window
from tasks.core.windows import sample_ticks

__all__ = ["VideoLlama3", "frame_budget", "load_videollama3"]

FRAMES_A_CALL = 16
"""Frames the vision encoder sees at once; frames never attend to each other."""

log = logging.getLogger(__name__)


class VideoLlama3:
    """A loaded VideoLLaMA3. `load_videollama3` gives one a process; threads may share it."""

    def __init__(
        self, checkpoint: Checkpoint, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device or pick_device()
        self.dtype = dtype or pick_dtype(self.device)
        self.frames: FrameSpec = read_frame_spec(checkpoint)
        self.model: Any = load_model(checkpoint, dtype=self.dtype).to(self.device)
        self.tokenizer, self.grammar = _load_tokenizer(checkpoint)
        self._one_at_a_time = threading.Lock()

    def analyse(
        self,
        frames_of: ReadFrames,
        windows: Sequence[Window],
        *,
        fps: int,
        prompt: str,
        max_frames: int,
        max_new_tokens: int,
    ) -> Iterator[tuple[Window, Analysis]]:
        """Judge segments of one timeline, in order of time, each as soon as it is done.

        A segment is seen through all its ticks, or `max_frames` evenly spread ones. `frames_of` gives
        frames at a size that `frame_budget` allows. Whatever goes wrong with a segment becomes its
        `Analysis.failed`: `out_of_memory`, `invalid_answer` or `model_error`; the next one goes on.
        """
        features: dict[int, torch.Tensor] = {}
        for window in sorted(windows):
            for passed in [tick for tick in features if tick < window.start]:
                del features[passed]
            ticks = sample_ticks(window, count=min(window.length, max_frames))
            try:
                with self._one_at_a_time, torch.inference_mode():
                    shown = frames_of(ticks)
                    text = self._judge(
                        shown, ticks, window, features, fps=fps, prompt=prompt, max_new_tokens=max_new_tokens
                    )
                analysis = _parsed(text)
            except Exception as error:
                analysis = _failed(error)
            if analysis.reason == "out_of_memory":
                # Outside the handler, whose traceback would keep the tensors alive.
                features.clear()
                torch.cuda.empty_cache()
            if analysis.reason:
                log.warning("segment %s: %s (%s)", window, analysis.reason, analysis.detail)
            yield window, analysis

    def _judge(
        self,
        frames: npt.NDArray[np.uint8],
        ticks: Sequence[int],
        window: Window,
        features: dict[int, torch.Tensor],
        *,
        fps: int,
        prompt: str,
        max_new_tokens: int,
    ) -> str:
        """The model's answer about one segment; `features` keeps what its frames were encoded to."""
        patches = patchify(torch.tensor(frames, device=self.device), self.frames)
        grid = (frames.shape[1] // self.frames.patch, frames.shape[2] // self.frames.patch)
        new = [i for i, tick in enumerate(ticks) if tick not in features]
        if new:
            encoded = self.encode(patches[new], grid=grid)
            features.update(zip((ticks[i] for i in new), encoded, strict=True))
        kept = kept_tokens(patches, self.frames)
        video = torch.stack([features[tick] for tick in ticks])[kept]
        ids = self.prompt_ids(kept.sum(1).tolist(), [tick / fps for tick in ticks], prompt=prompt)
        # The first and last whole second that lie within the segment.
        schema = answer_schema(start_s=-(-window.start // fps), end_s=-(-window.end // fps))
        return self.generate(ids, video, schema=schema, max_new_tokens=max_new_tokens)

    def encode(self, patches: torch.Tensor, *, grid: tuple[int, int]) -> torch.Tensor:
        """Vision tokens of frames, each on its own: `n x tokens x hidden`.

        `patches` is `n x patches x values` as `patchify` gives them, `grid` the patches down and across.
        """
        merge = torch.tensor([self.frames.merge], device=self.device)
        parts = []
        for chunk in patches.split(FRAMES_A_CALL):
            shape = torch.tensor([[len(chunk), *grid]], device=self.device)
            output = self.model.model.get_video_features(chunk.flatten(0, 1), shape, merge)
            parts.append(torch.cat(output.pooler_output).unflatten(0, (len(chunk), -1)))
        return torch.cat(parts)

    def prompt_ids(
        self, tokens_per_frame: Sequence[int], seconds: Sequence[float], *, prompt: str
    ) -> list[int]:
        """Token ids of the question: a timestamp and the place of its vision tokens for each frame.

        The chat layout the model was trained on. `prompt` is plain text: nothing in it can become one
        of the special tokens.
        """
        start, end = (self.tokenizer.token_to_id(f"<|im_{side}|>") for side in ("start", "end"))
        ids = [start, *self._encode("user\n")]
        for i, (count, second) in enumerate(zip(tokens_per_frame, seconds, strict=True)):
            ids += self._encode(f"{',' if i else ''}Time {second:.1f}s:")
            ids += [self.model.config.video_token_id] * count
        ids += [*self._encode(f"\n{prompt}"), end, *self._encode("\n")]
        return [*ids, start, *self._encode("assistant\n")]

    def generate(
        self, ids: Sequence[int], video: torch.Tensor, *, schema: dict[str, Any], max_new_tokens: int
    ) -> str:
        """Answer a prompt greedily and inside the schema, whatever the checkpoint's generation config.

        `video` is `tokens x hidden`, one row for each place that `prompt_ids` left. Only the last
        position's logits are ever computed: for all of a segment's they would take gigabytes.
        """
        from transformers import DynamicCache
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        processor = AnswerProcessor(self.grammar, [schema], max_new_tokens=max_new_tokens)
        cache = DynamicCache(config=self.model.config.text_config)
        tokens = torch.tensor([list(ids)], device=self.device)
        seen = {"video": BaseModelOutputWithPooling(pooler_output=[video])}
        output = self.model.model(
            input_ids=tokens, mm_encoder_outputs=seen, past_key_values=cache, use_cache=True
        )
        answer: list[int] = []
        for _ in range(max_new_tokens):
            logits = self.model.lm_head(output.last_hidden_state[:, -1]).float()
            scores = processor(tokens, logits)
            if all(processor.finished):
                break
            tokens = scores.argmax(-1, keepdim=True)
            answer += tokens[0].tolist()
            output = self.model.model(input_ids=tokens, past_key_values=cache, use_cache=True)
        return str(self.tokenizer.decode(answer))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def load_videollama3(checkpoint: Checkpoint) -> VideoLlama3:
    """The model of a checkpoint: loaded at the first call, the same object afterwards.

    Raises:
        ModelError: the checkpoint does not hold a VideoLLaMA3, or not all of it.
    """
    with LOADING:
        loaded = _load(checkpoint)
    if isinstance(loaded, ModelError):
        raise loaded
    return loaded


# One at a time: a second model beside the first would rarely fit. A failure is remembered, too.
@lru_cache(maxsize=1)
def _load(checkpoint: Checkpoint) -> VideoLlama3 | ModelError:
    try:
        return VideoLlama3(checkpoint)
    except ModelError as error:
        return error
    except Exception as error:  # above all a card it does not fit: the run goes on without it
        failed = _failed(error)
        return ModelError(
            f"{checkpoint.model} cannot be loaded: {failed.detail}", reason=failed.reason or "model_error"
        )


def _load_tokenizer(checkpoint: Checkpoint) -> tuple[Any, AnswerGrammar]:
    """The tokenizer, deaf to special tokens in what it is given, and the grammar built on it."""
    from tokenizers import Tokenizer
    from transformers import Qwen2Tokenizer

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
            f"The tokenizer of {checkpoint.model} lacks <|im_start|> or <|im_end|>: it is not VideoLLaMA3's.",
            reason="model_invalid",
        )
    tokenizer.encode_special_tokens = True
    return tokenizer, AnswerGrammar(tokenizer_json, eos_token_id=end)


def _parsed(text: str) -> Analysis:
    try:
        return Analysis.ok(parse_answer(text))
    except ValueError as error:
        return Analysis.failed("invalid_answer", str(error))


def _failed(error: Exception) -> Analysis:
    # PyTorch's CPU allocator has no exception of its own.
    exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
    reason = "out_of_memory" if exhausted else "model_error"
    return Analysis.failed(reason, f"{type(error).__name__}: {error}")
