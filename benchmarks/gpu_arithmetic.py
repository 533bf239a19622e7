"""What the deep stage would take on an H100, by arithmetic from counts: nothing here is measured.

    python benchmarks/gpu_arithmetic.py

Thirty segments of 59 s of a moving video, all of their tokens kept, by the 2B in bfloat16; before, and after
what was done about GPUs. Kernels and bytes were counted on tensors without numbers, as
tests/adapters/models/videollama3/test_on_a_gpu.py counts them, which holds them at what is here.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from deep_memory import published_config
from operations import head_weights, layer_weights, vision_operations

OUTPUT = Path(__file__).parent / "results" / "gpu_arithmetic.json"

PRODUCTS, ATTENTION, VISION_ATTENTION = 550e12, 380e12, 304e12
"""Operations a second that kernels reach on an H100: of matrix products, and of flash attention."""

BANDWIDTH = 2.9e12
"""Bytes a second of its memory."""

PROCESSORS, BLOCKS_EACH = 132, 1.6
"""Its multiprocessors, and how many blocks of the masked attention one runs as fast as a single one."""

BLOCK_S, BLOCK_KEYS, BLOCK_QUERIES = 3e-6, 128, 64
"""What such a block takes for so many keys and queries."""

KERNEL_S = 2.4e-6
"""What a small kernel takes in a CUDA graph."""

SEGMENTS, FRAMES, PATCHES, PROMPT, MEMORY = 30, 300, 1056, 16_150, 16_486
STEPS, WIDE, STEP_HOST_S, REST_S = 245, 0.44, 1.7e-3, 0.5
"""Steps as on a CPU; the share of them that is wider than one token; what the CPU does alone at each; and
looking, making grammars, recording graphs."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What is counted: the kernels of a step, the tokens of a wide one, the pieces of its keys, and bytes.

    `patch_bytes` and `token_bytes` are what all but products and attention move for each patch of a frame, or
    token of a prompt, in one layer; `mask_bytes` what is done to a place of a step's mask in all layers. For
    `idle_s` the GPU waits for the CPU while frames are encoded.
    """

    kernels: int
    wide: int
    pieces: int
    patch_bytes: float
    token_bytes: float
    mask_bytes: float
    idle_s: float


LAYERS = 28

BEFORE = Counts(36 + 47 * LAYERS, 16, 1, 161e3, 259e3, (1 + 8) * LAYERS, 19 * 27 * 0.7e-3)
AFTER = Counts(32 + 21 * LAYERS, 8, 8, 92e3, 142e3, 2 * LAYERS, 0)


def seconds(counts: Counts) -> dict[str, float]:
    """Seconds by phase."""
    config = published_config("2B")
    text, vision = config.text_config, config.vision_config
    linear, attention = vision_operations(config, PATCHES)
    moved = PATCHES * vision.num_hidden_layers * counts.patch_bytes
    frame = linear / PRODUCTS + attention / VISION_ATTENTION + moved / BANDWIDTH
    tokens, wide = SEGMENTS * PROMPT, text.hidden_size * text.num_hidden_layers
    prompts = (
        tokens * 2 * layer_weights(config) / PRODUCTS
        + 2 * tokens * PROMPT * wide / ATTENTION
        + tokens * text.num_hidden_layers * counts.token_bytes / BANDWIDTH
    )
    step = (1 - WIDE) * step_seconds(counts, 1) + WIDE * step_seconds(counts, counts.wide) + STEP_HOST_S
    found = {
        "vision": FRAMES * frame + counts.idle_s,
        "prefill": prompts,
        "generate": STEPS * step,
        "rest": REST_S,
    }
    return {**found, "total": sum(found.values())}


def step_seconds(counts: Counts, width: int) -> float:
    """One step of so many tokens a row."""
    config = published_config("2B")
    text = config.text_config
    heads, size = text.num_key_value_heads, text.hidden_size // text.num_attention_heads
    queries = width * text.num_attention_heads // heads
    blocks = SEGMENTS * heads * counts.pieces * math.ceil(queries / BLOCK_QUERIES)
    turns = math.ceil(MEMORY / counts.pieces / BLOCK_KEYS) * max(1, blocks / PROCESSORS / BLOCKS_EACH)
    read = 4 * SEGMENTS * heads * MEMORY * size / BANDWIDTH
    weights = 2 * (layer_weights(config) + head_weights(config)) / BANDWIDTH
    # So few rows reach three quarters of what many do.
    products = 2 * SEGMENTS * width * layer_weights(config) / PRODUCTS * 1.3
    mask = SEGMENTS * queries * MEMORY * counts.mask_bytes / BANDWIDTH
    attention = text.num_hidden_layers * max(turns * BLOCK_S, read)
    return attention + counts.kernels * KERNEL_S + max(weights, products) + mask


def main() -> None:
    """Work it out, print, write."""
    found = {
        name: {
            "counts": asdict(counts),
            "seconds": seconds(counts),
            "step_ms": {width: 1000 * step_seconds(counts, width) for width in (1, counts.wide)},
        }
        for name, counts in (("before", BEFORE), ("after", AFTER))
    }
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")
    print(OUTPUT.read_text())


if __name__ == "__main__":
    main()
