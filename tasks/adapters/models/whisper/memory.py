"""How much memory Whisper takes. All sizes are bytes."""

from __future__ import annotations

from typing import Any

from tasks.adapters.models.whisper.decoding import MAX_TOKENS

ITEM_BYTES = 4
"""Of a number: all is float32, because in less a chunk's words would depend on what else is in its batch."""
INPUT_FRAMES = 3000
"""Spectra of the 30 s that it hears at once."""


def chunk_bytes(config: Any) -> int:
    """What one chunk of a batch takes: the encoder at its widest, and what the decoder keeps of it.

    `config` is a `WhisperConfig`. Both are added up, as memory that is given back lies in pieces. On a CPU a
    chunk took 107 MB with openai/whisper-base, and this says 100.
    """
    positions, width = config.max_source_positions, config.d_model
    sound = INPUT_FRAMES * (config.num_mel_bins + width)
    encoding = positions * (config.encoder_ffn_dim + 6 * width) + sound
    # Keys and values of the sound in each layer, the keys once more for the times of words; and of the text.
    kept = config.decoder_layers * width * (3 * positions + 2 * MAX_TOKENS)
    choosing = 4 * config.vocab_size
    return int(ITEM_BYTES * (encoding + kept + choosing))
