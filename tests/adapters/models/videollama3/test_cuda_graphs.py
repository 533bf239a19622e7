"""Steps are played from CUDA graphs where they can be; where they cannot, that leaves nothing behind."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from tasks.adapters.models.videollama3.cuda_graphs import GraphRecorder
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention

CONFIG: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
STEPS = [[[4], [5]], [[6, 7], []], [[8], [9]], [[1], [2]]]


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    made = Qwen2Model(Qwen2Config(**CONFIG)).eval()
    use_row_attention(made)
    return made


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def grown(model: Any, graphs: GraphRecorder) -> torch.Tensor:
    """The last states of two rows that were read, and then grew by some steps."""
    rows = BatchKVCache(model, 2, 40, graphs=graphs)
    prompt = model.embed_tokens(torch.tensor([1, 2, 3], device=model.device))
    hidden = torch.cat([rows.prefill(row, prompt) for row in range(2)])
    for growth in STEPS:
        hidden = rows.decode(growth, hidden)
    return hidden


def test_captured_passes_equal_ordinary_ones(model: Any, cuda: str) -> None:
    model = copy.deepcopy(model).to(cuda)
    graphs = GraphRecorder(enabled=True)
    torch.testing.assert_close(grown(model, graphs), grown(model, GraphRecorder()), atol=1e-4, rtol=0)
    assert graphs.enabled


class Cuda:
    """Stands for CUDA while a pass is captured; there is none here. Its graph is wrong or cannot be ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
        self.stream, self.recording, self.tried = "default", list[str](), 0
        for name, stub in {
            "CUDAGraph": self.graph,
            "graph": self.capture,
            "graph_pool_handle": lambda: "pool",
            "current_stream": lambda: type("Stream", (), {"device_index": 0, "name": self.stream}),
            "set_stream": lambda stream: setattr(self, "stream", stream.name),
        }.items():
            monkeypatch.setattr(torch.cuda, name, stub)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *_: self.recording.remove("allocate"))
        monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda *_: self.recording.remove("pool"))
        self.error = error

    def graph(self) -> Any:
        self.tried += 1
        return type("Graph", (), {"replay": lambda: None})

    @contextmanager
    def capture(self, *_: object, **__: object) -> Iterator[None]:
        """As `torch.cuda.graph`: where the end of the capture fails, its stream is not left."""
        self.stream = "capture"
        self.recording += ["allocate", "pool"]
        try:
            yield
        finally:
            if self.error:
                raise self.error
        self.stream = "default"
        self.recording.clear()


FAILURES = [
    RuntimeError("CUDA error: operation failed due to a previous error during capture\nCompile with ..."),
    torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing"),
]


@pytest.mark.parametrize("error", FAILURES)
def test_a_capture_that_fails_leaves_nothing_behind_and_is_not_tried_again(
    model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    cuda = Cuda(monkeypatch, error)
    graphs = GraphRecorder(enabled=True)
    for _ in range(2):
        torch.testing.assert_close(grown(model, graphs), grown(model, GraphRecorder()), atol=1e-6, rtol=0)
    assert (cuda.stream, cuda.recording, cuda.tried) == ("default", [], 1)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == f"steps are not captured, from here on: {str(error).splitlines()[0]}"


def test_a_pass_is_no_wider_than_it_must_be(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most fixed parts of answers are of five to seven tokens: sixteen columns would be half empty."""
    widths = list[int]()

    class Recorder(GraphRecorder):
        def record(self, run: Any) -> None:
            widths.append(run.keywords["width"])

    rows = BatchKVCache(model, 2, 80, graphs=Recorder(enabled=True))
    prompt = model.embed_tokens(torch.tensor([1, 2, 3]))
    hidden = torch.cat([rows.prefill(row, prompt) for row in range(2)])
    for tokens in (1, 2, 7, 8, 9, 16, 1):
        hidden = rows.decode([[5] * tokens, [5]], hidden)
    assert widths == [1, 8, 16]


def test_where_no_memory_is_left_to_capture_that_is_told_and_tried_again_with_less(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda(monkeypatch, FAILURES[0])
    graphs = GraphRecorder(enabled=True)

    def no_memory() -> torch.Tensor:
        if cuda.recording:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.ones(1)

    with pytest.raises(RuntimeError) as raised:
        graphs.record(no_memory)
    assert isinstance(raised.value.__context__, torch.OutOfMemoryError)
    assert (cuda.stream, cuda.recording) == ("default", [])
    assert graphs.enabled


def test_what_is_played_must_be_what_was_launched(
    model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Cuda(monkeypatch, None)
    outputs = iter([torch.ones(4), torch.full((4,), torch.nan)])
    graphs = GraphRecorder(enabled=True)
    assert graphs.record(lambda: next(outputs)) is None
    assert not graphs.enabled
    assert "off by nan" in caplog.text


def test_here_nothing_can_be_captured_and_passes_are_launched_one_by_one(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if torch.cuda.is_available():
        pytest.skip("here they can be")
    graphs = GraphRecorder(enabled=True)
    torch.testing.assert_close(grown(model, graphs), grown(model, GraphRecorder()), atol=1e-6, rtol=0)
    assert "not captured" in caplog.text
