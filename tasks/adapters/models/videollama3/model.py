"""VideoLLaMA3 through transformers: from frames of the timeline to judged segments.

A batch of segments takes five steps: look which tokens are worth keeping, write the prompts, encode
the frames (once, however many segments share them), answer side by side, parse.

Zhang et al. 2025, "VideoLLaMA 3: Frontier Multimodal Foundation Models for Image and Video
Understanding". The published weights are under Apache-2.0.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.devices import (
    backend_of,
    on_model_thread,
    pick_device,
    pick_dtype,
)
from tasks.adapters.models.gpu_errors import is_out_of_memory, raise_if_gpu_lost
from tasks.adapters.models.held import Held, not_loaded
from tasks.adapters.models.kernels import choose_attention_kernels
from tasks.adapters.models.memory import fitting_batch, free_bytes
from tasks.adapters.models.usage import Spent, Usage
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.config import FrameSpec, read_frame_spec
from tasks.adapters.models.videollama3.encoder import EncodedFrames, FrameEncoder
from tasks.adapters.models.videollama3.generator import AnswerGenerator, GeneratedAnswer
from tasks.adapters.models.videollama3.memory import row_bytes, step_bytes, working_bytes
from tasks.adapters.models.videollama3.prompt import PromptLanguage, load_tokenizer
from tasks.adapters.models.videollama3.questions import Question, prompts_of, shown_ticks
from tasks.core.errors import ModelError
from tasks.core.records import Analysis, ReadFrames, Window
from tasks.core.scoring.answers import AnswerOrder, parse_answer
from tasks.core.scoring.oom_fallback import Attempt, OomFallback

LARGEST_BATCH = {"cuda": 32, "cpu": 8}
"""Segments answered at once where memory is no limit; more gain little on a device that is busy."""

TEXT_TOKENS_PER_FRAME = 12
"""Tokens of `,Time 1234.5s:` at the most."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What this process holds of the deep model; `memory_bytes` is what its weights take."""

    loaded: bool
    model: str | None = None
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    memory_bytes: int = 0


