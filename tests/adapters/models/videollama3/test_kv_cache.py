"""The language model over rows of a batch gives what it gives over one text, however it is fed."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from tasks.adapters.models.kernels import split_mask
from tasks.adapters.models.videollama3 import kv_cache
from tasks.adapters.models.videollama3.cuda_graphs import GraphRecorder
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention

CONFIG: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}

TEXTS = [[5, 6, 7], list(range(40)), [9], list(range(30, 60))]


@pytest.fixture(scope="module")
def stock() -> Any:
    torch.manual_seed(0)
    return Qwen2Model(Qwen2Config(**CONFIG)).eval()


@pytest.fixture(scope="module")
def model(stock: Any) -> Any:
    mine = Qwen2Model(Qwen2Config(**CONFIG)).eval()
    mine.load_state_dict(stock.state_dict())
    use_row_attention(mine)
    return mine


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


def last_state(stock: Any, text: list[int]) -> torch.Tensor:
    return stock(input_ids=torch.tensor([text])).last_hidden_state[0, -1]


def embedded(model: Any, text: list[int]) -> torch.Tensor:
    return model.embed_tokens(torch.tensor(text))


def filled(model: Any) -> tuple[BatchKVCache, torch.Tensor]:
    rows = BatchKVCache(model, len(TEXTS), 80)
    return rows, torch.cat([rows.prefill(i, embedded(model, text)) for i, text in enumerate(TEXTS)])


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("at_once", [1, 7, 16, 4096])
def test_a_prompt_reads_the_same_in_any_pieces(
    stock: Any, model: Any, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(kv_cache, "PREFILL_CHUNK_TOKENS", at_once)
    _, hidden = filled(model)
    close(hidden, torch.stack([last_state(stock, text) for text in TEXTS]))


def test_a_prompt_reads_the_same_where_each_query_head_needs_its_own_keys(
    stock: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_cache, "shares_heads", lambda *_: False)  # as on a card without flash attention
    monkeypatch.setattr(kv_cache, "PREFILL_CHUNK_TOKENS", 16)
    _, hidden = filled(model)
    close(hidden, torch.stack([last_state(stock, text) for text in TEXTS]))


@pytest.fixture(params=[0, 1, 2, 4, 8])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """As on a GPU, where steps attend to their keys in so many pieces; 0: as on a CPU."""
    if request.param:
        monkeypatch.setattr(kv_cache, "key_pieces", lambda *_, **__: request.param)
        monkeypatch.setattr(kv_cache, "step_mask", split_mask)
    return int(request.param)


@pytest.mark.parametrize("at_once", [1, 2, 16])
@pytest.mark.usefixtures("pieces")
def test_rows_grow_by_as_many_tokens_each_as_it_needs(
    stock: Any, model: Any, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(kv_cache, "MAX_STEP_TOKENS", at_once)
    rows, hidden = filled(model)
    texts = [list(text) for text in TEXTS]
    for growth in ([[1], [2], [3], [4]], [[], [8, 9, 10], [4], []], [[7, 7], [], [], [1, 2, 3, 4, 5]]):
        hidden = rows.decode(growth, hidden)
        texts = [text + more for text, more in zip(texts, growth, strict=True)]
        close(hidden, torch.stack([last_state(stock, text) for text in texts]))


def test_nothing_to_append_changes_nothing(model: Any) -> None:
    rows, hidden = filled(model)
    assert torch.equal(rows.decode([[], [], [], []], hidden), hidden)


@pytest.mark.usefixtures("pieces")
def test_peeking_shows_every_branch_and_leaves_the_rows_alone(stock: Any, model: Any) -> None:
    rows, hidden = filled(model)
    sees = torch.tensor([[True, False, False], [False, True, False], [False, True, True]])
    states = rows.lookahead([1, 2, 3], torch.tensor([0, 0, 1]), sees)
    for row, text in enumerate(TEXTS):
        for node, branch in enumerate(([1], [2], [2, 3])):
            close(states[row, node], last_state(stock, text + branch))
    after = rows.decode([[4], [4], [4], [4]], hidden)
    close(after, torch.stack([last_state(stock, [*text, 4]) for text in TEXTS]))


@pytest.mark.parametrize("shared", [1, 10, 29])
def test_a_shared_beginning_is_taken_over_from_the_row_before(stock: Any, model: Any, shared: int) -> None:
    first, second = list(range(30)), [*range(shared), 77, 78, 79]
    rows = BatchKVCache(model, 2, 40)
    rows.prefill(0, embedded(model, first))
    hidden = rows.prefill(1, embedded(model, second), shared=shared)
    close(hidden[0], last_state(stock, second))


@pytest.mark.usefixtures("pieces")
def test_a_row_may_be_filled_to_its_very_end(stock: Any, model: Any) -> None:
    rows = BatchKVCache(model, 2, 8)
    hidden = torch.cat([rows.prefill(i, embedded(model, [1, 2, 3])) for i in range(2)])
    hidden = rows.decode([[4, 5, 6, 7, 8], [4]], hidden)
    close(hidden[0], last_state(stock, [1, 2, 3, 4, 5, 6, 7, 8]))


def test_attention_may_come_in_any_order_of_memory(
    stock: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, hidden = filled(model)
    original = torch.nn.functional.scaled_dot_product_attention

    def transposed(*args: Any, **kwargs: Any) -> torch.Tensor:
        # As the memory-efficient kernel of GPUs gives it: rows x queries x heads x size, seen transposed.
        return original(*args, **kwargs).transpose(1, 2).contiguous().transpose(1, 2)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", transposed)
    hidden = rows.decode([[1], [2, 3], [4], []], hidden)
    close(hidden[1], last_state(stock, [*TEXTS[1], 2, 3]))


@pytest.mark.parametrize("capture", [False, True])
def test_the_memory_is_free_as_soon_as_the_rows_are_gone(model: Any, capture: bool) -> None:
    rows = BatchKVCache(model, 1, 40, graphs=GraphRecorder(capture))
    hidden = rows.decode([[4]], rows.prefill(0, embedded(model, [1, 2, 3])))
    memory = weakref.ref(rows.keys)
    del rows
    assert memory() is None
    assert hidden.untyped_storage().nbytes() <= hidden.nbytes


@pytest.mark.parametrize("quantity", ["keys", "values"])
def test_memory_is_as_large_as_documented(model: Any, quantity: str) -> None:
    assert getattr(BatchKVCache(model, 4, 80 - 16), quantity).shape == (3, 4, 80, 2, 8)
