"""Frames are encoded once, in passes of one shape, and each segment gets what it would get by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3 import encoder as encoder_module
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.config import read_frame_spec
from tasks.adapters.models.videollama3.encoder import FRAMES_PER_PASS, EncodedFrames, FrameEncoder
from tasks.adapters.models.videollama3.frames import changed_tokens, patchify
from tasks.core.records import ReadFrames
from tests import FIXTURES
from tests.adapters.models.videollama3.small import Frames, video

FIXTURE = FIXTURES / "videollama3-original-tiny"


@pytest.fixture(scope="module")
def encoder(demo_models: Path) -> FrameEncoder:
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    model = load_model(checkpoint, dtype=torch.float32)
    return FrameEncoder(model, read_frame_spec(checkpoint), Usage(torch.device("cpu")))


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def footage(frames: Frames) -> ReadFrames:
    return lambda ticks: frames[list(ticks)]


def passes(encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the encoder's passes from here on."""
    sizes: list[int] = []
    original = FrameEncoder.__call__

    def counting(self: FrameEncoder, patches: torch.Tensor, *, grid: tuple[int, int]) -> torch.Tensor:
        sizes.append(len(patches))
        return original(self, patches, grid=grid)

    monkeypatch.setattr(FrameEncoder, "__call__", counting)
    return sizes


def test_frames_do_not_see_each_other_in_the_encoder(encoder: FrameEncoder) -> None:
    patches = patchify(torch.from_numpy(video(20)), encoder.spec)
    together = encoder(patches, grid=(2, 4))
    alone = torch.cat([encoder(patches[i : i + 1], grid=(2, 4)) for i in range(20)])
    assert together.shape == (20, 2, 64)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [1, 16])
def test_a_pass_gives_what_transformers_own_gives(demo_models: Path, n: int) -> None:
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    stock, spec = load_model(checkpoint, dtype=torch.float32), read_frame_spec(checkpoint)
    patches = patchify(torch.from_numpy(video(n, height=84, width=140)), spec)
    wanted = stock.model.get_video_features(
        patches.flatten(0, 1), torch.tensor([[n, 6, 10]]), torch.tensor([spec.merge])
    )
    ours = FrameEncoder(stock, spec, Usage(torch.device("cpu")))
    torch.testing.assert_close(
        ours(patches, grid=(6, 10)).flatten(0, 1), torch.cat(wanted.pooler_output), atol=1e-5, rtol=0
    )


def test_to_look_for_changes_a_frame_is_read_once(encoder: FrameEncoder) -> None:
    frames, read = video(40), list[int]()

    def frames_of(ticks: Sequence[int]) -> Frames:
        read.extend(ticks)
        return frames[list(ticks)]

    encoded = EncodedFrames(encoder, frames_of, range(40))
    kept = encoded.keep_mask([*range(0, 40, 2), 39])
    pairs = [*pairwise([*range(0, 40, 2), 39])]
    changed = [
        changed_tokens(*(torch.from_numpy(frames[[tick]]) for tick in (after, before)), encoder.spec)
        for before, after in pairs
    ]
    expected = torch.cat([torch.ones_like(changed[0]), *changed])
    expected[:, 0] |= ~expected.any(1)
    assert torch.equal(kept, expected)
    # The first one says how large frames are, and where two batches of pairs meet it takes part in both.
    batches = -(-len(pairs) // encoded.frames_per_pass)
    assert len(read) == len(pairs) + batches + 1


def test_all_passes_have_one_shape_and_each_frame_is_in_one(
    encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = passes(encoder, monkeypatch)
    before = encoder.usage.count["frames"]
    encoded = EncodedFrames(encoder, footage(video(50)), range(50))
    for start, end in ((0, 5), (3, 25), (20, 50), (0, 50)):
        encoded.features(range(start, end))
    assert sizes == [FRAMES_PER_PASS] * 4
    assert encoder.usage.count["frames"] - before == 50


def test_large_frames_go_through_in_smaller_passes(
    encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "PATCHES_PER_PASS", 5 * 8)
    sizes = passes(encoder, monkeypatch)
    EncodedFrames(encoder, footage(video(12)), range(12)).features(range(12))
    assert sizes == [5, 5, 5]


def test_a_segment_gets_what_its_frames_give_by_themselves(encoder: FrameEncoder) -> None:
    frames = video(40)
    encoded = EncodedFrames(encoder, footage(frames), range(40))
    encoded.features(range(0, 15))
    for ticks in (range(10, 30), [0, 7, 39]):
        alone = encoder(patchify(torch.from_numpy(frames[list(ticks)]), encoder.spec), grid=(2, 4))
        torch.testing.assert_close(encoded.features(ticks), alone, atol=1e-5, rtol=0)


def test_what_is_forgotten_is_encoded_again_when_asked_for(
    encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = passes(encoder, monkeypatch)
    encoded = EncodedFrames(encoder, footage(video(32)), range(32))
    first = encoded.features(range(32))
    encoded.evict(before=16)
    encoded.features(range(16, 32))
    assert len(sizes) == 2
    assert torch.equal(encoded.features(range(32)), first)
    assert len(sizes) == 3


def test_a_segments_mask_is_its_own_wherever_it_starts(encoder: FrameEncoder) -> None:
    frames = video(20)
    encoded = EncodedFrames(encoder, footage(frames), range(20))
    encoded.keep_mask(range(20))
    for ticks in (range(2, 12), range(5, 20), [1, 2, 8, 9]):
        alone = EncodedFrames(encoder, footage(frames), ticks).keep_mask(ticks)
        assert torch.equal(encoded.keep_mask(ticks), alone)
        assert alone[0].all()
    assert not encoded.keep_mask(range(20)).all()


def test_a_still_video_keeps_its_first_frame_and_one_token_of_each_other(encoder: FrameEncoder) -> None:
    still = np.full((4, 56, 84, 3), 90, dtype=np.uint8)
    kept = EncodedFrames(encoder, footage(still), range(4)).keep_mask(range(4))
    assert kept.sum(1).tolist() == [6, 1, 1, 1]
    assert kept[:, 0].all()


def test_masks_equal_the_original_codes(encoder: FrameEncoder) -> None:
    reference = load_file(FIXTURE / "reference.safetensors")
    frames = unpatchified(reference["pixel_values"], reference["grid_thw"][0].tolist())
    ticks = range(len(frames))
    kept = EncodedFrames(encoder, footage(frames), ticks).keep_mask(ticks)
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(kept.flatten(), reference["compression_mask"].bool())


def unpatchified(patches: torch.Tensor, grid: list[int]) -> Frames:
    """The frames that patches were cut from, with mean and standard deviation 0.5."""
    n, down, across = grid
    cut = patches.view(n, down // 2, across // 2, 2, 2, 3, 14, 14).permute(0, 1, 3, 6, 2, 4, 7, 5)
    pixels = cut.reshape(n, down * 14, across * 14, 3) * 127.5 + 127.5
    return pixels.round().to(torch.uint8).numpy()
