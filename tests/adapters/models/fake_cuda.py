"""CUDA tensors without a GPU: they have shapes, dtypes and devices, and hold no numbers.

What runs on them is not computed, but counted: kernels, copies between CPU and GPU, bytes.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.attention import bias
from torch.nn.functional import rms_norm, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from tasks.adapters.models.videollama3 import kv_cache

VIEWS = (
    *("view", "reshape", "transpose", "permute", "expand", "slice", "select", "squeeze", "split", "detach"),
    *(
        "alias",
        "as_strided",
        "unbind",
        "sym_",
        "is_same_size",
        "prim.device",
        "lift_fresh",
        "chunk",
        "aten.t.",
    ),
)
"""Operations that start no kernel, by parts of their names."""

CAUSAL = bias.causal_lower_right


class Counted(TorchDispatchMode):
    """Counts what runs on the GPU, and follows the bytes that are alive there.

    `copies` are those between CPU and GPU for which the CPU waits, `moved` the bytes that kernels read and
    write, but for products and attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = Counter[str]()
        self.copies = self.moved = 0
        self.live = self.peak = 0
        self._seen = set[int]()

    def begin(self) -> None:
        """Count anew; `peak` is above what is alive now."""
        self.kernels.clear()
        self.copies = self.moved = 0
        self.peak = self._base = self.live

    @property
    def peak_bytes(self) -> int:
        """The most that was alive beyond what was when counting began."""
        return self.peak - self._base

    def of(self, name: str) -> int:
        """How many kernels have this in their names."""
        return sum(count for kernel, count in self.kernels.items() if name in kernel)

    def zeros(self, tensor: torch.Tensor) -> Any:
        """What comes back from a GPU, by a copy for which the CPU waits: of no numbers, zeros."""
        self.copies += 1
        return np.zeros(tensor.shape, dtype=int)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = str(func)
        tensors = [leaf for leaf in tree_leaves([args, kwargs, output]) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        if "cuda" in devices and not any(view in name for view in VIEWS):
            if "copy" in name and "cpu" in devices:
                self.copies += not (kwargs or {}).get("non_blocking")
            else:
                self.kernels[name] += 1
                if not any(part in name for part in ("mm", "attention", "embedding")):
                    self.moved += sum(tensor.nbytes for tensor in tensors)
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                self._follow(tensor.untyped_storage())
        return output

    def _follow(self, storage: Any) -> None:
        key, size = storage._cdata, -(-storage.nbytes() // 512) * 512
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)

        def freed() -> None:
            self._seen.discard(key)
            self.live -= size

        weakref.finalize(storage, freed)


class _AsOnAGpu(TorchFunctionMode):
    """What a PyTorch without CUDA would do in another way: it chooses attention kernels, and indexes.

    With `flash` the card has flash attention (compute capability 8.0 and half precision); else the
    memory-efficient kernel, which in PyTorch 2.13 wants as many key-value heads as query heads.
    """

    def __init__(self, *, flash: bool) -> None:
        super().__init__()
        self.flash = flash

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__invert__:
            return torch.bitwise_not(*args)
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func is rms_norm:
            # One kernel as well; the other is only in builds with CUDA.
            return torch.ops.aten.native_layer_norm(*args, kwargs["weight"], None, kwargs["eps"])[0]
        if func is scaled_dot_product_attention:
            return self._attention(*args, **(kwargs or {}))
        if func is torch.Tensor.__getitem__:
            viewed, indices = _viewed(*args)
            return torch.ops.aten.index.Tensor(viewed, indices) if indices else viewed
        if func is torch.Tensor.__setitem__:
            viewed, indices = _viewed(*args[:2])
            value = args[2]
            if not isinstance(value, torch.Tensor):
                if not indices:
                    return torch.ops.aten.fill_.Scalar(viewed, value)
                value = torch.full((), value, dtype=viewed.dtype, device=viewed.device)
            if indices:
                return torch.ops.aten.index_put_.default(viewed, indices, value)
            return torch.ops.aten.copy_.default(viewed, value)
        return func(*args, **(kwargs or {}))

    def _attention(
        self, query: Any, key: Any, value: Any, attn_mask: Any = None, is_causal: bool = False, **named: Any
    ) -> Any:
        aten, scale = torch.ops.aten, named.get("scale")
        causal = is_causal or isinstance(attn_mask, bias.CausalBias)
        mask = None if causal else attn_mask
        if mask is None and self.flash:
            return aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, scale=scale)[0]
        if query.shape[1] == key.shape[1]:
            if mask is not None and mask.dtype == torch.bool:
                mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), -torch.inf)
            if mask is not None:
                mask = mask.expand(*query.shape[:3], key.shape[2])
            return aten._scaled_dot_product_efficient_attention(
                query, key, value, mask, False, 0.0, causal, scale=scale
            )[0]
        if causal:
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
        return aten._scaled_dot_product_attention_math(query, key, value, mask, enable_gqa=True)[0]


