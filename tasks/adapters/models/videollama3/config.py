"""What a VideoLLaMA3 checkpoint says of itself: its architecture, and how it wants its frames.

Everything is read from the checkpoint's own JSON files: class defaults differ from the published
values. Needs no PyTorch, which takes seconds to import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.adapters.models.checkpoints import Checkpoint, read_json
from tasks.core.errors import ModelError
from tasks.core.records import FrameBudget

ORIGINAL, NATIVE = "videollama3_qwen2", "video_llama_3"

VIDEO_MERGE = 2
"""Patches merged into one token along each side: 2 for video, 1 for images (paper, model card)."""


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """How a checkpoint wants its frames: sizes in pixels, and the normalisation.

    One token covers `patch * merge` pixels squared. A segment may have `max_tokens` tokens, a frame
    has at least `min_tokens`. Pixels become `(value * scale - mean) / std`, channel by channel.
    """

    patch: int
    merge: int
    min_tokens: int
    max_tokens: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    compress: bool

    @property
    def token_side(self) -> int:
        """Pixels along one side of what becomes one token."""
        return self.patch * self.merge


def frame_budget(checkpoint: Checkpoint, *, frames_per_segment: int) -> FrameBudget:
    """The size at which the model wants the frames of segments of so many frames.

    The tokens of a segment are shared out evenly over its frames (59 frames of a 1280x720 video
    become 616x336 with the published checkpoints). Reads only the checkpoint's JSON files.

    Raises:
        ModelError: the checkpoint is no VideoLLaMA3, or does not say how large its frames are.
    """
    spec = read_frame_spec(checkpoint)
    area = spec.token_side**2
    smallest = spec.min_tokens * area
    largest = spec.max_tokens * area // max(frames_per_segment, 1)
    return FrameBudget(max_pixels=max(largest, smallest), min_pixels=smallest, multiple_of=spec.token_side)


def read_frame_spec(checkpoint: Checkpoint) -> FrameSpec:
    """Read the preprocessing of a checkpoint from its JSON files.

    Raises:
        ModelError: as `frame_budget`.
    """
    config = read_config(checkpoint)
    values = _preprocessor(checkpoint)
    try:
        patch, merge = int(values["patch_size"]), VIDEO_MERGE
        area = (patch * merge) ** 2
        if "max_tokens" in values:
            fewest, most = int(values["min_tokens"]), int(values["max_tokens"])
        else:
            size = values["size"]
            fewest, most = int(size["shortest_edge"]) // area, int(size["longest_edge"]) // area
        return FrameSpec(
            patch=patch,
            merge=merge,
            min_tokens=fewest,
            max_tokens=most,
            scale=float(values.get("rescale_factor", 1 / 255)),
            mean=tuple(values["image_mean"]),
            std=tuple(values["image_std"]),
            compress=bool(config.get("use_token_compression", values.get("use_token_compression", True))),
        )
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{checkpoint.model} does not say how its frames are prepared ({error} is missing in its "
            "preprocessor config). Complete it from the published checkpoint's preprocessor_config.json.",
            reason="model_invalid",
        ) from error


def read_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The checkpoint's config.json.

    Raises:
        ModelError: it is of another architecture.
    """
    config = read_json(checkpoint, "config.json")
    if config.get("model_type") not in (ORIGINAL, NATIVE):
        raise ModelError(
            f"{checkpoint.model} is a {config.get('model_type')!r} checkpoint, not VideoLLaMA3. Name one "
            f"whose config.json has model_type {NATIVE!r} or {ORIGINAL!r}, e.g. DAMO-NLP-SG/VideoLLaMA3-2B.",
            reason="model_invalid",
        )
    return config


def _preprocessor(checkpoint: Checkpoint) -> dict[str, Any]:
    """The values that concern video, from the first of the files that may hold them."""
    if (checkpoint.path / "video_preprocessor_config.json").is_file():
        return read_json(checkpoint, "video_preprocessor_config.json")
    if (checkpoint.path / "processor_config.json").is_file():
        values = read_json(checkpoint, "processor_config.json")
        if isinstance(video := values.get("video_processor"), dict):
            return video
    return read_json(checkpoint, "preprocessor_config.json")
