"""What VideoLLaMA3 takes is known before it is loaded."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from transformers import DynamicCache, VideoLlama3Config

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.memory import fitting_batch, free_bytes, row_bytes, weight_bytes
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


@pytest.mark.parametrize(
    ("free", "most", "batch"),
    [
        (10_000, 32, 9),
        (10_999, 32, 9),
        (11_000, 32, 10),
        (10_000, 4, 4),
        (2_000, 32, 1),
        (1_999, 32, 1),  # too little: the one segment may fail, but is tried
        (0, 32, 1),
        (-5_000, 32, 1),
    ],
)
def test_a_batch_fills_what_is_left_and_has_one_segment_at_least(free: int, most: int, batch: int) -> None:
    assert fitting_batch(free, row=1_000, reserve=1_000, most=most) == batch


def test_half_of_the_machines_memory_is_free_without_a_control_group(tmp_path: Path) -> None:
    free = free_bytes(torch.device("cpu"), cgroup=tmp_path)
    assert free == pytest.approx(psutil.virtual_memory().available / 2, rel=0.2)


@pytest.mark.parametrize(
    ("limit", "used", "stat", "free"),
    [
        ("1000000", "400000", "anon 1\ninactive_file 100000\n", 350_000),  # unused cache gives way
        ("1000000", "400000", "anon 1\n", 300_000),
        ("1000000", "1400000", "", 0),
    ],
)
def test_a_control_groups_limit_counts(tmp_path: Path, limit: str, used: str, stat: str, free: int) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(stat)
    assert free_bytes(torch.device("cpu"), cgroup=tmp_path) == free


def test_a_control_group_without_a_limit_does_not_count(tmp_path: Path) -> None:
    for name, text in {"memory.max": "max", "memory.current": "400000", "memory.stat": ""}.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert free_bytes(torch.device("cpu"), cgroup=tmp_path) > 1_000_000
