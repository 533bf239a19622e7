"""A chunk takes what was measured, by the shapes of the published models."""

from __future__ import annotations

import pytest
from transformers import WhisperConfig

from tasks.adapters.models.whisper.memory import chunk_bytes

SIZES = {"base": (80, 512, 6, 51865), "large-v3": (128, 1280, 32, 51866)}
"""Mel bins, width, layers and vocabulary."""


@pytest.mark.parametrize(("name", "megabytes"), [("base", 100), ("large-v3", 900)])
def test_a_chunk_takes_about_so_much(name: str, megabytes: int) -> None:
    mel, width, layers, vocabulary = SIZES[name]
    config = WhisperConfig(
        num_mel_bins=mel,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        vocab_size=vocabulary,
    )
    assert chunk_bytes(config) / 1e6 == pytest.approx(megabytes, rel=0.05)
