"""The frames of one timeline as VideoLLaMA3's vision encoder sees them, each encoded once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tasks.adapters.models.devices import sent
from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3.config import FrameSpec
from tasks.adapters.models.videollama3.frames import changed_tokens, patchify
from tasks.adapters.models.videollama3.fused_layers import joined, rotated
from tasks.core.records import ReadFrames
from tasks.core.scoring.windows import batches

FRAMES_PER_PASS, PATCHES_PER_PASS = 16, 16 * 1056
"""Frames in one pass, or as many as have so many patches (16 of 616x336). For one timeline always the
same: frames never attend to each other, but in bfloat16 what comes out varies with the shape of a pass
by about 0.02."""


ATTENTION = "hookline_flash_frames"
"""transformers hands all frames over at once, instead of one by one, where the name has "flash" in it."""


def frames_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    max_length_q: int,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention within each of the frames, which all have `max_length_q` patches, in a single call."""
    query, key, value = (
        each[0].unflatten(1, (-1, max_length_q)).transpose(0, 1) for each in (query, key, value)
    )
    output = functional.scaled_dot_product_attention(query, key, value, scale=scaling)
    return output.transpose(1, 2).flatten(0, 1)[None], None


def join_frame_attention(vision: Any) -> None:
    """On GPUs: have each layer of the vision encoder multiply by one weight for queries, keys and values."""
    for layer in vision.encoder.layers:
        layer.self_attn = JoinedFrameAttention(layer.self_attn)


