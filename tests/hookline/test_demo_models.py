"""The stand-ins: real layouts, the same bytes every time."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Tokenizer, VideoMAEForVideoClassification

from hookline.demo_models import write_demo_models
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.videollama3.config import frame_budget


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def test_demo_models_are_the_same_bytes_every_time(demo_models: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    write_demo_models(tmp_path)
    assert contents(tmp_path) == contents(demo_models)


def test_demo_models_are_small(demo_models: Path) -> None:
    assert sum(path.stat().st_size for path in demo_models.rglob("*") if path.is_file()) < 4_000_000


@pytest.mark.parametrize("name", ["videomae", "videollama3", "whisper"])
def test_demo_models_are_complete_checkpoints(demo_models: Path, name: str) -> None:
    assert resolve_checkpoint(str(demo_models / name)).revision.startswith("sha256:")


def test_the_demo_videomae_loads_without_missing_weights(demo_models: Path) -> None:
    model, report = VideoMAEForVideoClassification.from_pretrained(
        demo_models / "videomae", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.fc_norm is not None


def test_demo_frames_stay_large_enough_to_see(demo_models: Path) -> None:
    budget = frame_budget(resolve_checkpoint(str(demo_models / "videollama3")), frames_per_segment=59)
    assert budget.max_pixels >= 196 * 112
    assert budget.multiple_of == 28


def test_the_demo_asks_for_remote_code_and_sampling_as_the_real_one_does(demo_models: Path) -> None:
    folder = demo_models / "videollama3"
    assert "auto_map" in json.loads((folder / "config.json").read_text())
    assert json.loads((folder / "generation_config.json").read_text())["do_sample"]


def test_the_demo_tokenizer_is_built_like_qwen2s(demo_models: Path) -> None:
    tokenizer = Qwen2Tokenizer.from_pretrained(demo_models / "videollama3")
    assert tokenizer.eos_token == "<|im_end|>"
    for text in ("Zebra naïve 日本 🎬\n\tend", "Time 1234.5s:"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    digits = tokenizer.tokenize("1234.5")
    assert digits[:4] == ["1", "2", "3", "4"]
