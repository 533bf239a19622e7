"""The fast stage equals what transformers itself makes of each window on its own.

The checkpoints are small and untrained, in the real layout.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessorPil,
    VideoMAEModel,
)
from transformers.models.videomae import modeling_videomae

from tasks.adapters.models import videomae
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.memory import RESERVED_BYTES
from tasks.adapters.models.videomae import LinearPatches, VideoMAE, load_videomae, window_bytes
from tasks.core.errors import ModelError
from tasks.core.records import Window
from tasks.core.scoring.windows import sample_ticks, windows
from tests.adapters.models.fake_cuda import fake_cuda, fake_model

N_TICKS = 75

EVERY = windows(N_TICKS, lengths=[30], stride=7)
"""Eight windows that share frames."""


class DrawnFrames:
    """Frames of a smooth moving picture, and which of them were asked for."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.asked: list[int] = []

    def __call__(self, ticks: Sequence[int]) -> npt.NDArray[np.uint8]:
        self.asked += ticks
        y, x = np.ogrid[: self.height, : self.width]
        waves = [np.sin(x / 17 + t * k) + np.cos(y / 13 - t / k) for t in ticks for k in (0.3, 0.7, 1.9)]
        frames = np.stack(waves).reshape(len(ticks), 3, self.height, self.width).transpose(0, 2, 3, 1)
        return (63.7 * (frames + 2)).astype(np.uint8)


@pytest.fixture(scope="module")
def model(demo_models: Path) -> VideoMAE:
    return load_videomae(resolve_checkpoint(str(demo_models / "videomae")))


@pytest.mark.parametrize(("width", "height"), [(616, 336), (336, 616), (252, 252), (84, 56)])
def test_preprocessing_equals_transformers_to_within_one_level_of_grey(
    model: VideoMAE, demo_models: Path, width: int, height: int
) -> None:
    frames = DrawnFrames(width, height)(range(3))
    theirs = VideoMAEImageProcessorPil.from_pretrained(demo_models / "videomae")
    expected = theirs(list(frames), return_tensors="pt")["pixel_values"][0]
    ours = model.pixels(frames).float()
    assert ours.shape == expected.shape
    one_level = 1 / 255 / min(theirs.image_std)
    tolerance = one_level * 1.01 if model.dtype == torch.float32 else one_level * 1.01 + 0.02
    assert (ours - expected).abs().max() <= tolerance


@pytest.mark.parametrize(("shown", "kept"), [((1280, 720), (616, 336)), ((360, 640), (196, 336))])
def test_frames_squeezed_to_whole_tokens_are_seen_in_their_own_shape(
    model: VideoMAE, demo_models: Path, shown: tuple[int, int], kept: tuple[int, int]
) -> None:
    frames = DrawnFrames(*shown)(range(2))
    theirs = VideoMAEImageProcessorPil.from_pretrained(demo_models / "videomae")
    expected = theirs(list(frames), return_tensors="pt")["pixel_values"][0]
    squeezed = np.stack([Image.fromarray(frame).resize(kept) for frame in frames])
    away = (model.pixels(squeezed, shown=shown).float() - expected).abs().mean()
    assert away < 0.2 * (model.pixels(squeezed).float() - expected).abs().mean()


def test_every_window_scores_as_transformers_own_pipeline_on_that_window_alone(
    model: VideoMAE, demo_models: Path
) -> None:
    frames = DrawnFrames(336, 196)
    every = windows(N_TICKS, lengths=[59, 20], stride=9)
    features = model.features(frames, every, batch_size=5)

    processor = VideoMAEImageProcessorPil.from_pretrained(demo_models / "videomae")
    alone = VideoMAEForVideoClassification.from_pretrained(demo_models / "videomae").eval()
    for window, embedding in zip(every, features.embeddings, strict=True):
        pictures = list(DrawnFrames(336, 196)(sample_ticks(window, count=16)))
        with torch.inference_mode():
            pixels = processor(pictures, return_tensors="pt")
            expected = alone.videomae(**pixels).last_hidden_state.mean(1)[0].numpy()
            logits = alone(**pixels).logits[0]
            swapped = alone.classifier(alone.fc_norm(torch.from_numpy(embedding)))
        assert np.dot(embedding, expected) / np.linalg.norm(embedding) / np.linalg.norm(expected) > 0.9995
        # The stored embedding is what the checkpoint's own head would have seen.
        assert torch.allclose(swapped, logits, atol=0.05)


