"""Which kernels run on a GPU, how exact they are, and how long they take."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
from first_contact_lab import Lab, Line
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from tasks.adapters.models.kernels import choose_attention_kernels
from tasks.adapters.models.videollama3.kv_cache import MAX_STEP_TOKENS, BatchKVCache

HEAD, GROUPS, KEY_HEADS = 128, 6, 2
"""Of the 2B: size of a head, query heads that share a key-value head, and those."""

EXACT = 2e-2
"""How far bfloat16 may be off, relative to the result in float64."""

BACKENDS = {
    "chosen": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
}


def attention_of_steps(lab: Lab) -> list[Line]:
    """Masked attention of a step, by each of PyTorch's kernels."""
    choose_attention_kernels()
    return [
        line
        for width in (1, MAX_STEP_TOKENS)
        for tensors in [_step(lab, width)]
        for reference in [_in_float64(*tensors)]
        for name, backend in BACKENDS.items()
        for line in _masked(lab, f"{name}, {width} wide", backend, tensors, reference)
    ]


def _masked(
    lab: Lab,
    what: str,
    backend: SDPBackend | None,
    tensors: tuple[torch.Tensor, ...],
    reference: torch.Tensor,
) -> list[Line]:
    query, key, value, mask = tensors

    def attend() -> torch.Tensor:
        with sdpa_kernel([backend]) if backend else nullcontext():
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    try:
        first, later = lab.times(attend)
        off = float((attend().double() - reference).norm() / reference.norm())
    except RuntimeError as error:
        refusal = str(error).partition("\n")[0][:90]
        return [Line(what, "" if backend else "no error", f"refuses: {refusal}", None if backend else False)]
    found = f"off by {off:.1e}; first call {first * 1000:.2f} ms, later {later * 1000:.2f} ms"
    lines = [Line(what, f"off by at most {EXACT:g}", found, off <= EXACT)]
    if backend is None:
        lines += [lab.at_most(f"{what}: first call", first, 0.2), lab.at_most(f"{what}: later", later, 3e-3)]
    return lines


