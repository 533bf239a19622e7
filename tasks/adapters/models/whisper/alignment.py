"""When each token was said: where the attention of some of Whisper's heads lies while it is written.

The method is that of OpenAI's own `timing.py` (github.com/openai/whisper), after Gong et al. 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

FRAME_MS = 20
"""What one position of the encoder stands for."""
MEDIAN_WIDTH = 7
SMALLEST_SPREAD = 1e-6
"""Of the attention to a frame; less is none."""


class Looks:
    """Keeps where the given heads look, token by token, while the decoder is at work in `watching`."""

    def __init__(self, model: Any, heads: tuple[tuple[int, int], ...]) -> None:
        self._heads = heads
        self._attention = {
            layer: model.model.decoder.layers[layer].encoder_attn
            for layer in sorted({layer for layer, _ in heads})
        }
        self.forget()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Of each step the last position counts: from it the next token is chosen."""
        self.forget()
        hooks = []
        for layer, attention in self._attention.items():
            hooks.append(attention.q_proj.register_forward_hook(self._keeper(layer)))
            hooks.append(attention.k_proj.register_forward_hook(self._key_keeper(layer)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def forget(self) -> None:
        """Let go of what was kept: the memory of a GPU."""
        self._queries: dict[int, list[torch.Tensor]] = {layer: [] for layer in self._attention}
        self._keys: dict[int, torch.Tensor] = {}

    def of_row(self, row: int, *, tokens: int, frames: int) -> npt.NDArray[np.float64]:
        """`tokens x frames`: how strongly each token of a row of the batch belongs to each of its frames."""
        looks = []
        for layer, head in self._heads:
            attention = self._attention[layer]
            part = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            queries = torch.stack([step[row, part] for step in self._queries[layer][:tokens]])
            looks.append(queries * attention.scaling @ self._keys[layer][row, :frames, part].T)
        weights = torch.stack(looks).softmax(-1)
        spread, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
        weights = _median((weights - mean) / spread.clamp_min(SMALLEST_SPREAD))
        strengths: npt.NDArray[np.float64] = weights.mean(0).double().cpu().numpy()
        return strengths

    def _keeper(self, layer: int) -> Any:
        return lambda _module, _given, made: self._queries[layer].append(made[:, -1])

    def _key_keeper(self, layer: int) -> Any:
        return lambda _module, _given, made: self._keys.__setitem__(layer, made)


def _median(weights: torch.Tensor) -> torch.Tensor:
    side = MEDIAN_WIDTH // 2
    if weights.shape[-1] <= side:
        return weights
    padded = functional.pad(weights, (side, side), mode="reflect")
    return padded.unfold(-1, MEDIAN_WIDTH, 1).median(-1).values


def token_starts_ms(strengths: npt.NDArray[np.float64]) -> list[int]:
    """When each of the tokens begins, from the start of the chunk, by the strengths of `Looks.of_row`."""
    tokens, frames = cheapest_path(-strengths)
    first = np.flatnonzero(np.diff(tokens, prepend=-1))
    return [int(frames[place]) * FRAME_MS for place in first]


def cheapest_path(costs: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Dynamic time warping: rows and columns of the cheapest way from corner to corner of a matrix.

    It never goes back, and passes every row and every column. Sums are made by diagonals, as all of one can
    be made at once.
    """
    rows, columns = costs.shape
    wide = columns + 1
    sums = np.full((rows + 1) * wide, np.inf)
    sums[0] = 0
    came = np.zeros((rows + 1) * wide, np.int8)
    flat = np.ascontiguousarray(costs).reshape(-1)
    for diagonal in range(2, rows + columns + 1):
        first, last = max(1, diagonal - columns), min(rows, diagonal - 1)
        row = np.arange(first, last + 1)
        here = row * wide + diagonal - row
        before = np.stack([sums[here - wide - 1], sums[here - wide], sums[here - 1]])
        came[here] = step = np.argmin(before, axis=0)
        sums[here] = before[step, np.arange(len(row))] + flat[(row - 1) * columns + diagonal - row - 1]
    path, row_, column = [], rows, columns
    while row_ > 0 and column > 0:
        path.append((row_ - 1, column - 1))
        step_ = came[row_ * wide + column]
        row_, column = row_ - (step_ != 2), column - (step_ != 1)
    found = np.array(path[::-1], np.int64)
    return found[:, 0], found[:, 1]
