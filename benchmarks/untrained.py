"""Untrained VideoLLaMA3 checkpoints of any size: real architecture, real layout, seeded weights.

What they answer is arbitrary, and about as long as the schema allows. What an answer costs is real.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from deep_memory import LANGUAGE, VISION
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

from hookline.demo_models import VIDEOLLAMA3_PREPROCESSOR, save_tokenizer, train_tokenizer
from hookline.demo_weights import write_json
from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint

WHISPER_BASE = {
    "num_mel_bins": 80,
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "vocab_size": 51_865,
}
"""Of openai/whisper-base."""

LETTERS = "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ"

PUNCTUATION = ('" :', '" ,', 'Ġ "', '" }', '" ]', "[ ]", "Ġ [", "Ġ {", "} ]", "} ,")
"""Tokens that tokenizers of language models have for JSON, as the two parts that are merged; `Ġ` is how
a byte-level tokenizer spells a space."""

LONGEST = 5
"""Letters of a made-up word: about what a token holds of English text, so that answers of so many
characters take about as many tokens as real ones."""

SEED = 0

EMBEDDING = "model.language_model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model: its config's figures, the tokens of its tokenizer, and of a segment's frames."""

    name: str
    language: dict[str, Any]
    vision: dict[str, Any]
    tokens: int
    max_tokens: int


FULL = Shape("VideoLLaMA3-2B", LANGUAGE["2B"], VISION, tokens=151_643, max_tokens=16_384)

MID = Shape(
    "half the 2B's widths, a seventh of its layers, a quarter of its vocabulary",
    {
        "hidden_size": 768,
        "intermediate_size": 4480,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        "vocab_size": 37_984,
        "tie_word_embeddings": True,
    },
    {
        "hidden_size": 576,
        "intermediate_size": 2152,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "patch_size": 14,
    },
    tokens=37_900,
    max_tokens=2800,
)

TINY = Shape(
    "tiny",
    {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 2048,
        "tie_word_embeddings": True,
    },
    {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "patch_size": 14,
    },
    tokens=2000,
    max_tokens=100,
)


def write_checkpoint(
    folder: Path, shape: Shape, *, dtype: torch.dtype, device: torch.device
) -> tuple[Checkpoint, VideoLlama3Config]:
    """Write a checkpoint in transformers' own layout, its head tied to its embedding.

    Weights are drawn on `device`, which decides what is drawn.
    """
    folder.mkdir(parents=True)
    ids = write_tokenizer(folder, tokens=shape.tokens).get_vocab(with_added_tokens=True)
    rope = {"rope_type": "default", "rope_theta": 1e6}
    limits = {"max_position_embeddings": 32_768, "rms_norm_eps": 1e-6}
    config = VideoLlama3Config(
        text_config={"model_type": "qwen2", "rope_parameters": rope, **limits, **shape.language},
        vision_config=shape.vision,
        video_token_id=ids["<|video_pad|>"],
        image_token_id=ids["<|image_pad|>"],
        tie_word_embeddings=True,
    )
    config.save_pretrained(folder)
    weights = _weights(config, dtype=dtype, device=device)
    _prefer_words(weights, ids, last_layer=shape.language["num_hidden_layers"] - 1)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    ends = {"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]}
    write_json(folder / "generation_config.json", ends)
    preprocessor = {**VIDEOLLAMA3_PREPROCESSOR, "max_tokens": shape.max_tokens}
    write_json(folder / "preprocessor_config.json", preprocessor)
    return resolve_checkpoint(str(folder)), config


def write_tokenizer(folder: Path, *, tokens: int) -> Tokenizer:
    """Write a byte-level BPE tokenizer in the manner of Qwen2, of so many tokens and the special ones."""
    content = json.loads(train_tokenizer().to_str())
    _grow(content["model"]["vocab"], content["model"]["merges"], tokens=tokens)
    tokenizer = Tokenizer.from_str(json.dumps(content))
    save_tokenizer(tokenizer, folder)
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer", **names})
    return tokenizer


def _grow(vocab: dict[str, int], merges: list[list[str]], *, tokens: int) -> None:
    """Add JSON's punctuation and made-up words, some with a space before them, up to so many tokens."""
    rng = random.Random(SEED)
    punctuation = list(PUNCTUATION)
    beginnings, ends = ["Ġ", *LETTERS], [*LETTERS]
    while punctuation or len(vocab) < tokens:
        pair = punctuation.pop() if punctuation else rng.choice(beginnings) + " " + rng.choice(ends)
        left, right = pair.split(" ")
        word = left + right
        if word in vocab:
            continue
        vocab[word] = len(vocab)
        merges.append([left, right])
        if word[1:].isalpha() and len(word) <= LONGEST - 2:
            beginnings.append(word)
        if word.isascii() and word.isalpha() and len(word) == 2:
            ends.append(word)


def _weights(
    config: VideoLlama3Config, *, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """Weights that keep activations near one, whatever the width."""
    with torch.device("meta"):
        model = VideoLlama3ForConditionalGeneration(config)
    generator = torch.Generator(device).manual_seed(SEED)
    weights = {}
    for name, parameter in model.named_parameters():
        if name == "lm_head.weight":  # it is the embedding
            continue
        if parameter.ndim == 1:
            value = torch.full(parameter.shape, 1.0 if "norm" in name and name.endswith("weight") else 0.0)
        else:
            # Without wider queries and keys, attention would average all frames of all videos away.
            wide = "language_model" in name and (".q_proj." in name or ".k_proj." in name)
            std = (2 if wide else 1) / math.sqrt(parameter[0].numel())
            value = torch.empty(parameter.shape, device=device).normal_(std=std, generator=generator)
        weights[name] = value.to("cpu", dtype)
    return weights


def _prefer_words(weights: dict[str, torch.Tensor], ids: dict[str, int], *, last_layer: int) -> None:
    """Make the model rather write words than quotes, and quotes than brackets.

    Strings and lists then end where the schema ends them, and all answers are about as long. The last
    layer adds the same to every hidden state, and the disliked tokens have some of that against them.
    """
    attention = f"model.language_model.layers.{last_layer}.self_attn"
    weights[f"{attention}.v_proj.bias"].fill_(1)
    added = weights[f"{attention}.o_proj.weight"].float().sum(1)
    dislike = torch.zeros(len(weights[EMBEDDING]))
    dislike[[i for text, i in ids.items() if '"' in text]] = 0.5
    dislike[[i for text, i in ids.items() if "]" in text or "}" in text]] = 1
    weights[EMBEDDING] -= (dislike[:, None] * added / added.norm()).to(weights[EMBEDDING].dtype)
