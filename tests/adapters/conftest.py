"""What the tests of adapters share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.videollama3.model import VideoLlama3


@pytest.fixture(scope="module")
def llama(demo_models: Path) -> Iterator[VideoLlama3]:
    """An untrained VideoLLaMA3 in float32, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    yield VideoLlama3(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    torch.set_num_threads(threads)
