"""Frames as VideoLLaMA3 wants them: how large, how normalised, cut into patches, and which to keep.

Everything is read from the checkpoint's own JSON files: class defaults differ from the published
values. Done with torch on the device; transformers' video processor would need torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tasks.adapters.checkpoints import Checkpoint
from tasks.adapters.videollama3_checkpoint import read_config, read_json
from tasks.core.errors import ModelError
from tasks.core.records import FrameBudget

VIDEO_MERGE = 2
"""Patches merged into one token along each side: 2 for video, 1 for images (paper, model card)."""

SAME_PIXELS = 0.1
"""A token is dropped if it differs by no more than this from the same place one frame earlier: mean
absolute difference of its normalised pixels, times 255 (the published processor's threshold)."""


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


def patchify(frames: torch.Tensor, spec: FrameSpec) -> torch.Tensor:
    """Rescale, normalise and cut frames into patches: uint8 `n x h x w x 3` to `n x patches x values`.

    Float32. Patches that are merged into one token lie next to each other, as transformers'
    processors lay them out.

    Raises:
        ValueError: height or width is no multiple of `spec.token_side`.
    """
    n, height, width, channels = frames.shape
    if height % spec.token_side or width % spec.token_side:
        raise ValueError(f"frames of {width}x{height} are not cut to multiples of {spec.token_side} pixels")
    mean, std = (torch.tensor(values, device=frames.device) for values in (spec.mean, spec.std))
    pixels = (frames.float() * spec.scale - mean) / std
    down, across = height // spec.token_side, width // spec.token_side
    cut = pixels.view(n, down, spec.merge, spec.patch, across, spec.merge, spec.patch, channels)
    values = channels * spec.patch**2
    return cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(n, down * across * spec.merge**2, values)


def changed_tokens(frames: torch.Tensor, before: torch.Tensor, spec: FrameSpec) -> torch.Tensor:
    """Which tokens of frames differ from those of the frames before: bool `n x tokens`.

    Both are uint8 `n x h x w x 3`. True everywhere where the checkpoint does not compress.
    """
    side = spec.token_side
    n, height, width, channels = frames.shape
    shape = (n, height // side, side, width // side, side, channels)
    if not spec.compress:
        return torch.ones((n, shape[1] * shape[3]), dtype=torch.bool, device=frames.device)
    difference = (frames.float() - before.float()).abs().view(shape).sum((2, 4))
    per_channel = spec.scale * 255 / side**2 / channels / torch.tensor(spec.std, device=frames.device)
    return ((difference * per_channel).sum(-1) > SAME_PIXELS).flatten(1)


def _preprocessor(checkpoint: Checkpoint) -> dict[str, Any]:
    """The values that concern video, from the first of the files that may hold them."""
    if (checkpoint.path / "video_preprocessor_config.json").is_file():
        return read_json(checkpoint, "video_preprocessor_config.json")
    if (checkpoint.path / "processor_config.json").is_file():
        values = read_json(checkpoint, "processor_config.json")
        if isinstance(video := values.get("video_processor"), dict):
            return video
    return read_json(checkpoint, "preprocessor_config.json")
