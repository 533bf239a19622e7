"""VideoMAE through transformers: from frames of the timeline to an embedding of every window.

Tong et al. 2022, "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised
Video Pre-Training". Published weights are under CC-BY-NC-4.0.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from transformers import VideoMAEImageProcessorPil, VideoMAEModel
from transformers.utils import logging as transformers_logging

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.devices import (
    device_record,
    on_model_thread,
    pick_device,
    pick_dtype,
    sent,
)
from tasks.adapters.models.gpu_errors import is_out_of_memory
from tasks.adapters.models.held import Held, not_loaded
from tasks.adapters.models.kernels import choose_attention_kernels
from tasks.adapters.models.memory import fitting_batch, free_bytes
from tasks.core.errors import ModelError
from tasks.core.records import ReadFrames, Window, WindowFeatures
from tasks.core.scoring.windows import sample_ticks
from tasks.core.throughput import Span

AUTO_BATCH = {"cuda": 8, "cpu": 4}
"""Windows a forward pass by device at the most, where the setting leaves it open (2.7 windows/s on 2 AMX
cores). 8 keep a GPU busy, while the frames of the next are read."""

CHUNK_FRAMES = 16
"""Frames that are read, made floats and resized together: each step of it holds all of them once more."""


Features = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Span]

Shape = tuple[int | None, int | None]
"""Width and height in pixels; None for those of the frames."""

log = logging.getLogger(__name__)


def window_bytes(config: Any, *, itemsize: int) -> int:
    """What a window takes while it passes the model of this `VideoMAEConfig`, by its widest layer."""
    pixels = config.num_frames * config.num_channels * config.image_size**2
    tokens = pixels // config.num_channels // config.tubelet_size // config.patch_size**2
    widest = 2 * config.intermediate_size + 6 * config.hidden_size
    return int((tokens * widest + 2 * pixels) * itemsize)


class VideoMAE:
    """A loaded VideoMAE encoder. `load_videomae` gives one a process; threads may share it."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device | None = None) -> None:
        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()  # what is missing is refused below
        choose_attention_kernels()
        self.checkpoint = checkpoint
        self.device = device or pick_device()
        self.dtype = pick_dtype(self.device)
        self.computes_on = device_record(self.device, self.dtype)
        # Class defaults differ from what fine-tuned checkpoints were trained with: read theirs.
        self.processor: Any = VideoMAEImageProcessorPil.from_pretrained(checkpoint.path)
        model, report = VideoMAEModel.from_pretrained(
            checkpoint.path, use_safetensors=True, dtype=self.dtype, output_loading_info=True
        )
        if report["missing_keys"]:
            missing = ", ".join(sorted(report["missing_keys"])[:3])
            raise ModelError(
                f"{checkpoint.model} is not a VideoMAE checkpoint: {len(report['missing_keys'])} weights "
                f"are missing ({missing}, ...). Name one with the layout of MCG-NJU/videomae-base."
            )
        if not all(torch.isfinite(weight).all() for weight in model.parameters()):
            raise ModelError(
                f"{checkpoint.model} holds weights that are no numbers: fetch the checkpoint again, whole.",
                reason="not_finite",
            )
        # A plain attribute, which no `to` moves: it would be converted and copied at each pass.
        table = model.embeddings.position_embeddings
        model.embeddings.position_embeddings = table.to(device=self.device, dtype=self.dtype)
        model.embeddings.patch_embeddings = LinearPatches(model.embeddings.patch_embeddings.projection)
        self.model: Any = model.to(self.device).eval()

    @property
    def frames_per_window(self) -> int:
        return int(self.model.config.num_frames)

    @property
    def dimensions(self) -> int:
        """Of an embedding."""
        return int(self.model.config.hidden_size)

    def features(
        self,
        read_frames: ReadFrames,
        windows: Sequence[Window],
        *,
        batch_size: int = 0,
        shown: Shape = (None, None),
    ) -> WindowFeatures:
        """Embed windows of one timeline, each from `frames_per_window` evenly spread frames.

        Every distinct frame is read and preprocessed once, however many windows share it.
        `batch_size` windows go through the model together, 0 = as many as memory allows; half as many as
        often as that is too much. `shown` is the width and height of the video's pictures, if frames are
        squeezed.

        Raises:
            ModelError: not even one window fits; or the model gave something that is no number, which would
                pass for a high score.
        """
        sampled = [sample_ticks(window, count=self.frames_per_window) for window in windows]
        embeddings, change, loop = on_model_thread(
            lambda: self._fitting_features(read_frames, sampled, batch_size or self._fitting_batch(), shown)
        )
        if not (np.isfinite(embeddings).all() and np.isfinite(change).all()):
            raise ModelError(
                f"{self.checkpoint.model} gives values that are no numbers: fetch it again, whole.",
                reason="not_finite",
            )
        return WindowFeatures(embeddings, change, loop[1] - loop[0], self.computes_on, loop)

    def _fitting_batch(self) -> int:
        row = window_bytes(self.model.config, itemsize=self.dtype.itemsize)
        return fitting_batch(free_bytes(self.device), row=row, reserve=0, most=AUTO_BATCH[self.device.type])

    def _fitting_features(
        self, read_frames: ReadFrames, sampled: Sequence[Sequence[int]], size: int, shown: Shape
    ) -> Features:
        """`_features` in batches of `size`, or of half as many, as often as memory runs out."""
        while True:
            try:
                return self._features(read_frames, sampled, size, shown)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                why = f"{type(error).__name__}: {error}"
            # Here the error is gone, and with it what it held.
            torch.cuda.empty_cache()
            if size == 1:
                raise ModelError(
                    f"{self.checkpoint.model} has no memory for a single window ({why}): close what else is "
                    "on the device.",
                    reason="out_of_memory",
                )
            size //= 2
            log.warning("VideoMAE: %d windows at once instead of twice as many (%s)", size, why)

    @torch.inference_mode()
    def _features(
        self, read_frames: ReadFrames, sampled: Sequence[Sequence[int]], size: int, shown: Shape
    ) -> Features:
        """Embeddings and change of windows, each given by its ticks, `size` at once; and when.

        The CPU waits for a GPU at the end alone: while that is at some windows, frames of the next are read.
        """
        began = time.perf_counter()
        ticks = sorted({tick for window in sampled for tick in window})
        place = {tick: i for i, tick in enumerate(ticks)}
        places = np.array([[place[tick] for tick in window] for window in sampled])
        crop = (self.processor.crop_size["height"], self.processor.crop_size["width"])
        pixels = torch.empty((len(ticks), 3, *crop), dtype=self.dtype, device=self.device)
        read, outputs = 0, []
        for indices in np.array_split(places, -(-len(places) // size)):
            while read <= indices.max():
                frames = read_frames(ticks[read : read + CHUNK_FRAMES])
                pixels[read : read + len(frames)] = self.pixels(frames, shown=shown)
                read += len(frames)
            outputs.append(self._forward(pixels[sent(torch.from_numpy(indices), self.device)]))
        embeddings, change = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
        return embeddings, change, (began, time.perf_counter())

    def pixels(self, frames: npt.NDArray[np.uint8], *, shown: Shape = (None, None)) -> torch.Tensor:
        """Resize, crop and normalise on the device: uint8 `n x h x w x 3` to `n x 3 x 224 x 224`.

        The same steps as transformers' own processor for the checkpoint, to within 1/255; of frames that
        are squeezed as for pictures of the width and height `shown`.
        """
        images = sent(torch.from_numpy(frames), self.device).permute(0, 3, 1, 2).float()
        width, height = (side or images.shape[axis] for side, axis in zip(shown, (-1, -2), strict=True))
        short = self.processor.size["shortest_edge"]
        scale = short / min(height, width)
        # transformers truncates the long side; so do we.
        resized = (short, int(width * scale)) if height <= width else (int(height * scale), short)
        images = functional.interpolate(images, resized, mode="bilinear", antialias=True).round_()
        images = _centre_crop(images, self.processor.crop_size["height"], self.processor.crop_size["width"])
        mean, std = (
            sent(torch.tensor(values), self.device).view(3, 1, 1)
            for values in (self.processor.image_mean, self.processor.image_std)
        )
        normalised: torch.Tensor = (images * self.processor.rescale_factor - mean) / std
        return normalised

    def _forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`b x frames x 3 x h x w` to embeddings `b x d` and change `b`."""
        tokens = self.model(pixels).last_hidden_state.float()
        moments = tokens.unflatten(1, (self.frames_per_window // self.model.config.tubelet_size, -1)).mean(2)
        similarity = functional.cosine_similarity(moments[:, 1:], moments[:, :-1], dim=-1)
        return tokens.mean(1), 1 - similarity.mean(1)


class LinearPatches(nn.Module):
    """VideoMAE's embedding of patches, a convolution whose kernel is its stride, as the linear layer it is.

    In bfloat16 cuDNN may have no such convolution, or a slow one.
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.patch = convolution.kernel_size
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """`b x frames x 3 x h x w` to `b x patches x d`."""
        b, frames, channels, height, width = pixels.shape
        long, high, wide = self.patch
        cut = pixels.view(b, frames // long, long, channels, height // high, high, width // wide, wide)
        patches = cut.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
        return functional.linear(patches, self.weight.flatten(1), self.bias)


def load_videomae(checkpoint: Checkpoint, *, device: str = "auto") -> VideoMAE:
    """The model of a checkpoint. A process holds one, or why there is none (`Held`).

    Raises:
        ModelError: the checkpoint does not hold a VideoMAE, or there is no such `device` (`pick_device`).
    """
    return _held.get(checkpoint, pick_device(device))


def is_loaded() -> bool:
    """Whether this process holds one."""
    return _held.model is not None


def _load(checkpoint: Checkpoint, device: torch.device) -> VideoMAE:
    try:
        return VideoMAE(checkpoint, device=device)
    except ModelError:
        raise
    except Exception as error:
        raise not_loaded(checkpoint, "VideoMAE", error) from error


_held = Held(_load)


def _centre_crop(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]
