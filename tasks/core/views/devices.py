"""Where the models of a run computed, for people."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.core.manifest import Manifest


def devices(manifest: Manifest) -> str:
    """All devices of a run in a line: `NVIDIA H100 (bfloat16, driver 580.95.05)`. Empty if none was used."""
    return ", ".join(map(_device, manifest.devices))


def _device(device: Mapping[str, str | None]) -> str:
    driver = device.get("driver")
    return f"{device.get('name')} ({device.get('dtype')}{f', driver {driver}' if driver else ''})"
