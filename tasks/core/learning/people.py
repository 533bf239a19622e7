"""How well scores agree with people: what editors published or marked, and what viewers watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import numpy.typing as npt

from tasks.core.amounts import number_of
from tasks.core.learning.calibration import MIN_LABELS, Bin, cross_fitted, reliability
from tasks.core.learning.measured import Measured, scores_of
from tasks.core.learning.metrics import (
    Estimate,
    auc_and_precision,
    kendall,
    mean_of,
    ndcg,
    ratio_of,
    spearman,
)
from tasks.core.learning.moments import Span, is_found, is_inside, mean_average_precision, precision_at
from tasks.core.learning.videos import Flags, Floats, ScoredVideoRows

TOP = 15
"""Windows of a video whose order NDCG counts."""

ONLY_SCORED = "only windows that have this score"
"""Note on a score that few windows of a video have, such as that of the judge: compare it with care."""

FIRST = 100
"""Windows of the library among which precision is counted."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What people say of one video: verdicts on the windows at these places, marked moments, and curves.

    `moments` are where what was published begins and ends; `curves` have a value for each window, by kind,
    NaN where nobody knows.
    """

    places: npt.NDArray[np.int64]
    published: Flags
    views: Floats
    moments: Sequence[Span] = ()
    curves: Mapping[str, Floats] = field(default_factory=dict)


Scored = Sequence[tuple[Floats, ScoredVideoRows, Verdicts]]
"""Videos of which people said something, with a score of each window; NaN where there is none."""


def by_people(videos: Sequence[ScoredVideoRows], verdicts: Mapping[str, Verdicts]) -> Iterator[Measured]:
    """Every metric of every score over the videos of which people said anything; `verdicts` are by ETag."""
    if not any(video.etag in verdicts for video in videos):
        return
    scores = [scores_of(video) for video in videos]
    for name in scores[0]:
        known = [
            np.full(len(video.start), np.nan) if (score := of_video[name]) is None else score
            for of_video, video in zip(scores, videos, strict=True)
        ]
        told = [
            (score, video, verdicts[video.etag])
            for score, video in zip(known, videos, strict=True)
            if video.etag in verdicts
        ]
        if any(len(of_video.places) for *_, of_video in told):
            yield from _of_verdicts(name, told)
            yield _precision(name, known, videos, verdicts)
        yield from _of_moments(name, told)
        yield from _of_curves(name, told)


def labelled(scored: Scored) -> tuple[Floats, Flags, list[str]]:
    """The score, the verdict and the ETag of the video of each label whose window has that score."""
    scores = np.concatenate([score[of_video.places] for score, _, of_video in scored])
    published = np.concatenate([of_video.published for *_, of_video in scored])
    etags = [video.etag for _, video, of_video in scored for _ in of_video.places]
    known = ~np.isnan(scores)
    return (
        scores[known],
        published[known],
        list(compress(etags, known)),
    )


def _of_verdicts(name: str, scored: Scored) -> Iterator[Measured]:
    """How high a score puts what was published above what was rejected, over the whole library."""
    scores, published, etags = labelled(scored)
    rows = sum(len(of_video.places) for *_, of_video in scored)
    note = (
        ""
        if len(scores) == rows
        else f"{rows - len(scores)} of {rows} labels are of windows without this score"
    )
    for metric, found in zip(("auc", "ap"), auc_and_precision(published, scores, etags), strict=True):
        why = note or ("one verdict only" if found.value is None else "")
        yield Measured(f"{metric}_of_verdicts", name, "all", found, len(scores), note=why)
    gains = [_gain(score, of_video) for score, _, of_video in scored if len(of_video.places)]
    yield Measured(f"ndcg_at_{TOP}_of_views", name, "all", mean_of(gains), rows)
    yield _brier(name, scores, published, etags)


def _brier(name: str, scores: Floats, published: Flags, etags: Sequence[str]) -> Measured:
    """How far the chance that goes with a score is from what editors decided: 0 is best."""
    if len(scores) < MIN_LABELS:
        few = f"{number_of(len(scores), 'label')}, {MIN_LABELS} are needed"
        return Measured("brier_of_verdicts", name, "all", Estimate(), len(scores), note=few)
    chance = cross_fitted(scores, published, etags)
    known = ~np.isnan(chance)
    _, video = np.unique(np.array(etags, object)[known].astype(str), return_inverse=True)
    errors = np.bincount(video, (chance[known] - published[known]) ** 2)
    return Measured("brier_of_verdicts", name, "all", ratio_of(errors, np.bincount(video)), int(known.sum()))


def _gain(score: Floats, of_video: Verdicts) -> float | None:
    viewed = ~np.isnan(of_video.views) & ~np.isnan(score[of_video.places])
    if viewed.sum() < 2:
        return None
    return ndcg(np.log1p(of_video.views[viewed]), score[of_video.places[viewed]], k=TOP)


def _precision(
    name: str,
    scores: Sequence[Floats],
    videos: Sequence[ScoredVideoRows],
    verdicts: Mapping[str, Verdicts],
) -> Measured:
    """Of the first windows of the library, the share that was published, of those that have a label."""
    has_label, right = [], []
    for video in videos:
        flags = np.zeros((2, len(video.start)), bool)
        if of_video := verdicts.get(video.etag):
            flags[0, of_video.places] = True
            flags[1, of_video.places] = of_video.published
        has_label.append(flags[0])
        right.append(flags[1])
    score = np.concatenate(scores)
    known = ~np.isnan(score)
    value, count = precision_at(
        FIRST, score[known], np.concatenate(has_label)[known], np.concatenate(right)[known]
    )
    note = f"{count:.0f} of the first {min(FIRST, int(known.sum()))} have a label"
    return Measured(
        f"precision_at_{FIRST}", name, "all", Estimate(value, videos=len(videos)), round(count), note=note
    )


def _of_moments(name: str, scored: Scored) -> Iterator[Measured]:
    """How well the windows that do not overlap too much, in the order of a score, find what was marked."""
    found: dict[str, list[float | None]] = {"map_of_moments": [], "hit_at_1": [], "middle_inside_at_1": []}
    rows, note = 0, ""
    for score, video, of_video in scored:
        if not of_video.moments:
            continue
        rows += len(of_video.moments)
        ranked = np.flatnonzero(video.in_packing & ~np.isnan(score))
        if len(ranked) < video.in_packing.sum():
            note = ONLY_SCORED
        ranked = ranked[np.argsort(-score[ranked], kind="stable")]
        windows = [(float(video.start[n]), float(video.end[n])) for n in ranked]
        found["map_of_moments"].append(mean_average_precision(windows, of_video.moments))
        for metric, hits in (("hit_at_1", is_found), ("middle_inside_at_1", is_inside)):
            found[metric].append(float(bool(windows) and hits(windows[0], of_video.moments)))
    if rows:
        for metric, values in found.items():
            yield Measured(metric, name, "all", mean_of(values), rows, note=note)


def _of_curves(name: str, scored: Scored) -> Iterator[Measured]:
    """How alike a score and a curve order the windows of a video."""
    for kind in sorted({kind for *_, of_video in scored for kind in of_video.curves}):
        with_curve = [
            (score, of_video.curves[kind]) for score, _, of_video in scored if kind in of_video.curves
        ]
        known = [~np.isnan(score) & ~np.isnan(curve) for score, curve in with_curve]
        rows = int(sum(which.sum() for which in known))
        drawn = sum(int((~np.isnan(curve)).sum()) for _, curve in with_curve)
        note = ONLY_SCORED if rows < drawn else ""
        for metric, measure in (("spearman", spearman), ("kendall", kendall)):
            values = [
                measure(score[which], curve[which])
                for (score, curve), which in zip(with_curve, known, strict=True)
            ]
            yield Measured(f"{metric}_with_{kind}", name, "all", mean_of(values), rows, note=note)


def reliability_of(videos: Sequence[ScoredVideoRows], verdicts: Mapping[str, Verdicts]) -> list[Bin]:
    """Labels by the chance of being published that the deep score gives; empty where there are too few."""
    told = [
        (video.deep, video, of_video)
        for video in videos
        if (of_video := verdicts.get(video.etag)) and len(of_video.places)
    ]
    if not told:
        return []
    scores, published, etags = labelled(told)
    chance = cross_fitted(scores, published, etags)
    known = ~np.isnan(chance)
    return reliability(chance[known], published[known])
