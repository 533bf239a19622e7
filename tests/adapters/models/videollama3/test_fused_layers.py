"""Fused layers give what transformers' own give, in no more memory, and are there on GPUs alone."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model, VideoLlama3ForConditionalGeneration

from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3.fused_layers import (
    JoinedAttention,
    JoinedMLP,
    fuse_norms,
    join_projections,
)
from tasks.adapters.models.videollama3.generator import AnswerGenerator
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention
from tasks.adapters.models.videollama3.model import VideoLlama3
from tests.adapters.models.fake_cuda import fake_cuda, fake_model
from tests.adapters.models.videollama3.test_kv_cache import CONFIG, TEXTS
from tests.adapters.models.videollama3.test_on_a_gpu import WIDTHS_OF_THE_2B, config


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


@pytest.mark.parametrize("fuse", [fuse_norms, join_projections])
@torch.inference_mode()
def test_fused_layers_are_the_same_in_float32(model: Any, fuse: Any) -> None:
    expected = states(copy.deepcopy(model))
    fuse(model)
    torch.testing.assert_close(states(model), expected, atol=2e-5, rtol=0)


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
        AnswerGenerator(model, llama.decoder.tokenizer, llama.decoder.grammar, Usage(torch.device("cuda")))
    layer = model.model.language_model.layers[0]
    assert isinstance(layer.self_attn, JoinedAttention) is not quantized
    assert isinstance(layer.mlp, JoinedMLP) is not quantized
    assert isinstance(layer.input_layernorm, nn.RMSNorm)


def test_on_a_cpu_all_layers_are_transformers_own(llama: VideoLlama3) -> None:
    """Its fused norm is four times as slow there."""
    kinds = {type(module).__name__ for module in llama.model.model.language_model.modules()}
    assert {"Qwen2RMSNorm", "Qwen2Attention", "Qwen2MLP"} <= kinds
