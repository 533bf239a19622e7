"""What `hookline evaluate` says: how good each score is at finding what the judge, and the editors, like."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.learning.gate import GateRecall, gate_recall
from tasks.core.learning.metrics import (
    Estimate,
    average_precision,
    concordance,
    kendall,
    mean_of,
    ndcg,
    roc_auc,
    spearman,
)
from tasks.core.learning.promotion import is_held_out
from tasks.core.learning.videos import Floats, ScoredVideoRows

NO_AUDITS = "unknown: no audits"
NOTHING_CUT = "unknown: the fast score left nothing out"
NO_WINDOWS = "unknown: no windows of videos that no head was fitted on"

TOP = 15
"""Windows of a video whose order NDCG counts."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of an evaluation: a metric of a score, over the videos of a scope.

    `scope` is `all`, or a run. `note` says why there is no value, or what to keep in mind.
    """

    metric: str
    score: str
    scope: str
    estimate: Estimate
    rows: int
    weighted: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What editors decided about windows of one video: at these places among its windows."""

    places: np.ndarray[tuple[int], np.dtype[np.int64]]
    published: np.ndarray[tuple[int], np.dtype[np.bool_]]
    views: Floats


def scores_of(video: ScoredVideoRows) -> dict[str, Floats | None]:
    """What windows can be ordered by, the higher the better; None where it is not known for this video.

    `random` is the same in every evaluation; `position` the earlier the better.
    """
    seed = int.from_bytes(hashlib.sha256(video.etag.encode(errors="surrogatepass")).digest(), "big")
    return {
        "random": np.random.default_rng(seed).random(len(video.start)),
        "position": -video.start,
        "salience": video.salience,
        "fast": video.fast,
        "deep": video.deep,
        "combined": video.combined,
    }


def evaluated(
    videos: Sequence[ScoredVideoRows], verdicts: Mapping[tuple[str, str], Verdicts], *, alike: Collection[str]
) -> Iterator[Measured]:
    """Every metric over the videos of the runs that are `alike`, and how alike the scores were in each run.

    Runs that are alike have the same models and head, and choose alike: others are not pooled. What the judge
    said counts of videos alone that no head was fitted on (`is_unseen`), verdicts of all: no head is fitted
    on those.
    """
    pooled = [video for video in videos if video.run_id in alike]
    unseen = [video for video in pooled if is_unseen(video)]
    yield from _gate(gate_recall(unseen), "all")
    yield from _agreement(unseen, "all")
    yield from _order(unseen, "all")
    yield from _verdicts(pooled, verdicts)
    nights: dict[str, list[ScoredVideoRows]] = defaultdict(list)
    for video in filter(is_unseen, videos):
        nights[video.run_id].append(video)
    for run_id, of_night in sorted(nights.items()):
        yield from _gate(gate_recall(of_night), run_id)
        yield from _agreement(of_night, run_id)


def is_unseen(video: ScoredVideoRows) -> bool:
    """Whether no head of `hookline train` that scored a video can have been fitted on it."""
    return video.fast_kind != "head_percentile" or is_held_out(video.etag)


def _gate(gate: GateRecall, scope: str) -> Iterator[Measured]:
    nothing = NOTHING_CUT if gate.videos else NO_WINDOWS
    note = "" if gate.audited else NO_AUDITS if gate.cut else nothing
    yield Measured("recall_at_own_bar", "fast", scope, gate.recall, gate.windows, True, note)
    yield Measured("recall_at_own_bar", "random", scope, gate.chance, gate.windows, True, note)


def _agreement(videos: Sequence[ScoredVideoRows], scope: str) -> Iterator[Measured]:
    """How alike both scores order the candidates of a video. Only candidates: over all windows it is more."""
    chosen = [(video, video.is_candidate & video.judged) for video in videos]
    rows = int(sum(which.sum() for _, which in chosen))
    compared: dict[str, Callable[[Floats, Floats], float | None]] = {"spearman": spearman, "kendall": kendall}
    for name, measure in compared.items():
        values = [measure(video.fast[which], video.deep[which]) for video, which in chosen]
        yield Measured(f"{name}_fast_deep", "fast", scope, mean_of(values), rows, note="candidates only")


def _order(videos: Sequence[ScoredVideoRows], scope: str) -> Iterator[Measured]:
    """How often a score puts two judged windows of a video in the judge's order.

    A video of which something was left out, and none of that was judged, tells nothing of the fast score.
    """
    found: dict[str, list[float | None]] = defaultdict(list)
    rows = 0
    for video in videos:
        which = video.judged & (video.is_candidate | video.audited)
        is_told = not video.is_cut or bool((video.audited & video.judged).any())
        rows += int(which.sum()) * is_told
        for name, score in scores_of(video).items():
            if name in ("deep", "combined"):
                continue  # made from the judge's own score
            found[name].append(
                concordance(score[which], video.deep[which], video.audited[which], others=video.others)
                if is_told and score is not None
                else None
            )
    for name, values in found.items():
        yield Measured("concordance_with_judge", name, scope, mean_of(values), rows, True)


def _verdicts(
    videos: Iterable[ScoredVideoRows], verdicts: Mapping[tuple[str, str], Verdicts]
) -> Iterator[Measured]:
    """How high each score puts what was published above what was rejected, over the whole library."""
    labelled = [(video, verdicts[key]) for video in videos if (key := (video.uri, video.etag)) in verdicts]
    rows = sum(len(of_video.places) for _, of_video in labelled)
    by_score: dict[str, list[tuple[Floats, Verdicts]]] = defaultdict(list)
    for video, of_video in labelled:
        for name, score in scores_of(video).items():
            by_score[name].append((np.full(len(video.start), np.nan) if score is None else score, of_video))
    for name, of_videos in by_score.items():
        yield from _of_verdicts(name, of_videos, rows)


def _of_verdicts(name: str, videos: Sequence[tuple[Floats, Verdicts]], rows: int) -> Iterator[Measured]:
    scores = np.concatenate([score[of_video.places] for score, of_video in videos])
    published = np.concatenate([of_video.published for _, of_video in videos])
    known = ~np.isnan(scores)
    note = "" if known.all() else f"{int((~known).sum())} of {rows} labels are of windows without this score"
    for metric, measure in {"auc_of_verdicts": roc_auc, "ap_of_verdicts": average_precision}.items():
        value = measure(published[known], scores[known])
        why = note or ("one verdict only" if value is None else "")
        yield Measured(metric, name, "all", Estimate(value, videos=len(videos)), int(known.sum()), note=why)
    gains = [_gain(score, of_video) for score, of_video in videos]
    yield Measured(f"ndcg_at_{TOP}_of_views", name, "all", mean_of(gains), rows)


def _gain(score: Floats, of_video: Verdicts) -> float | None:
    viewed = ~np.isnan(of_video.views) & ~np.isnan(score[of_video.places])
    if viewed.sum() < 2:
        return None
    return ndcg(np.log1p(of_video.views[viewed]), score[of_video.places[viewed]], k=TOP)
