"""How many segments VideoLLaMA3 judges at once on cards of several sizes: derived, not measured.

    python benchmarks/deep_memory.py

Prints a table and writes benchmarks/results/deep_memory.json. Every figure follows from the published
checkpoints' configs; no weights are read. GB is 10^9 bytes, of a card as well: its GiB are a little
more, and the driver has the difference.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import VideoLlama3Config

from tasks.adapters.models.memory import RESERVED_BYTES, fitting_batch
from tasks.adapters.models.videollama3.encoder import PATCHES_PER_PASS
from tasks.adapters.models.videollama3.memory import row_bytes, step_bytes, weight_bytes, working_bytes

OUTPUT = Path(__file__).parent / "results" / "deep_memory.json"

GB = 10**9
CARDS_GB = (8, 12, 16, 24, 80)

FRAMES, TOKENS_PER_FRAME = 59, 264
"""A segment of 59 seconds at one frame a second; 264 tokens are 616x336 pixels."""

TEXT_TOKENS = 9 * FRAMES + 400 + 400 + 320
"""Each frame's timestamp, the prompt, what is said in it (1,500 characters), and the longest answer."""

VIDEOMAE = 2 * 86_000_000
"""VideoMAE base in bfloat16. What it works with is given back."""

WHISPER = 4 * 72_600_000
"""Whisper base in float32. What it works with is given back before the deep stage begins."""

CUDA_CONTEXT = GB // 2

VISION = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
}
"""Of both DAMO-NLP-SG/VideoLLaMA3-2B and -7B, as the language models below."""

LANGUAGE: dict[str, dict[str, Any]] = {
    "2B": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7B": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}


def published_config(size: str) -> VideoLlama3Config:
    """The config of a published checkpoint, as far as it decides sizes."""
    return VideoLlama3Config(
        text_config={"model_type": "qwen2", **LANGUAGE[size]},
        vision_config=VISION,
        tie_word_embeddings=LANGUAGE[size]["tie_word_embeddings"],
    )


def derive(size: str, quantization: str) -> dict[str, Any]:
    """One line of the table. A card's batch is 0 where not even one segment fits."""
    config = published_config(size)
    weights = weight_bytes(config, quantization=quantization, itemsize=2)
    tokens = FRAMES * TOKENS_PER_FRAME + TEXT_TOKENS
    row = row_bytes(config, tokens=tokens, itemsize=2) + step_bytes(config, tokens=tokens, itemsize=2)
    working = working_bytes(config, tokens=tokens, patches=PATCHES_PER_PASS, itemsize=2)
    batches = {}
    for card in CARDS_GB:
        free = card * GB - CUDA_CONTEXT - VIDEOMAE - WHISPER - weights
        fits = free - working - RESERVED_BYTES >= row
        batches[card] = fitting_batch(free, row=row, reserve=working, most=1024) if fits else 0
    return {
        "model": f"VideoLLaMA3-{size}",
        "quantization": quantization,
        "weights_gb": round(weights / GB, 2),
        "segment_gb": round(row / GB, 3),
        "batch_by_card_gb": batches,
    }


def as_markdown(lines: list[dict[str, Any]]) -> str:
    """The table, with a dash where nothing fits."""
    head = ["model", "quantization", "weights GB", "GB a segment", *(f"{card} GB card" for card in CARDS_GB)]
    rows = [
        [
            *(line["model"], line["quantization"], line["weights_gb"], line["segment_gb"]),
            *(batch or "-" for batch in line["batch_by_card_gb"].values()),
        ]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    """Derive, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the figures go, as JSON")
    output: Path = parser.parse_args().output
    lines = [derive(size, quantization) for size in LANGUAGE for quantization in ("none", "int8", "int4")]
    print(as_markdown(lines))
    report = {
        "command": "python benchmarks/deep_memory.py",
        "derived": True,
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "tokens_a_segment": FRAMES * TOKENS_PER_FRAME + TEXT_TOKENS,
        "lines": lines,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
