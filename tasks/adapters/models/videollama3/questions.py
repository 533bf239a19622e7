"""What VideoLLaMA3 is asked about segments of a video, with the frames in which it sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tasks.adapters.models.devices import sent
from tasks.adapters.models.videollama3.encoder import EncodedFrames
from tasks.adapters.models.videollama3.generator import Prompt
from tasks.adapters.models.videollama3.prompt import PromptLanguage, common_length
from tasks.core.records import Window
from tasks.core.scoring.answers import AnswerOrder, answer_schema, asked_about
from tasks.core.scoring.windows import sample_ticks


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about every segment of a timeline of `n_ticks`, `fps` of them a second.

    `said` has what is said in those in which somebody speaks.
    """

    prompt: str
    order: AnswerOrder
    fps: int
    n_ticks: int
    max_new_tokens: int
    said: Mapping[Window, str]

    def text(self, window: Window, ticks: Sequence[int]) -> str:
        """What is asked about a segment that is seen at these ticks."""
        return asked_about(
            self.prompt,
            start_s=window.start / self.fps,
            end_s=window.end / self.fps,
            whole_s=self.n_ticks / self.fps,
            picture_times_s=[tick / self.fps for tick in ticks],
            said=self.said.get(window, ""),
        )

    def schema(self, window: Window) -> dict[str, Any]:
        """Of the answer about a segment: moments from its first to its last whole second."""
        return answer_schema(
            start_s=-(-window.start // self.fps), end_s=-(-window.end // self.fps), order=self.order
        )


def prompts_of(
    windows: Sequence[Window],
    question: Question,
    encoded: EncodedFrames,
    language: PromptLanguage,
    *,
    max_frames: int,
) -> list[Prompt]:
    """What the model is asked about each segment; frames are encoded only as each is read."""
    prompts: list[Prompt] = []
    before: list[int] = []
    for window in windows:
        ticks = shown_ticks(window, max_frames)
        kept = encoded.keep_mask(ticks).cpu().numpy()
        tokens = kept.sum(1).tolist()
        times_s = [tick / question.fps for tick in ticks]
        ids = language.ids(tokens, times_s, prompt=question.text(window, ticks))
        shared = language.length(ids, vision_tokens=sum(tokens[: common_length(before, ticks)]))

        # By their places: if a GPU had to count them, all that it does would be waited for.
        places = torch.from_numpy(np.flatnonzero(kept))

        def video(ticks: list[int] = ticks, places: torch.Tensor = places) -> torch.Tensor:
            encoded.evict(before=ticks[0])
            there = sent(places, encoded.encoder.device)
            return encoded.features(ticks).flatten(0, 1).index_select(0, there)

        prompts.append(Prompt(ids, video, question.schema(window), shared))
        before = ticks
    return prompts


def shown_ticks(window: Window, max_frames: int) -> list[int]:
    """The ticks through which a segment is seen: all, or `max_frames` evenly spread ones."""
    return sample_ticks(window, count=min(window.length, max_frames))
