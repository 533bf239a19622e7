"""What models compute on, as answers depend on it and as people are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backend:
    """What a model computes on, `cuda` or `cpu`, and in, `bfloat16` or `float32`: answers depend on both."""

    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model computes. `kind` is cuda or cpu, `driver` NVIDIA's; on a CPU None."""

    kind: str
    name: str
    dtype: str
    driver: str | None
