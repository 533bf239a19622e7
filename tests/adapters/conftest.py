"""What the tests of adapters share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tasks.adapters.models.videollama3.model import VideoLlama3


@pytest.fixture(scope="module")
def llama(demo_models: Path) -> Iterator[VideoLlama3]:
    """An untrained VideoLLaMA3 in float32, on one thread."""
    import torch

    from tasks.adapters.models.checkpoints import resolve_checkpoint
    from tasks.adapters.models.videollama3.model import VideoLlama3

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    yield VideoLlama3(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    torch.set_num_threads(threads)


@pytest.fixture
def cuda() -> str:
    """The name of a GPU. Without one the test is skipped; with FAIL_WITHOUT_CUDA set, it fails."""
    import torch

    if not torch.cuda.is_available():
        stop = pytest.fail if os.environ.get("FAIL_WITHOUT_CUDA") else pytest.skip
        stop("there is no GPU that torch can use")
    return "cuda"
