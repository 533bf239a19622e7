"""The language model with its key-value memory laid out for a batch: one row a prompt.

Each row has its own length and nothing is padded, so a prompt reads the same whoever is beside it,
and one pass may take a single token from one row and a dozen from another.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

READ_AT_ONCE = 4096
"""Tokens of a prompt in one pass: enough to keep a GPU busy, few enough to spare memory."""

WRITE_AT_ONCE = 16
"""Tokens a row in one pass at the most; enough for the longest fixed part of an answer."""

ATTENTION = "hookline_rows"

log = logging.getLogger(__name__)


def use_row_attention(language_model: Any) -> None:
    """Make a Qwen2 model's attention read the memory of `Rows` as it lies."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, row_attention)
    language_model.config._attn_implementation = ATTENTION


def row_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention in which several query heads share a key-value head, without copying the latter.

    Without a mask: causal, the last query seeing the last key. With one, `rows x 1 x heads per
    key-value head * queries x keys`: the heads of a group count as further queries, which every
    kernel can do. Copies would be six times the memory, read anew at each step.
    """
    if attention_mask is None:
        causal = causal_lower_right(query.shape[2], key.shape[2])
        output = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=causal, scale=scaling, enable_gqa=True
        )
    else:
        grouped = query.reshape(*key.shape[:2], -1, query.shape[3])
        output = functional.scaled_dot_product_attention(
            grouped, key, value, attn_mask=attention_mask, scale=scaling
        ).view(query.shape)
    return output.transpose(1, 2).contiguous(), None


class Rows:
    """`n` rows of at most `length` tokens each, all empty.

    Memory: `2 x layers x n x key-value heads x length x head size` numbers.
    """

    def __init__(self, language_model: Any, n: int, length: int, *, capture: bool = False) -> None:
        self.model, self.capture = language_model, capture
        weight = language_model.embed_tokens.weight
        self.device = weight.device
        config = language_model.config
        heads, layers = config.num_key_value_heads, config.num_hidden_layers
        # What one pass writes beyond a row's end is overwritten by the next; multiples of 8 suit all kernels.
        length = -(-(length + WRITE_AT_ONCE) // 8) * 8
        shape = (layers, n, heads, length, config.hidden_size // config.num_attention_heads)
        # Zeros: what is masked has no weight, but a NaN would count all the same.
        self.keys, self.values = (torch.zeros(shape, dtype=weight.dtype, device=self.device) for _ in "kv")
        self.lengths = torch.zeros(n, dtype=torch.long, device=self.device)
        self._sizes = [0] * n  # the same, without asking the device
        self._captured: dict[int, _Captured] = {}

    def read(self, row: int, embeddings: torch.Tensor, *, shared: int = 0) -> torch.Tensor:
        """Fill a row with a prompt, `tokens x hidden`; the hidden state of its last token, `1 x hidden`.

        The first `shared` tokens are taken over from the row before, whose prompt begins alike.
        """
        for memory in (self.keys, self.values):
            memory[:, row, :, :shared] = memory[:, row - 1, :, :shared]
        for start in range(shared, len(embeddings), READ_AT_ONCE):
            piece = embeddings[None, start : start + READ_AT_ONCE]
            output = self.model(
                inputs_embeds=piece,
                position_ids=torch.arange(start, start + piece.shape[1], device=self.device)[None],
                past_key_values=_OneRow(self, row, start),
                attention_mask={"full_attention": None},
            )
        self.lengths[row] = self._sizes[row] = len(embeddings)
        hidden: torch.Tensor = output.last_hidden_state[:, -1]
        return hidden

    def peek(self, tree: torch.Tensor, depths: torch.Tensor, sees: torch.Tensor) -> torch.Tensor:
        """What the model makes of a tree of tokens after every row: `n x nodes x hidden`.

        `tree` holds the nodes' tokens, `depths` their distances from the row's end, and `sees[i, j]`
        is whether node `i` comes after node `j` or is it. Nothing is kept: the rows stay as they are.
        """
        tokens = tree.expand(len(self.lengths), -1)
        return self._pass(tokens, depths, sees, used=max(self._sizes) + len(tree))

    def extend(self, tokens: list[list[int]], hidden: torch.Tensor) -> torch.Tensor:
        """Append tokens to each row, to some none; the hidden states after them, `n x hidden`.

        `hidden` is what the rows ended with before, and still do where nothing is appended.
        """
        for start in range(0, max(map(len, tokens)), WRITE_AT_ONCE):
            piece = [some[start : start + WRITE_AT_ONCE] for some in tokens]
            counts = torch.tensor([len(some) for some in piece], device=self.device)
            ended = self._step(piece, counts)
            hidden = torch.where((counts > 0)[:, None], ended, hidden)
            self.lengths += counts
            self._sizes = [size + len(some) for size, some in zip(self._sizes, piece, strict=True)]
        return hidden

    def _step(self, piece: list[list[int]], counts: torch.Tensor) -> torch.Tensor:
        width = max(map(len, piece))
        if self.capture:
            width = 1 if width == 1 else WRITE_AT_ONCE
        tokens = torch.tensor([some + [0] * (width - len(some)) for some in piece], device=self.device)
        if not self.capture:
            return self._chain(tokens, counts, used=max(self._sizes) + width)
        if width not in self._captured:
            self._captured[width] = _Captured(self, tokens, counts)
        return self._captured[width](tokens, counts)

    def _chain(self, tokens: torch.Tensor, counts: torch.Tensor, *, used: int) -> torch.Tensor:
        """The hidden state of the last of each row's `counts` tokens, `n x hidden`."""
        width = tokens.shape[1]
        depths = torch.arange(width, device=self.device)
        hidden = self._pass(tokens, depths, depths[:, None] >= depths, used=used)
        last = (counts - 1).clamp(min=0)
        return hidden[torch.arange(len(hidden), device=self.device), last]

    def _pass(
        self, tokens: torch.Tensor, depths: torch.Tensor, sees: torch.Tensor, *, used: int
    ) -> torch.Tensor:
        """Run tokens, `n x width`, through the model, each row's written behind its end."""
        width = len(depths)
        # How far each place of the memory lies behind the row's end; negative ones hold the row itself.
        behind = torch.arange(used, device=self.device) - self.lengths[:, None]
        new = sees[:, behind.clamp(0, width - 1)].transpose(0, 1) & (behind < width)[:, None]
        mask = (behind < 0)[:, None] | new
        config = self.model.config
        group = config.num_attention_heads // config.num_key_value_heads
        output = self.model(
            input_ids=tokens,
            position_ids=self.lengths[:, None] + depths,
            past_key_values=_AllRows(
                self, self.lengths[:, None] + torch.arange(width, device=self.device), used
            ),
            attention_mask={"full_attention": mask.repeat(1, group, 1)[:, None]},
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden


@dataclass(frozen=True, slots=True)
class _OneRow:
    """Stands in for a transformers cache while one row is read."""

    rows: Rows
    row: int
    start: int

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        end = self.start + keys.shape[2]
        memories = self.rows.keys[layer, self.row], self.rows.values[layer, self.row]
        for memory, new in zip(memories, (keys, values), strict=True):
            memory[:, self.start : end] = new[0]
        return memories[0][None, :, :end], memories[1][None, :, :end]


@dataclass(frozen=True, slots=True)
class _AllRows:
    """Stands in for a transformers cache while all rows grow; `slots`, `n x width`, is where."""

    rows: Rows
    slots: torch.Tensor
    used: int

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        memories = self.rows.keys[layer], self.rows.values[layer]
        numbers = torch.arange(len(self.slots), device=self.slots.device)[:, None]
        for memory, new in zip(memories, (keys, values), strict=True):
            memory[numbers, :, self.slots] = new.transpose(1, 2)
        return memories[0][:, :, : self.used], memories[1][:, :, : self.used]


class _Captured:
    """A pass of fixed width, recorded once as a CUDA graph: played, it costs one launch, not hundreds.

    What is played is held against the pass it was recorded from; where the two differ, or nothing
    can be recorded, every pass is launched in the ordinary way.
    """

    def __init__(self, rows: Rows, tokens: torch.Tensor, counts: torch.Tensor) -> None:
        self.rows, self.inputs = rows, (tokens.clone(), counts.clone())
        self.graph: torch.cuda.CUDAGraph | None = None
        try:
            ordinary = self._pass()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.output = self._pass()
            graph.replay()
            torch.testing.assert_close(self.output, ordinary, rtol=0.05, atol=0.05)
            self.graph = graph
        except (RuntimeError, AssertionError) as error:
            log.warning("steps are not captured: %s", error)

    def __call__(self, tokens: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        for mine, new in zip(self.inputs, (tokens, counts), strict=True):
            mine.copy_(new)
        if self.graph is None:
            return self._pass()
        self.graph.replay()
        return self.output.clone()

    def _pass(self) -> torch.Tensor:
        return self.rows._chain(*self.inputs, used=self.rows.keys.shape[3])
