"""How many of the best moments the fast score lets through to the deep model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tasks.core.learning.metrics import Estimate, ratio_of
from tasks.core.learning.videos import ScoredVideoRows


@dataclass(frozen=True, slots=True)
class GateRecall:
    """The recall at the ranking's own bar, that of a gate that chooses at random, and what both rest on.

    `videos` were looked at. `cut` are those in which a window is no candidate for want of room, `audited`
    those of them in which windows were judged all the same, `windows` how many.
    """

    recall: Estimate
    chance: Estimate
    videos: int
    cut: int
    audited: int
    windows: int


def gate_recall(videos: Iterable[ScoredVideoRows]) -> GateRecall:
    """Of all windows that the judge finds as good as the last ranked one, the share that were candidates.

    The bar of a video is its `top_n`-th best candidate by the judge's expected score. Candidates are counted.
    Of the others, those that were drawn and answered stand for all (Horvitz & Thompson 1952): the total is
    unbiased however few they are, which the recall of a "best 15" is not. Without audits nothing is known.
    """
    found, missed, candidates, packed, looked_at, cut, windows = [], [], [], [], 0, 0, 0
    for video in videos:
        looked_at += 1
        if not video.is_cut:
            continue
        cut += 1
        audited = video.audited & video.judged
        best = np.sort(video.deep[video.is_candidate & video.judged])[::-1]
        if not audited.any() or len(best) < video.top_n:
            continue
        bar, windows = best[video.top_n - 1], windows + int(audited.sum())
        found.append(float((best >= bar).sum()))
        missed.append(video.others * float((video.deep[audited] >= bar).mean()))
        candidates.append(float(video.is_candidate.sum()))
        packed.append(float(video.in_packing.sum()))
    all_of_them = np.add(found, missed)
    recall, chance = ratio_of(found, all_of_them), ratio_of(candidates, packed)
    return GateRecall(recall, chance, looked_at, cut, len(found), windows)
