"""Passes of the model as CUDA graphs: played, one costs one launch instead of a thousand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from tasks.adapters.models.gpu_errors import is_out_of_memory

SAME_WITHIN = 0.01
"""Relative difference up to which two passes that should be the same count as that."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class GraphRecorder:
    """Records passes of a model, until one cannot be recorded: then never again, which is said once."""

    enabled: bool = False

    def record(self, run: Callable[[], torch.Tensor]) -> CudaGraph | None:
        """A pass of fixed shapes, ready to be played; None where every pass has to be launched.

        What is played is held against the ordinary pass.

        Raises:
            torch.OutOfMemoryError: there is no memory for it; with more it may be recorded.
        """
        try:
            ordinary = run()
            recorded = _captured(run)
            off = float((recorded.play() - ordinary).norm() / ordinary.norm())
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            why = str(error).strip().partition("\n")[0]  # the error itself would hold what it was raised over
        else:
            if off < SAME_WITHIN:
                return recorded
            why = f"what is played is off by {off:.3f}"
        self.enabled = False
        log.warning("steps are not captured, from here on: %s", why)
        return None


@dataclass(frozen=True, slots=True)
class CudaGraph:
    """A recorded pass, and where its result appears."""

    graph: torch.cuda.CUDAGraph
    output: torch.Tensor

    def play(self) -> torch.Tensor:
        """The result for what its inputs hold now."""
        self.graph.replay()
        return self.output.clone()


def _captured(run: Callable[[], torch.Tensor]) -> CudaGraph:
    graph = torch.cuda.CUDAGraph()
    stream, pool = torch.cuda.current_stream(), torch.cuda.graph_pool_handle()
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            output = run()
    except BaseException:
        _leave_capture(stream, pool)
        raise
    return CudaGraph(graph, output)


def _leave_capture(stream: torch.cuda.Stream, pool: Any) -> None:
    """What `torch.cuda.graph` leaves undone where the end of a capture fails.

    Else all work would go on in the stream of the capture, and the allocator, which thinks that one is under
    way, would never again free its cache when memory is short.
    """
    torch.cuda.set_stream(stream)
    for undo in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
        with suppress(RuntimeError):  # it was not left undone
            undo(stream.device_index, pool)