def test_each_frame_is_read_once_however_many_windows_share_it(model: VideoMAE) -> None:
    frames = DrawnFrames(84, 56)
    model.features(frames, windows(N_TICKS, lengths=[59], stride=3))
    assert len(frames.asked) == len(set(frames.asked))


def test_scores_do_not_depend_on_the_batch_size(model: VideoMAE) -> None:
    one, many = (model.features(DrawnFrames(84, 56), EVERY, batch_size=size) for size in (1, 8))
    assert np.allclose(one.embeddings, many.embeddings, atol=0.02)
    assert np.allclose(one.change, many.change, atol=0.01)


def short_of_memory(model: VideoMAE, monkeypatch: pytest.MonkeyPatch, *, windows: int) -> list[int]:
    """Let the model take so many windows at once, and no more; the sizes of the batches that it takes."""
    forward, taken = model._forward, list[int]()

    def limited(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(pixels) > windows:
            raise torch.AcceleratorError("CUDA error: out of memory")
        taken.append(len(pixels))
        return forward(pixels)

    monkeypatch.setattr(model, "_forward", limited)
    return taken


def test_where_memory_is_short_fewer_windows_pass_at_once(
    model: VideoMAE, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    well = model.features(DrawnFrames(84, 56), EVERY, batch_size=8)
    taken = short_of_memory(model, monkeypatch, windows=3)
    found = model.features(DrawnFrames(84, 56), EVERY, batch_size=8)
    assert max(taken) == 2
    assert sum(taken) == len(EVERY)
    assert np.allclose(found.embeddings, well.embeddings, atol=0.02)
    assert "VideoMAE: 2 windows at once" in caplog.text


def test_where_not_one_window_fits_that_is_said(model: VideoMAE, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(model, monkeypatch, windows=0)
    with pytest.raises(ModelError, match="no memory for a single window") as raised:
        model.features(DrawnFrames(84, 56), [Window(0, 16)])
    assert raised.value.reason == "out_of_memory"


def test_as_many_windows_pass_at_once_as_memory_holds(
    model: VideoMAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = window_bytes(model.model.config, itemsize=4)
    monkeypatch.setattr(model, "dtype", torch.float32)
    taken = short_of_memory(model, monkeypatch, windows=100)
    for fitting, most in ((0, 1), (2, 2), (50, 4)):
        free = RESERVED_BYTES + fitting * row
        monkeypatch.setattr(videomae, "free_bytes", lambda device, free=free: free)
        taken.clear()
        model.features(DrawnFrames(84, 56), EVERY)
        assert max(taken) == most


def test_all_that_a_pass_needs_lies_on_the_device(model: VideoMAE) -> None:
    """The table of positions is no weight: it is moved and converted once, not at each pass."""
    table = model.model.embeddings.position_embeddings
    assert (table.device.type, table.dtype) == (model.device.type, model.dtype)


def test_patches_are_embedded_as_the_convolution_embeds_them() -> None:
    torch.manual_seed(0)
    stock = VideoMAEModel(VideoMAEConfig(hidden_size=48, num_attention_heads=2, num_hidden_layers=1)).eval()
    pixels = torch.randn(2, 16, 3, 224, 224)
    ours = LinearPatches(stock.embeddings.patch_embeddings.projection)
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels), stock.embeddings.patch_embeddings(pixels), atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_window_takes_is_known(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted on tensors without numbers, in the published model's widths."""
    config = VideoMAEConfig(num_hidden_layers=2)
    # Of so many places and numbers it takes a second.
    monkeypatch.setattr(modeling_videomae, "get_sinusoid_encoding_table", lambda *shape: None)
    with fake_cuda(flash=dtype == torch.bfloat16) as counted:
        model = fake_model(VideoMAEModel, config, dtype)
        model.embeddings.position_embeddings = torch.empty(1, 1568, 768, device="cuda", dtype=dtype)
        model.embeddings.patch_embeddings = LinearPatches(model.embeddings.patch_embeddings.projection)
        pixels = torch.empty(100, 3, 224, 224, dtype=dtype, device="cuda")
        places = torch.empty(8, 16, dtype=torch.long, device="cuda")
        counted.begin()
        model(pixels[places])
    taken = counted.peak_bytes / 8
    assert (counted.copies, counted.of("convolution"), counted.of("attention")) == (0, 0, 2)
    assert taken <= window_bytes(config, itemsize=dtype.itemsize) < 1.3 * taken


def test_while_a_gpu_is_at_some_windows_the_frames_of_the_next_are_read(model: VideoMAE) -> None:
    """And no more than a chunk of them at once; what comes of all windows is waited for at the end, alone."""
    drawn, seen = DrawnFrames(84, 56), list[tuple[int, int]]()
    every = [sample_ticks(window, count=16) for window in windows(N_TICKS, lengths=[30], stride=3)]
    with fake_cuda() as counted:
        there = copy.copy(model)
        there.device, there.dtype = torch.device("cuda:0"), torch.bfloat16
        there.model = fake_model(VideoMAEModel, model.model.config, torch.bfloat16)
        embedding = there.model.embeddings
        embedding.position_embeddings = torch.empty(
            model.model.embeddings.position_embeddings.shape, device="cuda", dtype=torch.bfloat16
        )
        embedding.patch_embeddings = LinearPatches(embedding.patch_embeddings.projection)
        layers = model.model.config.num_hidden_layers

        def read(ticks: Sequence[int]) -> npt.NDArray[np.uint8]:
            assert len(ticks) <= videomae.CHUNK_FRAMES
            seen.append((counted.of("attention") // layers, counted.copies))
            return drawn(ticks)

        counted.begin()
        # Without its inference mode, in which copies are seen as something else.
        VideoMAE._features.__wrapped__(there, read, every, 4, (None, None))
    passes = -(-len(every) // 4)
    assert [launched for launched, _ in seen] == [0, 0, 0, 1, 3]  # passes that are under way
    assert {copies for _, copies in seen} == {0}
    assert (counted.of("attention"), counted.copies) == (passes * layers, 2)  # embeddings and changes


def test_frames_that_cannot_be_read_fail_the_call_that_needs_them_and_no_other(model: VideoMAE) -> None:
    drawn = DrawnFrames(84, 56)

    def broken(ticks: Sequence[int]) -> npt.NDArray[np.uint8]:
        if max(ticks) > 40:
            raise EOFError("frames.rgb ends before its last frame")
        return drawn(ticks)

    with pytest.raises(EOFError):
        model.features(broken, EVERY, batch_size=2)
    assert len(model.features(drawn, EVERY).change) == len(EVERY)


def test_a_still_picture_does_not_change_and_a_moving_one_does(model: VideoMAE) -> None:
    window = [Window(0, 16)]
    still = model.features(lambda ticks: DrawnFrames(84, 56)([0] * len(ticks)), window)
    moving = model.features(DrawnFrames(84, 56), window)
    assert 0 <= still.change[0] < moving.change[0]


def test_one_model_a_process(model: VideoMAE, demo_models: Path) -> None:
    assert load_videomae(resolve_checkpoint(str(demo_models / "videomae"))) is model


def test_a_checkpoint_with_weights_missing_is_refused_by_name(demo_models: Path, tmp_path: Path) -> None:
    for file in (demo_models / "videomae").glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(demo_models / "videomae" / "model.safetensors")
    missing = next(name for name in weights if "attention" in name)
    del weights[missing]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not a VideoMAE checkpoint.*attention"):
        load_videomae(resolve_checkpoint(str(tmp_path)))


def test_weights_that_are_no_numbers_are_refused_before_they_score_anything(
    demo_models: Path, tmp_path: Path
) -> None:
    for file in (demo_models / "videomae").glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(demo_models / "videomae" / "model.safetensors")
    broken = next(name for name in weights if "layernorm_after.weight" in name)
    save_file(
        weights | {broken: weights[broken] * torch.nan}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match="weights that are no numbers"):
        load_videomae(resolve_checkpoint(str(tmp_path)))


def test_values_that_are_no_numbers_give_an_error_and_not_a_score(demo_models: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_models / "videomae", tmp_path / "videomae")
    model = load_videomae(resolve_checkpoint(str(tmp_path / "videomae")))
    next(model.model.parameters()).data.fill_(torch.inf)
    with pytest.raises(ModelError, match="no numbers"):
        model.features(DrawnFrames(84, 56), [Window(0, 16)])


def test_another_architecture_is_refused(demo_models: Path) -> None:
    with pytest.raises(ModelError, match="videollama3"):
        load_videomae(resolve_checkpoint(str(demo_models / "videollama3")))
