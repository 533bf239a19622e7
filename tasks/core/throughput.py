"""How fast the models of a run were: from what each call cost to numbers that people compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

Span = tuple[float, float]
"""From when to when, in seconds by the clock of a machine."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one call to a model did: in which process and when, and when in this time the model was at it.

    The device was busy for `busy_s`. `counts` has `windows`, or `segments`, `prompt_tokens`, `shared_tokens`
    (of the prompts, taken over instead of read) and `new_tokens`.
    """

    process: str
    call: Span
    loops: tuple[Span, ...]
    busy_s: float
    counts: Mapping[str, int] = field(default_factory=dict)


class StageThroughput(BaseModel):
    """How fast a stage was; all but `devices` is null where its model did nothing.

    `seconds` is how long its calls were under way, summed over devices, each second of a device once, without
    the time in which the device was with the other model; `busy_seconds` how long the devices were at it.
    `device_busy` is their share of the time from a device's first call to its last, and `efficiency` their
    share of `seconds`: whole stage to bare loop. Rates are those of one device over `seconds`.
    """

    devices: int = 0
    seconds: float | None = None
    busy_seconds: float | None = None
    device_busy: float | None = None
    efficiency: float | None = None


class FastThroughput(StageThroughput):
    """Of VideoMAE."""

    windows: int | None = None
    windows_per_second: float | None = None
    video_hours_per_hour: float | None = None


class DeepThroughput(StageThroughput):
    """Of VideoLLaMA3. `segments` got an answer, and `prompt_tokens` were read: none from the cache."""

    segments: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    segments_per_minute: float | None = None
    prompt_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None


class Throughput(BaseModel):
    """How fast both stages of a run were; `device_busy` is the devices' share of time with either."""

    device_busy: float | None = None
    fast: FastThroughput = FastThroughput()
    deep: DeepThroughput = DeepThroughput()


def throughput(fast: Sequence[Work], deep: Sequence[Work], *, video_hours: float) -> Throughput:
    """How fast the models were that did all this; VideoMAE scored so many hours of video."""
    return Throughput(
        device_busy=_stage([*fast, *deep]).device_busy,
        fast=_fast(fast, _stage(fast, others=deep), video_hours),
        deep=_deep(deep, _stage(deep, others=fast)),
    )


def _fast(works: Sequence[Work], stage: StageThroughput, video_hours: float) -> FastThroughput:
    if not stage.seconds:
        return FastThroughput()
    windows = _sum(works, "windows")
    return FastThroughput(
        **dict(stage),
        windows=windows,
        windows_per_second=windows / stage.seconds,
        video_hours_per_hour=video_hours * 3600 / stage.seconds,
    )


def _deep(works: Sequence[Work], stage: StageThroughput) -> DeepThroughput:
    if not stage.seconds:
        return DeepThroughput()
    segments, output = _sum(works, "segments"), _sum(works, "new_tokens")
    prompt = _sum(works, "prompt_tokens") - _sum(works, "shared_tokens")
    return DeepThroughput(
        **dict(stage),
        segments=segments,
        prompt_tokens=prompt,
        output_tokens=output,
        segments_per_minute=60 * segments / stage.seconds,
        prompt_tokens_per_second=prompt / stage.seconds,
        output_tokens_per_second=output / stage.seconds,
    )


def _stage(works: Sequence[Work], *, others: Sequence[Work] = ()) -> StageThroughput:
    """What is said of either stage. Each process has its own device, and may have several calls at once."""
    calls, elsewhere = _by_process(works), _by_process(others)
    seconds = there = 0.0
    for process, some in calls.items():
        spans, loops = [w.call for w in some], [span for w in elsewhere[process] for span in w.loops]
        seconds += _covered_s([*spans, *loops]) - _covered_s(loops)
        there += max(end for _, end in spans) - min(begin for begin, _ in spans)
    if seconds <= 0:
        return StageThroughput()
    busy = sum(work.busy_s for work in works)
    return StageThroughput(
        devices=len(calls),
        seconds=seconds,
        busy_seconds=busy,
        device_busy=busy / there,
        efficiency=busy / seconds,
    )


def _by_process(works: Iterable[Work]) -> Mapping[str, list[Work]]:
    found: dict[str, list[Work]] = defaultdict(list)
    for work in works:
        found[work.process].append(work)
    return found


def _covered_s(spans: Iterable[Span]) -> float:
    """Seconds in at least one of the spans.

    >>> _covered_s([(0, 4), (2, 5), (7, 8)])
    6.0
    """
    covered, until_s = 0.0, float("-inf")
    for begin, end in sorted(spans):
        covered += max(end - max(begin, until_s), 0)
        until_s = max(until_s, end)
    return covered


def _sum(works: Sequence[Work], name: str) -> int:
    return int(sum(work.counts.get(name, 0) for work in works))
