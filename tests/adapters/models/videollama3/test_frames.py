"""Frames are sized, normalised, cut and pruned as the published processors do it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VideoLlama3ImageProcessorPil
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import smart_resize

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.videollama3.config import FrameSpec, frame_budget, read_frame_spec
from tasks.adapters.models.videollama3.frames import changed_tokens, patchify
from tasks.core.errors import ModelError
from tasks.core.geometry import frame_size

ORIGINAL_FILES = {
    "config.json": {"model_type": "videollama3_qwen2", "use_token_compression": True},
    "preprocessor_config.json": {
        "min_tokens": 16,
        "max_tokens": 16384,
        "patch_size": 14,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 1 / 255,
    },
}
VIDEO_PROCESSOR = {
    "size": {"shortest_edge": 12544, "longest_edge": 12845056},
    "patch_size": 14,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255,
    "use_token_compression": True,
}
IMAGE_PROCESSOR = {**VIDEO_PROCESSOR, "size": {"shortest_edge": 1, "longest_edge": 2}, "merge_size": 1}
NATIVE_CONFIG = {"model_type": "video_llama_3"}
LAYOUTS = {
    "original": ORIGINAL_FILES,
    "native, one file": {
        "config.json": NATIVE_CONFIG,
        "processor_config.json": {"image_processor": IMAGE_PROCESSOR, "video_processor": VIDEO_PROCESSOR},
    },
    "native, two files": {
        "config.json": NATIVE_CONFIG,
        "preprocessor_config.json": IMAGE_PROCESSOR,
        "video_preprocessor_config.json": VIDEO_PROCESSOR,
    },
}


def described(folder: Path, files: dict[str, Any]) -> Checkpoint:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return Checkpoint(path=folder, model="some/model", revision="")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("frames", "width", "height"), [(30, 868, 476), (59, 616, 336), (128, 420, 224), (180, 336, 196)]
)
def test_frames_are_as_large_as_the_published_processor_makes_them(
    tmp_path: Path, layout: str, frames: int, width: int, height: int
) -> None:
    budget = frame_budget(described(tmp_path, LAYOUTS[layout]), frames_per_segment=frames)
    size = smart_resize(720, 1280, budget.multiple_of, budget.min_pixels, budget.max_pixels)
    assert size == (height, width)


@pytest.mark.parametrize(
    ("n_ticks", "size"), [(300, (616, 336)), (59, (616, 336)), (30, (868, 476)), (5, (1288, 728))]
)
def test_a_video_shorter_than_a_segment_has_the_frames_of_what_is_shown(
    tmp_path: Path, n_ticks: int, size: tuple[int, int]
) -> None:
    budget = frame_budget(described(tmp_path, ORIGINAL_FILES), frames_per_segment=59)
    assert frame_size(1280, 720, budget.of_video(n_ticks)) == size


def test_all_layouts_describe_frames_alike(tmp_path: Path) -> None:
    specs: set[FrameSpec] = set()
    for name, files in LAYOUTS.items():
        (tmp_path / name).mkdir()
        specs.add(read_frame_spec(described(tmp_path / name, files)))
    assert len(specs) == 1


def test_an_incomplete_preprocessor_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    files = {**ORIGINAL_FILES, "preprocessor_config.json": {"patch_size": 14, "max_tokens": 1}}
    with pytest.raises(ModelError, match="'min_tokens' is missing"):
        frame_budget(described(tmp_path, files), frames_per_segment=59)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"no readable preprocessor_config\.json"):
        frame_budget(described(tmp_path, {}), frames_per_segment=59)


@pytest.fixture
def spec(tmp_path: Path) -> FrameSpec:
    return read_frame_spec(described(tmp_path, ORIGINAL_FILES))


@pytest.mark.parametrize(("height", "width"), [(28, 28), (56, 84), (112, 196)])
def test_patches_agree_with_transformers_image_processor(spec: FrameSpec, height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    theirs = VideoLlama3ImageProcessorPil(
        do_resize=False, merge_size=spec.merge, image_mean=list(spec.mean), image_std=list(spec.std)
    )(list(frames), return_tensors="pt")
    ours = patchify(torch.from_numpy(frames), spec)
    assert ours.shape == (5, (height // 14) * (width // 14), 3 * 14 * 14)
    torch.testing.assert_close(ours.flatten(0, 1), theirs["pixel_values"], atol=1 / 255, rtol=0)


def test_frames_of_another_size_are_refused(spec: FrameSpec) -> None:
    with pytest.raises(ValueError, match="30x28 are not cut to multiples of 28"):
        patchify(torch.zeros((1, 28, 30, 3), dtype=torch.uint8), spec)


@pytest.mark.parametrize(
    ("changed_pixels", "by", "kept"),
    [
        # 28 x 28 x 3 values a token; std 0.5 doubles: mean difference 2 * changed * by / 2352.
        (0, 0, False),
        (117, 1, False),  # 0.0995
        (119, 1, True),  # 0.1012
        (1, 117, False),
        (1, 119, True),
    ],
)
def test_a_token_is_dropped_up_to_the_published_difference(
    spec: FrameSpec, changed_pixels: int, by: int, kept: bool
) -> None:
    frames = np.zeros((2, 28, 56, 3), dtype=np.uint8)
    frames[1, :, 28:] = 200  # the other token always changes
    left = np.zeros(28 * 28 * 3, dtype=np.uint8)
    left[:changed_pixels] = by
    frames[1, :, :28] = left.reshape(28, 28, 3)
    before, after = torch.from_numpy(frames).split(1)
    assert changed_tokens(after, before, spec).tolist() == [[kept, True]]


def test_a_checkpoint_may_do_without_compression(spec: FrameSpec) -> None:
    still = torch.zeros((3, 56, 84, 3), dtype=torch.uint8)
    assert not changed_tokens(still, still, spec).any()
    assert changed_tokens(still, still, replace(spec, compress=False)).all()
