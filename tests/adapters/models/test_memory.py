"""What is free on a device, and how much of a batch fits there."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from tasks.adapters.models.memory import RESERVED_BYTES, fitting_batch, free_bytes


@pytest.mark.parametrize(
    ("free", "most", "batch"),
    [
        (10_000, 32, 9),
        (10_999, 32, 9),
        (11_000, 32, 10),
        (10_000, 4, 4),
        (2_000, 32, 1),
        (1_999, 32, 1),  # too little: the one segment may fail, but is tried
        (0, 32, 1),
        (-5_000, 32, 1),
    ],
)
def test_a_batch_fills_what_is_left_and_has_one_segment_at_least(free: int, most: int, batch: int) -> None:
    assert fitting_batch(RESERVED_BYTES + free, row=1_000, reserve=1_000, most=most) == batch


def test_half_of_the_machines_memory_is_free_without_a_control_group(tmp_path: Path) -> None:
    free = free_bytes(torch.device("cpu"), cgroup=tmp_path)
    assert free == pytest.approx(psutil.virtual_memory().available / 2, rel=0.2)


@pytest.mark.parametrize(
    ("limit", "used", "stat", "free"),
    [
        ("1000000", "400000", "anon 1\ninactive_file 100000\n", 350_000),  # unused cache gives way
        ("1000000", "400000", "anon 1\n", 300_000),
        ("1000000", "1400000", "", 0),
    ],
)
def test_a_control_groups_limit_counts(tmp_path: Path, limit: str, used: str, stat: str, free: int) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(stat)
    assert free_bytes(torch.device("cpu"), cgroup=tmp_path) == free


def test_a_control_group_without_a_limit_does_not_count(tmp_path: Path) -> None:
    for name, text in {"memory.max": "max", "memory.current": "400000", "memory.stat": ""}.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert free_bytes(torch.device("cpu"), cgroup=tmp_path) > 1_000_000
