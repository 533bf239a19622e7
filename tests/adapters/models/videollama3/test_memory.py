"""What VideoLLaMA3 takes is known before it is loaded."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, VideoLlama3Config

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.memory import row_bytes, weight_bytes
from tests import FIXTURES

TINY = FIXTURES / "videollama3-original-tiny"

PUBLISHED_2B = VideoLlama3Config(
    text_config={
        "model_type": "qwen2",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    },
    vision_config={
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "patch_size": 14,
    },
    tie_word_embeddings=True,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_row_is_the_cache_and_the_vision_features(dtype: torch.dtype) -> None:
    model = load_model(resolve_checkpoint(str(TINY)), dtype=dtype)
    cache = DynamicCache(config=model.config.text_config)
    output = model.model(input_ids=torch.ones(1, 50, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    # A frame's features are as wide as what the language model gives for a token.
    features = output.last_hidden_state.nbytes
    assert row_bytes(model.config, tokens=50, itemsize=dtype.itemsize) == held + features


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_derived_weights_are_those_of_a_loaded_model(dtype: torch.dtype) -> None:
    model = load_model(resolve_checkpoint(str(TINY)), dtype=dtype)
    held = sum(weight.nbytes for weight in model.parameters())
    assert weight_bytes(model.config, quantization="none", itemsize=dtype.itemsize) == held


def test_derived_int8_weights_are_those_of_a_loaded_model() -> None:
    model = load_model(resolve_checkpoint(str(TINY)), dtype=torch.bfloat16, quantization="int8")
    held = sum(weight.nbytes for weight in model.parameters())
    assert weight_bytes(model.config, quantization="int8", itemsize=2) == held


def test_derived_int4_weights_are_those_of_a_loaded_model_with_their_scales() -> None:
    model = load_model(resolve_checkpoint(str(TINY)), dtype=torch.bfloat16, quantization="int4")
    states = [state for weight in model.parameters() if (state := getattr(weight, "quant_state", None))]
    scales = sum(state.absmax.nbytes + state.state2.absmax.nbytes for state in states)
    held = sum(weight.nbytes for weight in model.parameters()) + scales
    assert weight_bytes(model.config, quantization="int4", itemsize=2) == pytest.approx(held, rel=1e-4)


def test_the_published_2b_has_its_weights() -> None:
    assert weight_bytes(PUBLISHED_2B, quantization="none", itemsize=1) == pytest.approx(1.96e9, rel=0.001)
    assert weight_bytes(PUBLISHED_2B, quantization="none", itemsize=2) == pytest.approx(3.92e9, rel=0.001)