def _step(lab: Lab, width: int) -> tuple[torch.Tensor, ...]:
    """Queries, keys, values and a mask as in a step, each row with a length of its own."""
    n, length = lab.sizes.rows, -(-lab.sizes.prompt // 8) * 8 + 344
    made = torch.Generator(lab.device).manual_seed(0)
    options = {"device": lab.device, "dtype": lab.dtype, "generator": made}
    query = torch.randn(n, KEY_HEADS, GROUPS * width, HEAD, **options)
    key, value = (torch.randn(n, KEY_HEADS, length, HEAD, **options) for _ in "kv")
    ends = torch.linspace(length // 2, length - width, n, device=lab.device).long()
    places = torch.arange(length, device=lab.device)
    steps = torch.arange(width, device=lab.device)
    mask = places <= ends[:, None, None] + steps[:, None]
    return query, key, value, mask.repeat(1, GROUPS, 1)[:, None]


def _in_float64(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    scores = query.double() @ key.double().transpose(2, 3) / math.sqrt(HEAD)
    return scores.masked_fill_(~mask, -torch.inf).softmax(-1) @ value.double()


def attention_of_frames(lab: Lab) -> list[Line]:
    """Attention within frames (VideoLLaMA3) and windows (VideoMAE)."""
    lines = []
    small = lab.rehearsed
    shapes = {
        "frames": ((2, 16, 96, 72) if small else (16, 16, 1056, 72), 1e-3),
        "windows": ((2, 12, 98, 64) if small else (32, 12, 1568, 64), 2e-3),
    }
    for name, (shape, wanted_s) in shapes.items():
        query, key, value = (torch.randn(shape, device=lab.device, dtype=lab.dtype) for _ in "qkv")

        def attend(q: torch.Tensor = query, k: torch.Tensor = key, v: torch.Tensor = value) -> torch.Tensor:
            return functional.scaled_dot_product_attention(q, k, v)

        _, later = lab.times(attend)
        lines.append(_kernel(lab, f"{name} {shape}", lab.kernels(attend)))
        lines.append(lab.at_most(f"{name}: later calls", later, wanted_s))
    return lines


def _kernel(lab: Lab, what: str, ran: list[str]) -> Line:
    """That flash attention ran, which half precision has."""
    wanted = "flash_fwd" if lab.dtype != torch.float32 else "fmha"
    found = next((name for name in ran if wanted in name), "; ".join(ran[:2]) or "nothing")
    return lab.only_on_a_gpu(what, wanted, found[:100], as_expected=wanted in found)


def patches(lab: Lab) -> list[Line]:
    """Patch embeddings as the linear layers that they are here, against the convolutions that they were."""
    b, n, widths = (1, 1, (48, 72)) if lab.rehearsed else (32, 256, (768, 1152))
    options = {"device": lab.device, "dtype": lab.dtype}
    wide = torch.randn(b, 3, 16, 224, 224, **options), torch.randn(widths[0], 3, 2, 16, 16, **options)
    flat = torch.randn(n, 3, 336, 616, **options), torch.randn(widths[1], 3, 14, 14, **options)
    return [
        _convolution(lab, "VideoMAE", functional.conv3d, *wide),
        _convolution(lab, "VideoLLaMA3", functional.conv2d, *flat),
    ]


def _convolution(
    lab: Lab, name: str, convolve: Callable[..., torch.Tensor], inputs: torch.Tensor, weight: torch.Tensor
) -> Line:
    flat = weight.flatten(1)
    values = torch.randn(inputs.numel() // flat.shape[1], flat.shape[1], device=lab.device, dtype=lab.dtype)

    def run() -> torch.Tensor:
        return convolve(inputs, weight, stride=weight.shape[2:])

    _, as_linear = lab.times(lambda: functional.linear(values, flat), calls=4)
    try:
        peak, (_, as_convolution) = lab.peak_gib(run), lab.times(run, calls=4)
    except RuntimeError as error:
        found = f"refuses: {str(error).partition(chr(10))[0][:90]}"
    else:
        found = f"{as_convolution / as_linear:.1f} times as long, {peak:.2f} GiB"
    return Line(f"convolution of {name}", "no faster than linear", found, None)


def prompt(lab: Lab) -> list[Line]:
    """A prompt that is read: the kernels, the time, the memory."""
    rows, embeddings = _rows(lab, 1), _embeddings(lab)

    def read() -> torch.Tensor:
        return rows.prefill(0, embeddings)

    with torch.inference_mode():
        peak = lab.peak_gib(read)
        _, later = lab.times(read, calls=3)
        ran = lab.kernels(read)
    return [
        _kernel(lab, f"attention of {len(embeddings):,} tokens", ran),
        lab.at_most("a prompt", later, 0.25),
        lab.only_on_a_gpu("it works with", "at most 1 GiB", f"{peak:.2f} GiB", as_expected=peak <= 1),
    ]


def steps(lab: Lab) -> list[Line]:
    """A step of all rows, launched kernel by kernel."""
    rows = _rows(lab, lab.sizes.rows)
    embeddings = _embeddings(lab)
    lines = []
    with torch.inference_mode():
        hidden = torch.cat([rows.prefill(row, embeddings) for row in range(lab.sizes.rows)])
        for width, wanted_s in ((1, 30e-3), (MAX_STEP_TOKENS, 45e-3)):
            tokens = [[5] * width] * lab.sizes.rows
            finite = bool(rows.decode(tokens, hidden).isfinite().all())
            _, later = lab.times(lambda tokens=tokens: rows.decode(tokens, hidden), calls=4)
            lines.append(Line(f"{width} wide", "all numbers", "all numbers" if finite else "NaN", finite))
            lines.append(lab.at_most(f"{width} wide: a step", later, wanted_s))
    return lines


def _rows(lab: Lab, n: int) -> BatchKVCache:
    return BatchKVCache(lab.llama.decoder.language_model, n, lab.sizes.prompt + 320)


def _embeddings(lab: Lab) -> torch.Tensor:
    width = lab.llama.model.config.text_config.hidden_size
    made = torch.Generator(lab.device).manual_seed(0)
    return torch.randn(lab.sizes.prompt, width, device=lab.device, dtype=lab.dtype, generator=made)
