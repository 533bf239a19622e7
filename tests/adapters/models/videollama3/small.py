"""What the tests of VideoLLaMA3 share: frames, how to ask, and an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tasks.adapters.models.videollama3.generator import GeneratedAnswer
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.core.records import Analysis, Window

Frames = npt.NDArray[np.uint8]

WRITTEN = GeneratedAnswer(
    '{"virality_score": 7, "hook_quality": 7, "engagement_potential": 7, "viral_elements": [], '
    '"viral_moments": [], "reasoning": "", "recommendation": ""}',
    (7.5, 7.25, 7.125),
)


def video(n: int = 60, *, seed: int = 0, height: int = 28, width: int = 56) -> Frames:
    """Noise with parts that stand still: every third frame repeats its left half."""
    frames = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    for i in range(2, n, 3):
        frames[i, :, : width // 2] = frames[i - 1, :, : width // 2]
    return frames


def analyse(
    llama: VideoLlama3,
    windows: Sequence[Window],
    *,
    frames: Frames | None = None,
    fps: int = 1,
    prompt: str = "How viral?",
    max_frames: int = 128,
    max_new_tokens: int = 100,
    batch_size: int = 0,
    said: Mapping[Window, str] | None = None,
) -> dict[Window, Analysis]:
    shown = video() if frames is None else frames
    return dict(
        llama.analyse(
            lambda ticks: shown[list(ticks)],
            windows,
            fps=fps,
            n_ticks=len(shown),
            prompt=prompt,
            max_frames=max_frames,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            said=said,
        )
    )
