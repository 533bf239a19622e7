"""What a dry run has found out, for people."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.core.amounts import number_of, size_text
from tasks.core.manifest import Estimate
from tasks.core.planning.plan import Plan

WHAT = {
    "new": "new",
    "changed": "changed",
    "anew": "to be scored anew (other settings or models)",
    "unchanged": "unchanged",
    "rejected": "rejected as before",
    "unusable": "that cannot be used",
}


def plan_sentence(plan: Plan) -> str:
    """All in a sentence."""
    videos = ", ".join(f"{plan.counts[name]:,} {what}" for name, what in WHAT.items() if plan.counts[name])
    if not plan.estimate.videos:
        return f"Dry run: nothing to open; {videos}"
    return f"Dry run: {videos}; {size_text(plan.bytes)} to open; {time_text(plan.estimate)}"


def plan_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """What there is to do, line by line."""
    expected = plan.estimate
    for name, what in WHAT.items():
        if plan.counts[name]:
            yield what, number_of(plan.counts[name], "video")
    yield "to open", f"{number_of(expected.videos, 'video')}, {size_text(plan.bytes)}, {_hours(expected)}"
    if expected.videos:
        yield "expected", time_text(expected)
        yield "disk", _disk(expected)
    if plan.gpu_hour:
        yield "cost", _cost(expected)
    yield from _by_stage(expected)
    if plan.inventory:
        yield "listing", plan.inventory.sentence
    for note in plan.notes:
        yield "note", note


def _by_stage(expected: Estimate) -> Iterator[tuple[str, str]]:
    stages = {name: taken for name, taken in (expected.seconds or {}).items() if taken and name != "whole"}
    if stages:
        yield (
            "stages, summed over videos",
            ", ".join(f"{name} {minutes(taken)}" for name, taken in stages.items()),
        )
    if expected.gpu_hours:
        hours = ", ".join(f"{stage} {taken:.2f}" for stage, taken in expected.gpu_hours.items() if taken)
        yield "GPU-hours", f"{hours}; {number_of(expected.gpus, 'GPU')}"


def _disk(expected: Estimate) -> str:
    if expected.output_bytes is None or expected.scratch_bytes is None:
        return "unknown"
    needed = f"{size_text(expected.output_bytes)} of tables, {size_text(expected.scratch_bytes)} of scratch"
    return f"{needed}; pictures, clips and answers come on top"


def time_text(expected: Estimate) -> str:
    """How long a run will take.

    >>> time_text(Estimate(videos=2, seconds={"whole": 780.0}, low=600.0, high=900.0, runs=3))
    '13 min (10 to 15), by 3 earlier runs'
    >>> time_text(Estimate(videos=2))
    'how long that takes is unknown: no earlier run with these settings under this output'
    """
    if not expected.seconds or expected.low is None or expected.high is None:
        return "how long that takes is unknown: no earlier run with these settings under this output"
    unit = 60 if expected.high >= 120 else 1
    low, whole, high = (
        f"{taken / unit:,.0f}" for taken in (expected.low, expected.seconds["whole"], expected.high)
    )
    runs = number_of(expected.runs, "earlier run")
    return f"{whole} {'min' if unit == 60 else 's'} ({low} to {high}), by {runs}"


def minutes(seconds: float) -> str:
    """
    >>> minutes(780), minutes(7.2)
    ('13 min', '7 s')
    """
    return f"{seconds / 60:,.0f} min" if seconds >= 120 else f"{seconds:,.0f} s"


def _hours(expected: Estimate) -> str:
    if expected.hours_of_video is None:
        return "hours of video unknown" if expected.videos else "no video"
    seconds = 3600 * expected.hours_of_video
    return (
        f"{expected.hours_of_video:,.1f} hours of video"
        if seconds >= 7200
        else f"{minutes(seconds)} of video"
    )


def _cost(expected: Estimate) -> str:
    if expected.cost is not None:
        return f"{expected.cost:,.2f}"
    return "no GPU was used by earlier runs" if expected.seconds else "unknown"
