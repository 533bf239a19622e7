"""Which GPUs are seen, and who works where there are too few."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.models import gpus
from tasks.adapters.models.gpus import driver_version, find_gpus
from tasks.core.errors import ModelError


@pytest.mark.parametrize(
    ("named", "count", "found"),
    [
        ("0,1", 0, ["0", "1"]),
        ("GPU-5f, MIG-7a", 0, ["GPU-5f", "MIG-7a"]),
        ("2,3", 1, ["2"]),
        ("", 0, []),
        ("-1", 0, []),
        ("NoDevFiles", 0, []),
        ("3,-1,4", 0, ["3"]),
        ("", 2, ["", ""]),
        ("4", 3, ["4", "", ""]),
    ],
)
def test_gpus_are_those_the_process_may_see(
    named: str, count: int, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert find_gpus(count) == found
    assert find_gpus(count, device="cpu") == [""] * count


@pytest.mark.parametrize(("named", "count"), [("", 0), ("-1", 0), ("4", 2)])
def test_whoever_asks_for_gpus_alone_is_told_how_many_there_are(
    named: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(ModelError, match=r"engine\.device is cuda, but [01] of [12] GPUs are seen") as raised:
        find_gpus(count, device="cuda")
    assert raised.value.reason == "gpu_unusable"


@pytest.mark.parametrize(("nodes", "known"), [(2, 0), (0, 2), (2, 2)])
def test_a_gpu_is_seen_by_its_node_or_by_its_driver(
    nodes: int, known: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidiactl").touch()
    for number in range(nodes):
        (tmp_path / f"nvidia{number}").touch()
    for number in range(known):
        (tmp_path / "gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_gpus(0) == find_gpus(0, device="cuda") == ["0", "1"]


@pytest.mark.parametrize(
    ("line", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023",
            "535.129.03",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs)",
            "580.95.05",
        ),
        ("something else", None),
    ],
)
def test_the_driver_says_its_version(
    line: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "DRIVER", tmp_path)
    assert driver_version() is None
    (tmp_path / "version").write_text(f"{line}\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
    assert driver_version() == version
