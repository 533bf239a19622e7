"""The language model's layers as the device likes them: the same numbers in float32.

On GPUs fewer and larger kernels: a step is played as one CUDA graph, and even there each kernel takes its
microseconds. On CPUs weights that lie as multiplying a few rows likes it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tasks.adapters.models.videollama3.kv_cache import row_attention

PACKED_FOR_ROWS = 8
"""Rows for which weights are packed on a CPU: as many answers are written at once. Any number may come."""


def fuse_norms(language_model: Any) -> None:
    """Have each norm of a Qwen2 model be one kernel instead of six. (On a CPU that is slower.)

    In bfloat16 it rounds once, at the end.
    """
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

    for module in list(language_model.modules()):
        for name, norm in module.named_children():
            if isinstance(norm, Qwen2RMSNorm):
                fused = nn.RMSNorm(list(norm.weight.shape), eps=norm.variance_epsilon, device="meta")
                fused.weight = norm.weight
                setattr(module, name, fused)


def join_projections(language_model: Any) -> None:
    """Have each layer of a Qwen2 model multiply its input by one weight where there were two or three.

    The old weights are freed layer by layer. Not for quantized weights, whose scales are their own.
    """
    for layer in language_model.layers:
        layer.self_attn = JoinedAttention(layer.self_attn)
        layer.mlp = JoinedMLP(layer.mlp)


def pack_linear_weights(language_model: Any, lm_head: Any) -> None:
    """On CPUs: multiply by oneDNN, with each layer's weight in the order that it likes best.

    Eight rows take a third of MKL's time on an AMD EPYC, one row half of it, thousands a twentieth less.
    The old weights are freed layer by layer. Where the head's weight is the embedding's as well it is only
    transposed, for which MKL takes two thirds of the time.
    """
    if torch.backends.mkldnn.is_available():
        for module in list(language_model.modules()):
            for name, layer in module.named_children():
                if isinstance(layer, nn.Linear):
                    setattr(module, name, PackedLinear(layer))
    lm_head.weight.data = lm_head.weight.data.T.contiguous().T


class PackedLinear(nn.Module):
    """A `Linear` for inference on a CPU."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.data, PACKED_FOR_ROWS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return product


class JoinedAttention(nn.Module):
    """A `Qwen2Attention` over the memory of `BatchKVCache`."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.layer_idx = attention.layer_idx
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        self.queries, self.keys = (part.out_features // self.head_dim for part in parts[:2])
        self.weight = joined([part.weight for part in parts])
        self.bias = joined([part.bias for part in parts])
        self.o_proj = attention.o_proj

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        past_key_values: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        projected = functional.linear(hidden_states, self.weight, self.bias)
        heads = projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        turned, value = heads.split((self.queries + self.keys, self.keys), dim=1)
        cos, sin = (each.unsqueeze(1) for each in position_embeddings)
        query, key = rotated(turned, cos, sin).split((self.queries, self.keys), dim=1)
        key, value = past_key_values.update(key, value, self.layer_idx)
        output, _ = row_attention(self, query, key, value, attention_mask, scaling=self.scaling, **kwargs)
        return self.o_proj(output.flatten(2)), None


class JoinedMLP(nn.Module):
    """A `Qwen2MLP`."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.act_fn, self.down_proj = mlp.act_fn, mlp.down_proj
        self.weight = joined([mlp.gate_proj.weight, mlp.up_proj.weight])

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate, up = functional.linear(hidden_states, self.weight).chunk(2, dim=-1)
        output: torch.Tensor = self.down_proj(self.act_fn(gate).mul_(up))
        return output


def rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """`heads * cos + rotate_half(heads) * sin`, of whatever shape, with half the memory traffic."""
    half = heads.shape[-1] // 2
    turned = heads * cos
    turned[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-1)
    turned[..., half:].addcmul_(heads[..., :half], sin[..., half:])
    return turned


def joined(parts: list[torch.Tensor]) -> nn.Parameter:
    """One weight for several layers with the same input."""
    return nn.Parameter(torch.cat([part.detach() for part in parts]), requires_grad=False)
