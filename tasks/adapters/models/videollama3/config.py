"""What a VideoLLaMA3 checkpoint says of itself: its architecture, and how it wants its frames.

Everything is read from the checkpoint's own JSON files: class defaults differ from the published
values. Needs no PyTorch, which takes seconds to import.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tasks.adapters.models.checkpoints import Checkpoint, read_json
from tasks.core.errors import ModelError
from tasks.core.geometry import FrameBudget

ORIGINAL, NATIVE = "videollama3_qwen2", "video_llama_3"

ORIGINAL_NAMES = {
    # The original training code wraps the encoder once more.
    r"^model\.vision_encoder\.(vision_encoder\.)?": "model.vision_model.",
    r"^model\.mm_projector\.": "model.projector.",
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
"""Weight names of the original layout, and what transformers calls them."""

VIDEO_MERGE = 2
"""Patches merged into one token along each side: 2 for video, 1 for images (paper, model card)."""

ORIGINAL_ONLY = (
    *("architectures", "auto_map", "model_type", "torch_dtype", "transformers_version"),
    *("vision_encoder", "vision_encoder_config", "mm_projector_type", "image_token_index"),
    *("use_token_compression", "rope_theta", "rope_scaling"),
)
"""Fields of the original config that are not the language model's own."""

VIDEO_TOKEN, IMAGE_TOKEN = 151656, 151655
"""Ids of `<|video_pad|>` and `<|image_pad|>` in the tokenizers of Qwen2 and later."""

VISION_ENCODER = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
}
"""The published vision encoder (DAMO-NLP-SG/VL3-SigLIP-NaViT), which training code saves by name only."""


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """How a checkpoint wants its frames: sizes in pixels, and the normalisation.

    One token covers `patch * merge` pixels squared. A segment may have `max_tokens` tokens, a frame
    has at least `min_tokens`. Pixels become `(value * scale - mean) / std`, channel by channel.
    """

    patch: int
    merge: int
    min_tokens: int
    max_tokens: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    compress: bool

    @property
    def token_side(self) -> int:
        """Pixels along one side of what becomes one token."""
        return self.patch * self.merge


