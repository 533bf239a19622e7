"""Small stand-ins for the real checkpoints, made on the spot: for the demo, tests and dry rehearsals.

They have the real architectures in the real layouts, so that everything real checkpoints go through
runs on them as well. They are UNTRAINED: what they score is arbitrary, and their rankings are random.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from hookline.demo_weights import fill, write_json
from hookline.demo_whisper import write_whisper
from tasks.core.scoring.answers import default_prompt

VIDEOMAE_CONFIG: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 48,
    "num_frames": 16,
    "image_size": 112,
    "patch_size": 16,
    "tubelet_size": 2,
    "use_mean_pooling": True,
    "id2label": {0: "abseiling", 1: "juggling balls", 2: "zumba"},
    "label2id": {"abseiling": 0, "juggling balls": 1, "zumba": 2},
}

VIDEOMAE_PREPROCESSOR: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 112},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 112, "width": 112},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "image_processor_type": "VideoMAEImageProcessor",
}
"""The values of MCG-NJU/videomae-base-finetuned-kinetics, but for half the width and height."""

SPECIAL_TOKENS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>", "<image>"),
]

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'video' -%}
{%- for second in part.timestamps -%}
{{- 'Time ' + second | round(1) | string + 's:<image>' + ('\\n' if loop.last else ',') -}}
{%- endfor -%}
{%- else -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How the tokenizers of Qwen2 and later cut text before merging: every digit stands alone."""

EXAMPLES = [
    '{"virality_score": 41, "hook_quality": 35, "engagement_potential": 50, "viral_elements": '
    '["surprise", "humour"], "viral_moments": [{"timestamp": 12, "why": "the glass falls"}, '
    '{"timestamp": 48, "why": "everyone laughs"}], "reasoning": "The start is slow, but the payoff is '
    'clear and easy to share.", "recommendation": "Cut the first seconds, then publish."}',
    "user\nTime 0.0s:,Time 1.0s:,Time 2.0s:\nassistant\n",
]
"""Besides the prompt, what the demo's tokenizer learns its merges from."""

VIDEOLLAMA3_PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "Videollama3ImageProcessor",
    "do_resize": True,
    "resample": 3,
    "do_convert_rgb": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "patch_size": 14,
    "min_tokens": 16,
    "max_tokens": 2048,
}
"""As published, but for an eighth of the tokens: 59 frames of a 16:9 video become 196x112."""

SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
"""The published generation config samples; Hookline does not."""


def write_demo_models(folder: Path) -> None:
    """Write small untrained checkpoints to `folder/videomae`, `folder/videollama3` and `folder/whisper`.

    Untrained models rank at random and hear noise: good for seeing the pipeline work, never for judging
    videos. The first is in the layout of MCG-NJU/videomae-base-finetuned-kinetics, the second in the
    original layout of DAMO-NLP-SG/VideoLLaMA3-2B, the third in that of openai/whisper-base. The same bytes
    every time, 3 MB, written in seconds.
    """
    _write_videomae(folder / "videomae")
    _write_videollama3(folder / "videollama3")
    write_whisper(folder / "whisper")


def _write_videomae(folder: Path) -> None:
    from safetensors.torch import save_file
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    folder.mkdir(parents=True, exist_ok=True)
    model = VideoMAEForVideoClassification(VideoMAEConfig(**VIDEOMAE_CONFIG))
    fill(model)
    model.config.architectures = ["VideoMAEForVideoClassification"]
    model.config.save_pretrained(folder)
    save_file(dict(model.named_parameters()), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "preprocessor_config.json", VIDEOMAE_PREPROCESSOR)


def _write_videollama3(folder: Path) -> None:
    from safetensors.torch import save_file
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    from tasks.adapters.models.videollama3.config import native_config

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _write_tokenizer(folder)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    config = _original_config(ids)
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", VIDEOLLAMA3_PREPROCESSOR)
    write_json(
        folder / "generation_config.json",
        {"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"], **SAMPLING},
    )
    model = VideoLlama3ForConditionalGeneration(
        VideoLlama3Config(**native_config(config, model="the demo model"))
    )
    fill(model)
    # Rows of zeros are never chosen: the demo's answers keep to printable ASCII.
    unreadable = [i for i in ids.values() if not tokenizer.decode([i]).isascii()]
    with torch.no_grad():
        model.get_input_embeddings().weight[unreadable] = 0
    weights = {
        _original_name(name): value for name, value in model.named_parameters() if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _original_config(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["Videollama3Qwen2ForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_videollama3.Videollama3Qwen2Config",
            "AutoModelForCausalLM": "modeling_videollama3.Videollama3Qwen2ForCausalLM",
        },
        "model_type": "videollama3_qwen2",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-06,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_token_compression": True,
        "mm_projector_type": "mlp2x_gelu",
        "image_token_index": ids["<image>"],
        "eos_token_id": ids["<|im_end|>"],
        "bos_token_id": ids["<|endoftext|>"],
        # As in the real ones, the embedding has more rows than the tokenizer has tokens.
        "vocab_size": math.ceil((len(ids) + 1) / 64) * 64,
        "vision_encoder_config": {
            "model_type": "videollama3_vision_encoder",
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "patch_size": 14,
        },
    }


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer in the manner of Qwen2, without special tokens as yet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([default_prompt(), *EXAMPLES], trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Add the special tokens, which come last, and write `tokenizer.json`."""
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False, special=True) for text in SPECIAL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _write_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = train_tokenizer()
    save_tokenizer(tokenizer, folder)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": SPECIAL_TOKENS[1:],
            "model_max_length": 32768,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    return tokenizer


def _original_name(name: str) -> str:
    for native, original in (
        ("model.vision_model.", "model.vision_encoder."),
        ("model.projector.", "model.mm_projector."),
        ("model.language_model.", "model."),
    ):
        if name.startswith(native):
            return original + name.removeprefix(native)
    raise ValueError(f"no original name for {name}")
