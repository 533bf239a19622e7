"""The cheapest path, by the slow definition of it."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.adapters.models.whisper.alignment import cheapest_path, token_starts_ms


def slow_cost(costs: np.ndarray) -> float:
    """By the definition, one cell after the other."""
    rows, columns = costs.shape
    sums = np.full((rows + 1, columns + 1), np.inf)
    sums[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            sums[i + 1, j + 1] = costs[i, j] + min(sums[i, j], sums[i, j + 1], sums[i + 1, j])
    return float(sums[-1, -1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (7, 40), (40, 7), (30, 30)])
def test_the_path_is_the_cheapest_there_is(shape: tuple[int, int]) -> None:
    for seed in range(5):
        costs = np.random.default_rng(seed).normal(size=shape)
        rows, columns = cheapest_path(costs)
        assert (rows[0], columns[0]) == (0, 0)
        assert (rows[-1], columns[-1]) == (shape[0] - 1, shape[1] - 1)
        steps = {*zip(np.diff(rows).tolist(), np.diff(columns).tolist(), strict=True)}
        assert steps <= {(0, 1), (1, 0), (1, 1)}
        assert costs[rows, columns].sum() == pytest.approx(slow_cost(costs))


def test_tokens_begin_where_the_attention_moves_to_them() -> None:
    strengths = np.zeros((4, 30))
    for token, (begin, end) in enumerate([(0, 5), (5, 12), (12, 20), (20, 30)]):
        strengths[token, begin:end] = 1
    assert token_starts_ms(strengths) == [0, 100, 240, 400]
