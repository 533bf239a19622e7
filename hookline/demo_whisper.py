"""A stand-in for Whisper: the real architecture in the real layout, but UNTRAINED. Its words are noise."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from torch import nn

from hookline.demo_weights import fill, write_json

SIZES: dict[str, Any] = {
    "num_mel_bins": 80,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}

PREPROCESSOR: dict[str, Any] = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "WhisperProcessor",
    "return_attention_mask": False,
    "sampling_rate": 16000,
}
"""As published, but for the table of filters, which follows from these numbers."""

HEADS = [[0, 0], [1, 1]]
N_LANGUAGES = 99
N_TIMES = 1501
SPACE, END, PLACES = 1.5, 1.5, 12.0
"""How much a space and the end count beside a letter, and the place of a token beside what it is."""


def write_whisper(folder: Path, *, sizes: Mapping[str, Any] = SIZES) -> None:
    """Write an untrained checkpoint in the layout of openai/whisper-base: the same bytes every time."""
    from safetensors.torch import save_file
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    ids = _write_tokenizer(folder)
    end = ids["<|endoftext|>"]
    shared = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    shared |= {"decoder_start_token_id": ids["<|startoftranscript|>"]}
    model = WhisperForConditionalGeneration(
        WhisperConfig(**{"vocab_size": len(ids), **SIZES, **sizes}, **shared)
    )
    fill(model)
    _make_it_talk(model, ids)
    model.config.architectures = ["WhisperForConditionalGeneration"]
    model.config.save_pretrained(folder)
    weights = {name: value for name, value in model.named_parameters() if name != "proj_out.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    write_json(folder / "generation_config.json", _generation(ids) | shared)


def _make_it_talk(model: nn.Module, ids: dict[str, int]) -> None:
    """Have it write letters with spaces between them, and end, where it would repeat a byte for ever."""
    decoder = model.get_submodule("model.decoder")
    weight = decoder.get_parameter("embed_tokens.weight")
    gains = torch.zeros(len(weight))
    gains[[ids[letter] for letter in ascii_lowercase]] = 1.0
    gains[ids["Ġ"]], gains[ids["<|endoftext|>"]] = SPACE, END
    gains[ids["<|startoftranscript|>"] :] = 1.0
    with torch.no_grad():
        weight.mul_(gains[:, None])
        decoder.get_parameter("embed_positions.weight").mul_(PLACES)


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """Bytes for text, and behind them the special tokens in OpenAI's order; returns all ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[:N_LANGUAGES]]
    special = [
        *("<|endoftext|>", "<|startoftranscript|>", *languages, "<|translate|>", "<|transcribe|>"),
        *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
    ]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    times = [f"<|{number * 0.02:.2f}|>" for number in range(N_TIMES)]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in times])
    tokenizer.save(str(folder / "tokenizer.json"))
    shared = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "WhisperTokenizer", "model_max_length": 448, **shared},
    )
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return vocabulary


def _generation(ids: dict[str, int]) -> dict[str, Any]:
    start, last = ids["<|startoftranscript|>"], ids["<|translate|>"]
    by_id = sorted(ids.items(), key=itemgetter(1))
    languages = {text: token for text, token in by_id if start < token < last}
    return {
        "alignment_heads": HEADS,
        "begin_suppress_tokens": [ids["<|endoftext|>"]],
        "is_multilingual": True,
        "lang_to_id": languages,
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "suppress_tokens": [],
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
    }
