"""Frames as VideoLLaMA3 wants them: normalised, cut into patches, and which tokens of them to keep.

Done with torch on the device; transformers' video processor would need torchvision.
"""

from __future__ import annotations

import torch

from tasks.adapters.models.devices import sent
from tasks.adapters.models.videollama3.config import FrameSpec

SAME_PIXELS = 0.1
"""A token is dropped if it differs by no more than this from the same place one frame earlier: mean
absolute difference of its normalised pixels, times 255 (the published processor's threshold)."""


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
    mean, std = (sent(torch.tensor(values), frames.device) for values in (spec.mean, spec.std))
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
    per_channel = spec.scale * 255 / side**2 / channels / sent(torch.tensor(spec.std), frames.device)
    return ((difference * per_channel).sum(-1) > SAME_PIXELS).flatten(1)
