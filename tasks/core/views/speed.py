"""How fast the models of a run were, for people."""

from __future__ import annotations

from tasks.core.manifest import Manifest
from tasks.core.throughput import Throughput
from tasks.core.views.escaping import UNKNOWN


def speed_rows(manifest: Manifest) -> list[tuple[str, str, str]]:
    """What is measured, of VideoMAE and of VideoLLaMA3; rates are those of one device."""
    speed = manifest.throughput or Throughput()
    fast, deep = speed.fast, speed.deep
    return [
        ("devices", str(fast.devices), str(deep.devices)),
        ("windows a second", _number(fast.windows_per_second), UNKNOWN),
        ("hours of video an hour", _number(fast.video_hours_per_hour), UNKNOWN),
        ("segments a minute", UNKNOWN, _number(deep.segments_per_minute)),
        ("prompt tokens a second", UNKNOWN, _number(deep.prompt_tokens_per_second)),
        ("output tokens a second", UNKNOWN, _number(deep.output_tokens_per_second)),
        ("device busy", _share(fast.device_busy), _share(deep.device_busy)),
        ("efficiency", _share(fast.efficiency), _share(deep.efficiency)),
    ]


def speed_line(manifest: Manifest) -> str:
    """The same in a line. Empty where no model did anything."""
    speed = manifest.throughput
    if speed is None or speed.device_busy is None:
        return ""
    parts = []
    if speed.fast.devices:
        parts.append(f"VideoMAE {_number(speed.fast.windows_per_second)} windows/s")
    if speed.deep.devices:
        prompt, output = speed.deep.prompt_tokens_per_second, speed.deep.output_tokens_per_second
        parts.append(
            f"VideoLLaMA3 {_number(speed.deep.segments_per_minute)} segments/min, "
            f"{_number(prompt)} prompt and {_number(output)} output tokens/s"
        )
    return "; ".join([*parts, f"busy {_share(speed.device_busy)} of the time"])


def _number(value: float | None) -> str:
    """
    >>> _number(2.345), _number(1234.5)
    ('2.3', '1,234')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.0f} %"