class VideoLlama3:
    """A loaded VideoLLaMA3. `load_videollama3` gives one a process; threads may share it.

    `costs` are running totals of what it did.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        quantization: str = "none",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        choose_attention_kernels()
        self.checkpoint, self.quantization = checkpoint, quantization
        self.device = device or pick_device()
        self.dtype = dtype or pick_dtype(self.device)
        self.backend = backend_of(self.device, self.dtype)
        self.frames: FrameSpec = read_frame_spec(checkpoint)
        tokenizer, grammar = load_tokenizer(checkpoint)
        self.model: Any = load_model(
            checkpoint, dtype=self.dtype, quantization=quantization, device=self.device
        )
        self.language = PromptLanguage(tokenizer, video_token_id=self.model.config.video_token_id)
        self.usage = Usage(self.device)
        self.encoder = FrameEncoder(self.model, self.frames, self.usage)
        self.decoder = AnswerGenerator(self.model, tokenizer, grammar, self.usage)

    def analyse(
        self,
        frames_of: ReadFrames,
        windows: Sequence[Window],
        *,
        fps: int,
        n_ticks: int,
        prompt: str,
        max_frames: int,
        max_new_tokens: int,
        answer_order: AnswerOrder = "reasons_first",
        said: Mapping[Window, str] | None = None,
        batch_size: int = 0,
        spent: Spent | None = None,
    ) -> Iterator[tuple[Window, Analysis]]:
        """Judge segments of a timeline of `n_ticks`, `batch_size` at once; 0 = as many as memory allows.

        A segment is seen through all its ticks, or `max_frames` evenly spread ones. `frames_of` gives
        frames at a size that `frame_budget` allows; `said` has what is said in segments, as far as the model
        is told. Where memory runs out, less is tried at once (see `OomFallback`), and the analysis says so.
        Whatever else goes wrong with a segment becomes its `Analysis.failed`: `out_of_memory`,
        `invalid_answer` or `model_error`; the others go on. What it costs is added to `spent` (see
        `Usage.spent`).
        """
        question = Question(prompt, answer_order, fps, n_ticks, max_new_tokens, said or {})
        ticks = {tick for window in windows for tick in shown_ticks(window, max_frames)}
        encoded = EncodedFrames(self.encoder, frames_of, ticks)
        size = batch_size or self._fitting_batch(encoded, windows, question, max_frames=max_frames)
        ladder = OomFallback(windows, size=size, max_frames=max_frames)
        while attempt := ladder.next():
            outcome = on_model_thread(partial(self._attempt, attempt, encoded, question, spent))
            if isinstance(outcome, list):
                yield from zip(attempt.windows, outcome, strict=True)
                continue
            log.warning("%d segments: %s (%s)", len(attempt.windows), outcome.reason, outcome.detail)
            if outcome.reason == "out_of_memory":
                encoded.evict()
                on_model_thread(torch.cuda.empty_cache)
                again = ladder.reduce(attempt)
            else:
                again = ladder.separate(attempt)
            if not again:
                yield attempt.windows[0], outcome

    def _attempt(
        self, attempt: Attempt, encoded: EncodedFrames, question: Question, spent: Spent | None
    ) -> list[Analysis] | Analysis:
        """One analysis a segment; or a single failed one, if something went wrong with the batch."""
        began_s, before = time.perf_counter(), self.usage.spent
        outcome = self._outcome(attempt, encoded, question)
        if spent is not None:
            spent.count.update(self.usage.spent - before)
            spent.loops.append((began_s, time.perf_counter()))
        return outcome

    def _outcome(
        self, attempt: Attempt, encoded: EncodedFrames, question: Question
    ) -> list[Analysis] | Analysis:
        # What fails is returned, not raised: a traceback would keep the batch's tensors alive.
        try:
            with torch.inference_mode():
                prompts = prompts_of(
                    attempt.windows, question, encoded, self.language, max_frames=attempt.max_frames
                )
                answers = self.decoder.answer(prompts, max_new_tokens=question.max_new_tokens)
        except Exception as error:
            raise_if_gpu_lost(error)
            return _failed(error)
        return [_analysis(*pair, attempt) for pair in zip(attempt.windows, answers, strict=True)]

    def _fitting_batch(
        self, encoded: EncodedFrames, windows: Sequence[Window], question: Question, *, max_frames: int
    ) -> int:
        """How many of the longest segments fit the memory that is free, if they keep all tokens."""
        try:
            free, tokens_per_frame = on_model_thread(
                lambda: (free_bytes(self.device), encoded.tokens_per_frame)
            )
            frames = max(len(shown_ticks(window, max_frames)) for window in windows)
        except Exception:  # no windows, or no frames: the first attempt will say why
            return 1
        asked = [self.language.ids([], [], prompt=question.text(window, [])) for window in windows]
        tokens = frames * (tokens_per_frame + TEXT_TOKENS_PER_FRAME)
        tokens += max(map(len, asked)) + question.max_new_tokens
        config, itemsize = self.model.config, self.dtype.itemsize
        return fitting_batch(
            free,
            row=row_bytes(config, tokens=tokens, itemsize=itemsize)
            + step_bytes(config, tokens=tokens, itemsize=itemsize),
            reserve=working_bytes(config, tokens=tokens, patches=encoded.patches_per_pass, itemsize=itemsize),
            most=LARGEST_BATCH[self.device.type],
        )


def is_loaded() -> bool:
    """Whether this process holds one."""
    return _held.model is not None


def load_videollama3(
    checkpoint: Checkpoint, *, quantization: str = "none", device: str = "auto"
) -> VideoLlama3:
    """The model of a checkpoint. A process holds one, or why there is none (`Held`).

    Raises:
        ModelError: the checkpoint does not hold a VideoLLaMA3, or not all of it, or it does not fit, or
            there is no such `device` (`pick_device`).
    """
    return _held.get(checkpoint, quantization, device)


def videollama3_status() -> ModelStatus:
    """What this process holds of the deep model. Waits for nothing, loads nothing."""
    model = _held.model
    if model is None:
        return ModelStatus(loaded=False)
    return ModelStatus(
        loaded=True,
        model=model.checkpoint.model,
        revision=model.checkpoint.revision,
        device=str(model.device),
        dtype=model.backend.dtype,
        quantization=model.quantization,
        memory_bytes=model.model.get_memory_footprint(),
    )


def _load(checkpoint: Checkpoint, quantization: str, device: str) -> VideoLlama3:
    try:
        return VideoLlama3(checkpoint, quantization=quantization, device=pick_device(device))
    except ModelError:
        raise
    except Exception as error:  # above all a card it does not fit: the run goes on without it
        raise not_loaded(checkpoint, "VideoLLaMA3", error) from error


_held = Held(_load)


def _analysis(window: Window, written: GeneratedAnswer, attempt: Attempt) -> Analysis:
    try:
        answer = parse_answer(written.text)
    except ValueError as error:
        return Analysis.failed("invalid_answer", str(error))
    if not all(map(math.isfinite, written.expected)):
        return Analysis.failed("model_error", "What the model computed are no numbers (NaN).")
    score, hook, engagement = (round(mean, 3) for mean in written.expected)
    return Analysis.ok(
        answer,
        reason=attempt.reason,
        detail=attempt.detail,
        expected_score=score,
        expected_hook_quality=hook,
        expected_engagement_potential=engagement,
        frames=len(shown_ticks(window, attempt.max_frames)),
        batch_size=len(attempt.windows),
    )


def _failed(error: Exception) -> Analysis:
    reason = "out_of_memory" if is_out_of_memory(error) else "model_error"
    return Analysis.failed(reason, f"{type(error).__name__}: {error}")
