"""The language model with its key-value memory laid out for a batch: one row a prompt.

Each row has its own length and nothing is padded: a prompt reads the same whoever is beside it, and
one pass may take a single token from one row, a dozen from another, and none from a third.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

from tasks.adapters.models.devices import sent
from tasks.adapters.models.kernels import key_pieces, shares_heads, step_attention, step_mask
from tasks.adapters.models.videollama3.cuda_graphs import CudaGraph, GraphRecorder

PREFILL_CHUNK_TOKENS = 4096
"""Tokens of a prompt in one pass: enough to keep a GPU busy, few enough to spare memory."""

MAX_STEP_TOKENS = 16
"""Tokens a row in one pass at the most; enough for the longest fixed part of an answer."""

GRAPH_WIDTHS = (1, 8, MAX_STEP_TOKENS)
"""Tokens a row in the passes that are recorded as CUDA graphs; all rows are filled up to them.

Of an answer's steps about half have one token, and nearly all others at most seven."""

KEY_LENGTH_MULTIPLE = 256
"""The memory is looked at in multiples of so many places: kernels are chosen anew for each length."""

ATTENTION = "hookline_rows"


def use_row_attention(language_model: Any) -> None:
    """Make a Qwen2 model's attention read the memory of `BatchKVCache` as it lies."""
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
    places: tuple[torch.Tensor, torch.Tensor] | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention in which several query heads share a key-value head, without copying the latter.

    Without a mask: causal, the last query seeing the last key. With one (by `step_mask`) the queries lie in
    one line, all rows' one after the other; or, where rows differ in how many they have, with `places`:
    query `i` belongs to row `places[0][i]` and is the `places[1][i]`th there.
    """
    if attention_mask is None:
        causal = causal_lower_right(query.shape[2], key.shape[2])
        if not (shared := shares_heads(query, key, value)):
            groups = query.shape[1] // key.shape[1]
            key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        output = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=causal, scale=scaling, enable_gqa=shared
        )
        return output.transpose(1, 2).contiguous(), None
    if places is None:
        by_row = query[0].unflatten(1, (len(key), -1)).transpose(0, 1)
        output = step_attention(by_row, key, value, attention_mask, scale=scaling)
        return output.transpose(1, 2).flatten(0, 1)[None], None
    rows, columns = places
    width = attention_mask.shape[2] * key.shape[1] // query.shape[1]
    spread = query.new_zeros(len(key), query.shape[1], width, query.shape[3])
    spread[rows, :, columns] = query[0].transpose(0, 1)
    output = step_attention(spread, key, value, attention_mask, scale=scaling)
    return output[rows, :, columns][None], None


class BatchKVCache:
    """`n` rows of at most `length` tokens each, all empty.

    Memory: `2 x layers x n x length x key-value heads x head size` numbers.
    """

    def __init__(
        self, language_model: Any, n: int, length: int, *, graphs: GraphRecorder | None = None
    ) -> None:
        self.model, self.graphs = language_model, graphs or GraphRecorder()
        weight = language_model.embed_tokens.weight
        self.device = weight.device
        config = language_model.config
        heads, layers = config.num_key_value_heads, config.num_hidden_layers
        # What one pass writes beyond a row's end is overwritten by the next; multiples of 8 suit all kernels.
        length += MAX_STEP_TOKENS
        self.pieces = key_pieces(self.device, rows=n, heads=heads, keys=length)
        length = -(-length // (8 * self.pieces)) * 8 * self.pieces
        shape = (layers, n, length, heads, config.hidden_size // config.num_attention_heads)
        # Zeros: what is masked has no weight, but a NaN would count all the same.
        self.keys, self.values = (torch.zeros(shape, dtype=weight.dtype, device=self.device) for _ in "kv")
        self.lengths = torch.zeros(n, dtype=torch.long, device=self.device)
        self._sizes = [0] * n  # the same, without asking the device
        self._recorded: dict[int, tuple[_PackedTokens, CudaGraph | None]] = {}

    def prefill(self, row: int, embeddings: torch.Tensor, *, shared: int = 0) -> torch.Tensor:
        """Fill a row with a prompt, `tokens x hidden`; the hidden state of its last token, `1 x hidden`.

        The first `shared` tokens are taken over from the row before, whose prompt begins alike.
        """
        for memory in (self.keys, self.values):
            memory[:, row, :shared] = memory[:, row - 1, :shared]
        for start in range(shared, len(embeddings), PREFILL_CHUNK_TOKENS):
            piece = embeddings[None, start : start + PREFILL_CHUNK_TOKENS]
            output = self.model(
                inputs_embeds=piece,
                position_ids=torch.arange(start, start + piece.shape[1], device=self.device)[None],
                past_key_values=_PrefillView(self, row, start),
                attention_mask={"full_attention": None},
            )
        self.lengths[row] = self._sizes[row] = len(embeddings)
        hidden: torch.Tensor = output.last_hidden_state[:, -1].clone()  # the rest is let go
        return hidden

    def lookahead(self, tree: list[int], depths: torch.Tensor, sees: torch.Tensor) -> torch.Tensor:
        """What the model makes of a tree of tokens after every row: `n x nodes x hidden`.

        `tree` holds the nodes' tokens, `depths` their distances from the row's end, and `sees[i, j]`
        is whether node `i` comes after node `j` or is it. Nothing is kept: the rows stay as they are.
        """
        line = _PackedTokens.of([tree] * len(self._sizes), device=self.device)
        hidden = self._pass(line, depths[line.columns], sees, used=max(self._sizes) + len(tree))
        return hidden.view(len(self._sizes), len(tree), -1)

    def decode(self, tokens: list[list[int]], hidden: torch.Tensor) -> torch.Tensor:
        """Append tokens to each row, to some none; the hidden states after them, `n x hidden`.

        `hidden` is what the rows ended with before, and still do where nothing is appended.
        """
        for start in range(0, max(map(len, tokens)), MAX_STEP_TOKENS):
            piece = [some[start : start + MAX_STEP_TOKENS] for some in tokens]
            states, counts = self._step(piece)
            hidden = torch.where((counts > 0)[:, None], states, hidden)
            self.lengths += counts
            self._sizes = [size + len(some) for size, some in zip(self._sizes, piece, strict=True)]
        return hidden

    def _step(self, piece: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden state of the last of each row's tokens, `n x hidden`, and how many it has, `n`."""
        width = max(map(len, piece))
        if self.graphs.enabled:
            width = next(fixed for fixed in GRAPH_WIDTHS if fixed >= width)
            line = _PackedTokens.of(piece, device=self.device, width=width)
            if graph := self._graph(line, width):
                return graph.play(), line.counts
        else:
            line = _PackedTokens.of(piece, device=self.device)
        return self._chain(line, width=width, used=max(self._sizes) + width), line.counts

    def _graph(self, line: _PackedTokens, width: int) -> CudaGraph | None:
        """A pass of this width over what `line` holds, if it can be recorded."""
        if width not in self._recorded:
            run = partial(self._chain, line, width=width, used=self.keys.shape[2])
            self._recorded[width] = line, self.graphs.record(run)
        held, graph = self._recorded[width]
        held.packed.copy_(line.packed)
        return graph

    def _chain(self, line: _PackedTokens, *, width: int, used: int) -> torch.Tensor:
        """The hidden state of the last of each row's tokens, `n x hidden`."""
        places = torch.arange(width, device=self.device)
        return self._pass(line, line.columns, places[:, None] >= places, used=used)[line.last]

    def _pass(
        self, line: _PackedTokens, depths: torch.Tensor, sees: torch.Tensor, *, used: int
    ) -> torch.Tensor:
        """Run tokens through the model, each row's written behind its end: `tokens x hidden`.

        `sees[i, j]` is whether a row's `i`th new token sees its `j`th; `depths` are the tokens'
        distances from their rows' ends, and `used` so many places of the memory have to be looked at.
        """
        width, length = len(sees), self.keys.shape[2]
        used = min(-(-used // KEY_LENGTH_MULTIPLE) * KEY_LENGTH_MULTIPLE, length)
        if self.pieces > 1:
            used = length  # the pieces of a part of it would have to be copied
        # How far each place of the memory lies behind the row's end; negative ones hold the row itself.
        behind = torch.arange(used, device=self.device) - self.lengths[:, None]
        new = sees[:, behind.clamp(0, width - 1)].transpose(0, 1) & (behind < width)[:, None]
        config = self.model.config
        mask = step_mask(
            (behind < 0)[:, None] | new,
            group=config.num_attention_heads // config.num_key_value_heads,
            pieces=self.pieces,
            dtype=self.keys.dtype,
        )
        ends = self.lengths[line.rows]
        output = self.model(
            input_ids=line.tokens[None],
            position_ids=(ends + depths)[None],
            past_key_values=_DecodeView(self, line.rows, ends + line.columns, used),
            attention_mask={"full_attention": mask},
            places=None if len(line.tokens) == width * len(self.lengths) else (line.rows, line.columns),
        )
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden


@dataclass(frozen=True, slots=True)
class _PackedTokens:
    """The tokens of all rows in one line, so that a row with few does not wait for one with many.

    Token `i` is the `columns[i]`th new one of row `rows[i]`, which has `counts[rows[i]]` of them. `last[r]`
    is where row `r`'s last one stands; anywhere, if it has none. All are views of `packed`, so that one
    copy brings them to the device.
    """

    packed: torch.Tensor
    tokens: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    last: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def of(cls, piece: list[list[int]], *, device: torch.device, width: int = 0) -> _PackedTokens:
        """`width`: fill each row up to so many with tokens that mean nothing, for a fixed shape."""
        filled = [some + [0] * (width - len(some)) for some in piece]
        ends = list(accumulate(map(len, filled)))
        last = [end - len(full) + len(some) - 1 for end, full, some in zip(ends, filled, piece, strict=True)]
        columns = (
            [token for some in filled for token in some],
            [row for row, some in enumerate(filled) for _ in some],
            [column for some in filled for column in range(len(some))],
            [max(place, 0) for place in last],
            [len(some) for some in piece],
        )
        packed = sent(torch.tensor([value for column in columns for value in column]), device)
        return cls(packed, *packed.split([len(column) for column in columns]))


@dataclass(frozen=True, slots=True)
class _PrefillView:
    """Stands in for a transformers cache while one row is read."""

    rows: BatchKVCache
    row: int
    start: int

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        end = self.start + keys.shape[2]
        memories = self.rows.keys[layer, self.row], self.rows.values[layer, self.row]
        for memory, new in zip(memories, (keys, values), strict=True):
            memory[self.start : end] = new[0].transpose(0, 1)
        return memories[0][None, :end].transpose(1, 2), memories[1][None, :end].transpose(1, 2)


@dataclass(frozen=True, slots=True)
class _DecodeView:
    """Stands in for a transformers cache while rows grow: token `i` goes to `slots[i]` of `places[i]`."""

    rows: BatchKVCache
    places: torch.Tensor
    slots: torch.Tensor
    used: int

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        memories = self.rows.keys[layer], self.rows.values[layer]
        for memory, new in zip(memories, (keys, values), strict=True):
            memory[self.places, self.slots] = new[0].transpose(0, 1)
        return memories[0][:, : self.used].transpose(1, 2), memories[1][:, : self.used].transpose(1, 2)
