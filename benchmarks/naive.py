"""The way of the model card: one segment at a time, stock transformers, nothing shared, no grammar."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from footage import Frames

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.config import read_frame_spec
from tasks.adapters.models.videollama3.frames import changed_tokens, patchify
from tasks.adapters.models.videollama3.prompt import PromptLanguage, load_tokenizer
from tasks.core.records import Window
from tasks.core.scoring.answers import asked_about


class NaivePath:
    """Answers segments with `generate`; `seconds` by phase and `count` are running totals.

    `segment` seeks and decodes the frames of one. The weights are the checkpoint's, loaded once more.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        segment: Callable[[Window], Frames],
        *,
        prompt: str,
        video_s: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.model: Any = load_model(checkpoint, dtype=dtype, device=device)
        self.spec = read_frame_spec(checkpoint)
        tokenizer, _ = load_tokenizer(checkpoint)
        self.language = PromptLanguage(tokenizer, video_token_id=self.model.config.video_token_id)
        self.segment, self.prompt, self.video_s, self.device = segment, prompt, video_s, device
        self.seconds: dict[str, float] = defaultdict(float)
        self.count: Counter[str] = Counter()
        self._vision_began = 0.0
        self.model.model.vision_model.register_forward_pre_hook(self._vision_begins, with_kwargs=True)
        self.model.model.projector.register_forward_hook(self._vision_ends)

    @torch.inference_mode()
    def answer(self, window: Window, *, new_tokens: int) -> list[int]:
        """The answer about one segment: exactly so many tokens."""
        began = self._now()
        frames = torch.tensor(self.segment(window), device=self.device)
        decoded = self._now()
        inputs = self._inputs(frames, window)
        looked = self._now()
        vision = self.seconds["vision"]
        stamps: list[float] = []

        def note(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            stamps.append(self._now())
            return scores

        output = self.model.generate(
            **inputs,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            logits_processor=[note],
        )
        ended = self._now()
        self.seconds["decode"] += decoded - began
        self.seconds["look"] += looked - decoded
        self.seconds["prefill"] += stamps[0] - looked - (self.seconds["vision"] - vision)
        self.seconds["generate"] += ended - stamps[0]
        self.seconds["total"] += ended - began
        self.count["prompt_tokens"] += inputs["input_ids"].shape[1]
        self.count["new_tokens"] += new_tokens
        return list(output[0, inputs["input_ids"].shape[1] :].tolist())

    def _inputs(self, frames: torch.Tensor, window: Window) -> dict[str, torch.Tensor]:
        """What the stock processor makes of a segment: patches, which tokens to keep, and the prompt."""
        n, height, width, _ = frames.shape
        patches = patchify(frames, self.spec)
        first = torch.ones_like(patches[:1, :: self.spec.merge**2, 0], dtype=torch.bool)
        kept = torch.cat([first, changed_tokens(frames[1:], frames[:-1], self.spec)])
        kept[:, 0] |= ~kept.any(1)
        seconds = [float(tick) for tick in range(window.start, window.end)]
        place = {"start_s": window.start, "end_s": window.end, "whole_s": self.video_s}
        asked = asked_about(self.prompt, **place, picture_times_s=seconds)
        ids = torch.tensor([self.language.ids(kept.sum(1).tolist(), seconds, prompt=asked)])
        grid = torch.tensor([[n, height // self.spec.patch, width // self.spec.patch]])
        return {
            "input_ids": ids.to(self.device),
            "attention_mask": torch.ones_like(ids).to(self.device),
            "pixel_values_videos": patches.flatten(0, 1),
            "video_grid_thw": grid.to(self.device),
            "video_merge_sizes": torch.tensor([self.spec.merge], device=self.device),
            "video_compression_mask": kept.flatten(),
        }

    def _vision_begins(self, module: object, arguments: object, named: dict[str, torch.Tensor]) -> None:
        self.count["frames"] += int(named["grid_thw"][:, 0].sum())
        self._vision_began = self._now()

    def _vision_ends(self, *_: object) -> None:
        self.seconds["vision"] += self._now() - self._vision_began

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
