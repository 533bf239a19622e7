"""The plots of an evaluation: numbers become marks, in percent of the width and pixels of the height."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tasks.core.amounts import number_of
from tasks.core.learning.calibration import Bin
from tasks.core.learning.drift import ALARM
from tasks.core.learning.measured import Measured

HEIGHT, MARGIN = 180, 14
"""Of a plot, in pixels: its width is that of the page."""

MAX_TICKS = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """A value in a plot: `x` in percent of its width, the others in pixels from its top."""

    x: float
    y: float
    said: str
    low: float | None = None
    high: float | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """Marks, of which those of one kind are `joined` by a line, and levels to compare them with."""

    title: str
    about: str
    marks: Sequence[Mark] = ()
    levels: Sequence[tuple[float, str]] = ()
    x_ticks: Sequence[tuple[float, str]] = ()
    joined: bool = True
    diagonal: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> Iterator[tuple[Mark, Mark]]:
        """Each two marks that a line joins."""
        for kind in dict.fromkeys(mark.kind for mark in self.marks):
            of_kind = [mark for mark in self.marks if mark.kind == kind]
            yield from pairwise(of_kind) if self.joined else ()


Nightly = Mapping[tuple[str, str, str], Measured]


def recall_plot(nights: Sequence[str], by_night: Nightly, whole: Mapping[tuple[str, str], Measured]) -> Plot:
    known = [run_id for run_id in nights if by_night["recall_at_own_bar", "fast", run_id].estimate.videos]
    marks = [
        mark
        for score, kind in (("fast", ""), ("random", "other"))
        for mark in _nightly(known, by_night, "recall_at_own_bar", score, (0, 1), kind)
    ]
    pooled = whole["recall_at_own_bar", "fast"]
    about = (
        f"All nights together: {_said(pooled)}. The bars are 95 % intervals; a night alone is seldom enough."
        if pooled.estimate.value is not None
        else f"{pooled.note[0].upper()}{pooled.note[1:]}."
    )
    keys = {"": "the fast score", "other": "a choice by chance"}
    levels = [(_y(value, (0, 1)), f"{value:g}") for value in (0, 0.5, 1)]
    return Plot("Recall of the fast score", about, marks, levels, _days(known), keys=keys if marks else {})


def agreement_plot(nights: Sequence[str], by_night: Nightly) -> Plot:
    known = [run_id for run_id in nights if by_night["spearman_fast_deep", "fast", run_id].estimate.videos]
    found = [by_night["spearman_fast_deep", "fast", run_id].estimate for run_id in known]
    ends = [end for each in found for end in (each.value, each.low, each.high) if end is not None]
    bounds = (math.floor(4 * min([0, *ends])) / 4, math.ceil(4 * max([0.25, *ends])) / 4)
    marks = _nightly(known, by_night, "spearman_fast_deep", "fast", bounds)
    about = "Spearman among the candidates of a video, by night: compare it with itself, under one head."
    levels = [(_y(value, bounds), f"{value:g}") for value in sorted({0, *bounds})]
    return Plot("How alike fast and deep score are", about, marks, levels, _days(known))


def drift_plot(nights: Sequence[str], by_night: Nightly) -> Plot:
    charts = {"drift_of_level": ("deep", ""), "drift_of_agreement": ("fast", "other")}
    found = {
        metric: [
            run_id
            for run_id in nights
            if (each := by_night.get((metric, score, run_id))) and each.estimate.value is not None
        ]
        for metric, (score, _) in charts.items()
    }
    known = sorted({run_id for run_ids in found.values() for run_id in run_ids})
    values = [
        abs(by_night[metric, charts[metric][0], run_id].estimate.value or 0)
        for metric, run_ids in found.items()
        for run_id in run_ids
    ]
    most = max([ALARM + 1, *(math.ceil(value) for value in values)])
    marks = [
        mark
        for metric, (score, kind) in charts.items()
        for mark in _nightly(found[metric], by_night, metric, score, (-most, most), kind, among=known)
    ]
    levels = [(_y(at, (-most, most)), said) for at, said in ((ALARM, "alarm"), (0, "0"), (-ALARM, "alarm"))]
    keys = {"": "what the judge says of candidates", "other": "how alike both scores are"}
    about = (
        "How far a night is from all nights before it, in standard errors, smoothed."
        if known
        else "Nothing to compare yet: it takes a night after one or more with 20 videos together."
    )
    return Plot("Drift", about, marks, levels, _days(known), keys=keys if known else {})


def reliability_plot(bins: Sequence[Bin]) -> Plot:
    marks = [
        Mark(
            x=_x(each.chance),
            y=_y(each.published, (0, 1)),
            said=f"chance {each.chance:.2f}: {each.published:.2f} of {each.labels} were published",
        )
        for each in bins
    ]
    about = (
        "The chance that the deep score gives, told by the labels of other videos (Platt), and how many were "
        "published. On the line, chances are what happens."
        if bins
        else "Nothing to compare yet: it takes 40 labels of both kinds, on windows that were judged."
    )
    ticks = [(_x(value), f"{value:g}") for value in (0, 0.5, 1)]
    levels = [(_y(value, (0, 1)), f"{value:g}") for value in (0, 0.5, 1)]
    return Plot("Chance of being published", about, marks, levels, ticks, diagonal=True)


def learning_plot(heads: Sequence[Mapping[str, Any]]) -> Plot:
    numbers = [
        (each["videos"], each["r2_by_video"], bool(each.get("promoted")))
        for each in heads
        if all(isinstance(each.get(name), int | float) for name in ("videos", "r2_by_video"))
    ]
    most = max((videos for videos, *_ in numbers), default=1)
    worth = [r2 for _, r2, _ in numbers]
    bounds = (min([0.0, *worth]), max([0.1, *worth]) * 1.1)
    marks = [
        Mark(
            x=_x(videos / most),
            y=_y(r2, bounds),
            said=f"{number_of(videos, 'video')}: {r2:.3f}{', promoted' if promoted else ''}",
            kind="promoted" if promoted else "",
        )
        for videos, r2, promoted in sorted(numbers)
    ]
    about = (
        "Each head of hookline train: how many videos it was fitted on, and how much of the judge's spread "
        "within videos it tells, of videos left out (R²)."
        if marks
        else "There is no head yet: hookline train fits one."
    )
    levels = [(_y(value, bounds), f"{value:.2f}") for value in (0.0, max([0.1, *worth]))]
    ticks = [(_x(share), number_of(share * most, "video")) for share in (0, 1)] if marks else []
    keys = {"promoted": "scores now"} if any(promoted for *_, promoted in numbers) else {}
    return Plot("Learning curve", about, marks, levels, ticks, joined=False, keys=keys)


def _nightly(
    nights: Sequence[str],
    by_night: Nightly,
    metric: str,
    score: str,
    bounds: tuple[float, float],
    kind: str = "",
    *,
    among: Sequence[str] = (),
) -> list[Mark]:
    marks, among = [], among or nights
    for run_id in nights:
        each = by_night[metric, score, run_id]
        found = each.estimate
        if found.value is None:
            continue
        low, high = (None if end is None else _y(end, bounds) for end in (found.low, found.high))
        at = _x(among.index(run_id) / max(len(among) - 1, 1))
        marks.append(Mark(at, _y(found.value, bounds), f"{run_id}: {_said(each)}", low, high, kind))
    return marks


def _said(each: Measured) -> str:
    found = each.estimate
    between = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.value:.2f}{between}, {number_of(found.videos, 'video')}"


def _days(nights: Sequence[str]) -> list[tuple[float, str]]:
    """Days to write below a plot, of nights at equal distances: the ids of runs begin with them."""
    step = -(-(len(nights) - 1) // (MAX_TICKS - 1)) or 1
    shown = range(0, len(nights), step)
    return [
        (_x(n / max(len(nights) - 1, 1)), f"{nights[n][:4]}-{nights[n][4:6]}-{nights[n][6:8]}") for n in shown
    ]


def _x(share: float) -> float:
    """Percent of the width, with room for the numbers at the left."""
    return round(10 + 84 * share, 2)


def _y(value: float, bounds: tuple[float, float]) -> float:
    """Pixels from the top."""
    share = (bounds[1] - min(max(value, bounds[0]), bounds[1])) / ((bounds[1] - bounds[0]) or 1)
    return round(MARGIN + (HEIGHT - 2 * MARGIN) * share, 1)
