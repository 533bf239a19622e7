"""Which GPUs are seen, and who works where there are too few."""

from __future__ import annotations

import os
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


LISTS = [
    (
        "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5fd1aa3e-72dc-11f0-a2f7-0242ac120002)\n"
        "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-6ab0c1de-72dc-11f0-a2f7-0242ac120002)\n",
        ["GPU-5fd1aa3e-72dc-11f0-a2f7-0242ac120002", "GPU-6ab0c1de-72dc-11f0-a2f7-0242ac120002"],
    ),
    (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736)\n"
        "  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590)\n"
        "GPU 1: NVIDIA T1000 (UUID: GPU-7a)\n",
        ["MIG-c7384736", "MIG-a28ad590", "GPU-7a"],
    ),
    ("No devices found.\n", []),
]


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of this name first on the path: no driver is here, which the real one would ask."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "DEVICES", folder)
    monkeypatch.setattr(gpus, "DRIVER", folder)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(("listed", "found"), LISTS)
def test_gpus_and_their_slices_are_named_by_what_the_driver_lists(
    listed: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, monkeypatch, f"cat <<'END'\n{listed}END")
    assert find_gpus(0) == found


@pytest.mark.parametrize("script", ["exit 9", "sleep 60"])
def test_where_the_driver_does_not_answer_the_nodes_are_counted(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, monkeypatch, f"exec {script}" if script.startswith("sleep") else script)
    monkeypatch.setattr(gpus, "LIST_TIMEOUT_S", 0.5)
    (tmp_path / "nvidia0").touch()
    assert find_gpus(0) == ["0"]


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