class JoinedFrameAttention(nn.Module):
    """A `VideoLlama3VisionAttention` over frames that all have `max_seqlen` patches."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_heads, self.scaling = attention.num_heads, attention.scaling
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        self.weight, self.bias = joined([p.weight for p in parts]), joined([p.bias for p in parts])
        self.out_proj = attention.out_proj

    def forward(
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        max_seqlen: int,
        **kwargs: object,
    ) -> tuple[torch.Tensor, None]:
        projected = functional.linear(hidden_states, self.weight, self.bias)
        turned, value = projected.unflatten(1, (3, self.num_heads, -1)).split((2, 1), dim=1)
        cos, sin = (each[:, None, None] for each in position_embeddings)
        query, key = rotated(turned, cos, sin).to(value.dtype).unbind(1)
        query, key, value = (each.transpose(0, 1)[None] for each in (query, key, value[:, 0]))
        output, _ = frames_attention(
            self, query, key, value, None, scaling=self.scaling, max_length_q=max_seqlen
        )
        return self.out_proj(output[0].flatten(1)), None


class FrameEncoder:
    """Vision encoder and projector of a loaded VideoLLaMA3."""

    def __init__(self, model: Any, spec: FrameSpec, usage: Usage) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, frames_attention)
        self.model, self.spec, self.usage = model, spec, usage
        self.device = model.device
        self.vision, self.project = model.model.vision_model, model.model.projector
        self.vision.config._attn_implementation = ATTENTION
        if self.device.type == "cuda":
            join_frame_attention(self.vision)

    def __call__(self, patches: torch.Tensor, *, grid: tuple[int, int]) -> torch.Tensor:
        """Vision tokens of frames, each on its own: `n x tokens x hidden`.

        `patches` is `n x patches x values` as `patchify` gives them, `grid` the patches down and across.

        As transformers' `get_video_features`, which asks the device for its shapes dozens of times a pass.
        """
        embed, n = self.vision.embeddings.patch_embedding, len(patches)
        # A convolution whose kernel is its stride. In bfloat16 cuDNN may have none, or a slow one.
        hidden = functional.linear(patches.to(embed.weight.dtype), embed.weight.flatten(1), embed.bias)
        hidden = hidden.flatten(0, 1)
        turns = self.vision.rotary_pos_emb(hidden, self._positions(grid).repeat(n, 1))
        positions = tuple(each.float() for each in turns)  # as every layer wants them
        hidden = self.vision.encoder(
            hidden, cu_seqlens=None, max_seqlen=patches.shape[1], position_embeddings=positions
        ).last_hidden_state
        merged = self._merged(self.vision.post_layernorm(hidden), grid)
        tokens: torch.Tensor = self.project(merged).unflatten(0, (n, -1))
        return tokens

    def _positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """Row and column of each patch: `patches x 2`, those of a token together."""
        blocks = (grid[0] // self.spec.merge, self.spec.merge, grid[1] // self.spec.merge, self.spec.merge)
        places = torch.arange(grid[0] * grid[1], device=self.device).view(blocks).transpose(1, 2).flatten()
        return torch.stack([places // grid[1], places % grid[1]], dim=-1)

    def _merged(self, hidden: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """What comes of the patches of each token: their mean."""
        down, across = grid[0] // self.spec.merge, grid[1] // self.spec.merge
        cut = hidden.view(-1, down, across, self.spec.merge, self.spec.merge, hidden.shape[1])
        pictures = cut.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        smaller = functional.interpolate(pictures, size=(down, across), mode="bilinear")
        return smaller.permute(0, 2, 3, 1).flatten(0, 2)


class EncodedFrames:
    """The encoded frames of one timeline, shared by all segments that contain them.

    `planned` are the ticks that will be asked for, in order, so that every pass of the encoder can be
    a full one. Frames are forgotten when no later segment needs them.
    """

    def __init__(self, encoder: FrameEncoder, frames_of: ReadFrames, planned: Iterable[int]) -> None:
        self.encoder, self.frames_of = encoder, frames_of
        self.planned = sorted(set(planned))
        self._features: dict[int, torch.Tensor] = {}
        self._changed: dict[tuple[int, int], torch.Tensor] = {}

    @cached_property
    def tokens_per_frame(self) -> int:
        """Vision tokens of a frame, before any are dropped."""
        height, width = self._pixels(self.planned[:1]).shape[1:3]
        return int(height * width // self.encoder.spec.token_side**2)

    @property
    def frames_per_pass(self) -> int:
        """Frames that go through the encoder together."""
        return max(1, min(FRAMES_PER_PASS, PATCHES_PER_PASS // self._patches_per_frame))

    @property
    def patches_per_pass(self) -> int:
        """Patches that go through the encoder together."""
        return self.frames_per_pass * self._patches_per_frame

    @property
    def _patches_per_frame(self) -> int:
        return self.tokens_per_frame * self.encoder.spec.merge**2

    def keep_mask(self, ticks: Sequence[int]) -> torch.Tensor:
        """Which tokens are worth keeping of a segment seen at these ticks: bool `n x tokens`.

        The Differential Frame Pruner of the paper: what does not change from one frame to the next is
        dropped. The first frame keeps all, every frame at least one.
        """
        spec = self.encoder.spec
        with self.encoder.usage.timing("look"):
            new = [pair for pair in pairwise(ticks) if pair not in self._changed]
            for some in batches(new, size=self.frames_per_pass) if new else ():
                self._changed.update(zip(some, changed_tokens(*self._sides(some), spec), strict=True))
            first = torch.ones(self.tokens_per_frame, dtype=torch.bool, device=self.encoder.device)
            kept = torch.stack([first, *(self._changed[pair] for pair in pairwise(ticks))])
            kept[:, 0] |= ~kept.any(1)
        return kept

    def features(self, ticks: Sequence[int]) -> torch.Tensor:
        """The vision tokens of the frames at these ticks: `n x tokens x hidden`."""
        with self.encoder.usage.timing("vision"):
            new = [tick for tick in ticks if tick not in self._features]
            if new:
                ahead = (tick for tick in self.planned if tick > new[-1] and tick not in self._features)
                new += islice(ahead, -len(new) % self.frames_per_pass)
            for start in range(0, len(new), self.frames_per_pass):
                some = new[start : start + self.frames_per_pass]
                self._features.update(zip(some, self._encode(some), strict=True))
        return torch.stack([self._features[tick] for tick in ticks])

    def evict(self, *, before: float = math.inf) -> None:
        """Free what was encoded of the ticks before this one, or of all."""
        for tick in [tick for tick in self._features if tick < before]:
            del self._features[tick]

    def _encode(self, ticks: Sequence[int]) -> torch.Tensor:
        full = [*ticks, *[ticks[-1]] * (self.frames_per_pass - len(ticks))]
        pixels = self._pixels(full)
        grid = (pixels.shape[1] // self.encoder.spec.patch, pixels.shape[2] // self.encoder.spec.patch)
        self.encoder.usage.count["frames"] += len(ticks)
        return self.encoder(patchify(pixels, self.encoder.spec), grid=grid)[: len(ticks)]

    def _sides(self, pairs: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The later frames of pairs, and the earlier ones. Most are both, and are read once."""
        ticks = sorted({tick for pair in pairs for tick in pair})
        place = {tick: i for i, tick in enumerate(ticks)}
        pixels = self._pixels(ticks)
        earlier, later = (
            pixels.index_select(0, sent(torch.tensor([place[tick] for tick in side]), pixels.device))
            for side in zip(*pairs, strict=True)
        )
        return later, earlier

    def _pixels(self, ticks: Sequence[int]) -> torch.Tensor:
        # A copy of what may not be written to, such as a map of the file: torch would warn of it.
        frames = np.require(self.frames_of(ticks), requirements="W")
        return sent(torch.from_numpy(frames), self.encoder.device)