def _viewed(tensor: torch.Tensor, key: Any) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """The tensor with all of an index applied that makes a view, and what is left, one a dimension."""
    keys = key if isinstance(key, tuple) else (key,)
    given = sum(part is not None and part is not Ellipsis for part in keys)
    spread: list[Any] = []
    for part in keys:
        spread += [slice(None)] * (tensor.dim() - given) if part is Ellipsis else [part]
    indices: list[torch.Tensor | None] = []
    for part in spread:
        dim = sum(index.dim() if index is not None and index.dtype == torch.bool else 1 for index in indices)
        if part is None:
            tensor = torch.ops.aten.unsqueeze.default(tensor, dim)
            indices.append(None)
        elif isinstance(part, slice):
            end = 2**62 if part.stop is None else part.stop
            tensor = torch.ops.aten.slice.Tensor(tensor, dim, part.start, end, part.step or 1)
            indices.append(None)
        elif isinstance(part, int):
            tensor = torch.ops.aten.select.int(tensor, dim, part)
        else:
            index = torch.tensor(part) if isinstance(part, list) else part
            indices.append(index.to(tensor.device) if index.dim() else index)
    while indices and indices[-1] is None:
        indices.pop()
    return tensor, indices


@contextmanager
def fake_cuda(*, flash: bool = True) -> Iterator[Counted]:
    """Within it there can be tensors on `cuda`, as on a card with flash attention or without."""
    with (
        patch.object(kv_cache, "causal_lower_right", causal_lower_right),
        patch.object(bias, "can_use_flash_attention", lambda _: flash),
        patch.object(torch.backends.cuda, "can_use_flash_attention", lambda _: flash),
        torch.no_grad(),
        FakeTensorMode(),
        Counted() as counted,
        _AsOnAGpu(flash=flash),
        patch.object(FakeTensor, "tolist", lambda tensor: counted.zeros(tensor).tolist()),
        patch.object(FakeTensor, "cpu", lambda tensor: SimpleNamespace(numpy=lambda: counted.zeros(tensor))),
    ):
        counted.begin()
        yield counted


def causal_lower_right(queries: int, keys: int) -> torch.Tensor:
    """PyTorch's own; being no fake tensor, it cannot be made among them."""
    with _disable_current_modes():
        return CAUSAL(queries, keys)


def fake_model(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    """A model on the GPU, its weights fake: call it within `fake_cuda`."""
    with _disable_current_modes(), torch.device("meta"):
        model = kind(config)
    made: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    is_weight = held is module._parameters and tensor.is_floating_point()
                    fake = torch.empty(
                        tensor.shape, device="cuda", dtype=dtype if is_weight else tensor.dtype
                    )
                    made[id(tensor)] = torch.nn.Parameter(fake, False) if held is module._parameters else fake
                held[name] = made[id(tensor)]
    return model.eval()