def frame_budget(checkpoint: Checkpoint, *, frames_per_segment: int) -> FrameBudget:
    """The size at which the model wants the frames of segments of so many frames.

    The tokens of a segment are shared out evenly over its frames (59 frames of a 1280x720 video
    become 616x336 with the published checkpoints). Reads only the checkpoint's JSON files.

    Raises:
        ModelError: the checkpoint is no VideoLLaMA3, or does not say how large its frames are.
    """
    spec = read_frame_spec(checkpoint)
    area = spec.token_side**2
    smallest = spec.min_tokens * area
    segment = spec.max_tokens * area
    return FrameBudget(
        max_pixels=max(segment // max(frames_per_segment, 1), smallest),
        min_pixels=smallest,
        multiple_of=spec.token_side,
        segment_pixels=segment,
    )


def read_frame_spec(checkpoint: Checkpoint) -> FrameSpec:
    """Read the preprocessing of a checkpoint from its JSON files.

    Raises:
        ModelError: as `frame_budget`.
    """
    config = read_config(checkpoint)
    values = _preprocessor(checkpoint)
    try:
        patch, merge = int(values["patch_size"]), VIDEO_MERGE
        area = (patch * merge) ** 2
        if "max_tokens" in values:
            fewest, most = int(values["min_tokens"]), int(values["max_tokens"])
        else:
            size = values["size"]
            fewest, most = int(size["shortest_edge"]) // area, int(size["longest_edge"]) // area
        return FrameSpec(
            patch=patch,
            merge=merge,
            min_tokens=fewest,
            max_tokens=most,
            scale=float(values.get("rescale_factor", 1 / 255)),
            mean=_channels(values, "image_mean"),
            std=_channels(values, "image_std"),
            compress=bool(config.get("use_token_compression", values.get("use_token_compression", True))),
        )
    except (KeyError, TypeError, ValueError) as error:
        wrong = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{checkpoint.model} does not say how its frames are prepared ({wrong} in its preprocessor "
            "config). Complete it from the published checkpoint's preprocessor_config.json.",
            reason="model_invalid",
        ) from error


def read_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The checkpoint's config.json.

    Raises:
        ModelError: it is of another architecture.
    """
    config = read_json(checkpoint, "config.json")
    if config.get("model_type") not in (ORIGINAL, NATIVE):
        raise ModelError(
            f"{checkpoint.model} is a {config.get('model_type')!r} checkpoint, not VideoLLaMA3. Name one "
            f"whose config.json has model_type {NATIVE!r} or {ORIGINAL!r}, e.g. DAMO-NLP-SG/VideoLLaMA3-2B.",
            reason="model_invalid",
        )
    return config


def native_config(original: dict[str, Any], *, model: str) -> dict[str, Any]:
    """The config of an original checkpoint in transformers' terms.

    Raises:
        ModelError: it does not say what its language model or its vision encoder is.
    """
    text = {key: value for key, value in original.items() if key not in ORIGINAL_ONLY}
    text["model_type"] = "qwen2"
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": original.get("rope_theta", 1e6)}
    vision: Any = original.get("vision_encoder_config") or (original.get("vision_encoder") and VISION_ENCODER)
    try:
        # The placeholder's own embedding is always overwritten; a vocabulary too small for the usual ids
        # lends its image token.
        fits = original["vocab_size"] > VIDEO_TOKEN
        return {
            "text_config": text,
            "vision_config": {key: value for key, value in vision.items() if key != "model_type"},
            "video_token_id": VIDEO_TOKEN if fits else original["image_token_index"],
            "image_token_id": IMAGE_TOKEN if fits else original["image_token_index"],
            "tie_word_embeddings": original.get("tie_word_embeddings", False),
        }
    except (KeyError, TypeError, AttributeError) as error:
        lacks = error if isinstance(error, KeyError) else "a usable 'vision_encoder_config' or 'vocab_size'"
        raise ModelError(
            f"{model} does not say what its model is: its config.json lacks {lacks}. Complete it "
            "from the published checkpoint's config.json.",
            reason="model_invalid",
        ) from error


def native_name(name: str) -> str:
    """What transformers calls a weight of either layout."""
    for original, native in ORIGINAL_NAMES.items():
        name = re.sub(original, native, name)
    return name


def check_described(checkpoint: Checkpoint) -> None:
    """Check what can be told from the small files, long before the weights are loaded.

    Raises:
        ModelError: the checkpoint is no VideoLLaMA3, or something that describes it is missing.
    """
    config = read_config(checkpoint)
    if config["model_type"] == ORIGINAL:
        native_config(config, model=checkpoint.model)
    read_frame_spec(checkpoint)
    there = {path.name for path in checkpoint.path.iterdir()}
    if "tokenizer.json" not in there and not there >= {"vocab.json", "merges.txt"}:
        raise ModelError(
            f"{checkpoint.model} has no tokenizer: tokenizer.json is missing, and vocab.json with merges.txt "
            "too. Copy it, with tokenizer_config.json, from the checkpoint that was fine-tuned.",
            reason="model_invalid",
        )


def _channels(values: dict[str, Any], name: str) -> tuple[float, ...]:
    """A value for each of red, green and blue; one number stands for all three."""
    value = values[name]
    channels = [value] * 3 if isinstance(value, int | float) else value
    if not (isinstance(channels, list) and len(channels) == 3):
        raise ValueError(f"{name} is {value!r} instead of three numbers")
    return tuple(float(channel) for channel in channels)


def _preprocessor(checkpoint: Checkpoint) -> dict[str, Any]:
    """The values that concern video, from the first of the files that may hold them."""
    if (checkpoint.path / "video_preprocessor_config.json").is_file():
        return read_json(checkpoint, "video_preprocessor_config.json")
    if (checkpoint.path / "processor_config.json").is_file():
        values = read_json(checkpoint, "processor_config.json")
        if isinstance(video := values.get("video_processor"), dict):
            return video
    return read_json(checkpoint, "preprocessor_config.json")
