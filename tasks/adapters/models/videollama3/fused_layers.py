"""The language model's layers with fewer and larger kernels, for GPUs: the same numbers in float32.

A step is played as one CUDA graph, and even there each kernel takes its microseconds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tasks.adapters.models.videollama3.kv_cache import row_attention


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
