"""Fused layers give what transformers' own give, in no more memory, and are there on GPUs alone."""

from __future__ import annotations

import copy
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model, VideoLlama3ForConditionalGeneration
from transformers.models.qwen2.modeling_qwen2 import rotate_half

from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3.encoder import (
    FrameEncoder,
    JoinedFrameAttention,
    join_frame_attention,
)
from tasks.adapters.models.videollama3.frames import patchify
from tasks.adapters.models.videollama3.fused_layers import (
    JoinedAttention,
    JoinedMLP,
    PackedLinear,
    fuse_norms,
    join_projections,
    pack_linear_weights,
    rotated,
)
from tasks.adapters.models.videollama3.generator import AnswerGenerator
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention
from tasks.adapters.models.videollama3.model import VideoLlama3
from tests.adapters.models.fake_cuda import fake_cuda, fake_model
from tests.adapters.models.videollama3.test_kv_cache import CONFIG, TEXTS
from tests.adapters.models.videollama3.test_on_a_gpu import SPEC, WIDTHS_OF_THE_2B, config


def pack(model: Any) -> None:
    pack_linear_weights(model, nn.Linear(2, 3))
    layers = [module for name, module in model.named_modules() if name.endswith("_proj")]
    assert {type(layer) for layer in layers} == {PackedLinear}


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    made = Qwen2Model(Qwen2Config(**CONFIG)).eval()
    for name, weight in made.named_parameters():
        # A fresh model has norms of ones and no biases: then none could be mistaken.
        if name.endswith(("norm.weight", "bias")):
            nn.init.uniform_(weight, 0.5, 2)
    use_row_attention(made)
    return made


def states(model: Any) -> torch.Tensor:
    """What prompts of several lengths, read and then grown, end with."""
    rows = BatchKVCache(model, len(TEXTS), 80)
    prompts = [model.embed_tokens(torch.tensor(text)) for text in TEXTS]
    hidden = torch.cat([rows.prefill(i, prompt) for i, prompt in enumerate(prompts)])
    grown = [rows.decode(growth, hidden) for growth in ([[1], [2], [3], [4]], [[], [8, 9, 10], [4], []])]
    return torch.cat([hidden, *grown])


@pytest.mark.parametrize("fuse", [fuse_norms, join_projections, pack])
@torch.inference_mode()
def test_fused_layers_are_the_same_in_float32(model: Any, fuse: Any) -> None:
    expected = states(copy.deepcopy(model))
    fuse(model)
    torch.testing.assert_close(states(model), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_are_rotated_as_transformers_rotates_them(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    heads = torch.randn(2, 3, 5, 8).to(dtype)
    angles = torch.randn(5, 4).repeat(1, 2)
    cos, sin = angles.cos(), angles.sin()
    expected = heads * cos + rotate_half(heads) * sin
    torch.testing.assert_close(rotated(heads, cos, sin), expected, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_frames_are_the_same_through_joined_attention(llama: VideoLlama3) -> None:
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (3, 56, 84, 3), dtype=torch.uint8)
    grid = (56 // SPEC.patch, 84 // SPEC.patch)
    parts = {name: copy.deepcopy(getattr(llama.model.model, name)) for name in ("vision_model", "projector")}
    for part in parts.values():
        part.float()
    model: Any = SimpleNamespace(device=llama.device, model=SimpleNamespace(**parts))
    for name, weight in nn.ModuleDict(parts).named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(weight, -0.5, 0.5)
    encoder = FrameEncoder(model, SPEC, Usage(torch.device("cpu")))
    expected = encoder(patchify(frames, SPEC), grid=grid)
    join_frame_attention(encoder.vision)
    found = encoder(patchify(frames, SPEC), grid=grid)
    assert {type(layer.self_attn) for layer in encoder.vision.encoder.layers} == {JoinedFrameAttention}
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@torch.inference_mode()
def test_no_norm_and_no_layer_is_left_out(model: Any) -> None:
    fuse_norms(model)
    join_projections(model)
    kinds = [type(module).__name__ for module in model.modules()]
    assert kinds.count("RMSNorm") == 2 * CONFIG["num_hidden_layers"] + 1
    assert kinds.count("JoinedAttention") == kinds.count("JoinedMLP") == CONFIG["num_hidden_layers"]
    assert not {"Qwen2RMSNorm", "Qwen2Attention", "Qwen2MLP"} & {*kinds}


def test_joined_weights_take_the_place_of_the_others(model: Any) -> None:
    size = sum(weight.nbytes for weight in model.parameters())
    old = [weakref.ref(layer.mlp.gate_proj.weight) for layer in model.layers]
    join_projections(model)
    assert [weight() for weight in old] == [None] * len(old)
    assert sum(weight.nbytes for weight in model.parameters()) == size


def test_while_weights_are_joined_they_are_there_twice_for_one_layer_at_a_time() -> None:
    with fake_cuda() as counted:
        shape = Qwen2Config(**{**WIDTHS_OF_THE_2B, "num_hidden_layers": 4})
        model = fake_model(Qwen2Model, shape, torch.bfloat16)
        layer = sum(weight.nbytes for weight in model.layers[0].parameters())
        counted.begin()
        join_projections(model)
    assert 0 < counted.peak_bytes < layer


@pytest.mark.parametrize("quantized", [False, True])
def test_on_a_gpu_layers_are_fused_but_quantized_weights_stay_as_they_are(
    llama: VideoLlama3, quantized: bool
) -> None:
    shape = config(vocab_size=llama.model.config.text_config.vocab_size)
    with fake_cuda():
        model = fake_model(VideoLlama3ForConditionalGeneration, shape, torch.bfloat16)
        model.is_quantized = quantized
        FrameEncoder(model, SPEC, Usage(torch.device("cuda")))
        AnswerGenerator(model, llama.decoder.tokenizer, llama.decoder.grammar, Usage(torch.device("cuda")))
    layer = model.model.language_model.layers[0]
    assert isinstance(layer.self_attn, JoinedAttention) is not quantized
    assert isinstance(layer.mlp, JoinedMLP) is not quantized
    assert isinstance(layer.input_layernorm, nn.RMSNorm)
    assert isinstance(model.model.vision_model.encoder.layers[0].self_attn, JoinedFrameAttention)


def test_on_a_cpu_all_layers_are_transformers_own(llama: VideoLlama3) -> None:
    """Its fused norm is four times as slow there."""
    kinds = {type(module).__name__ for module in llama.model.modules()}
    assert {"Qwen2RMSNorm", "Qwen2Attention", "Qwen2MLP", "VideoLlama3VisionAttention"} <= kinds
