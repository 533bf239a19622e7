"""What the page of an evaluation shows: a table of all metrics, and plots over the nights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.core.learning.calibration import Bin
from tasks.core.learning.drift import ALARM
from tasks.core.learning.measured import Measured
from tasks.core.views.evaluation.plots import (
    Plot,
    agreement_plot,
    drift_plot,
    learning_plot,
    recall_plot,
    reliability_plot,
)

SCORES = ("random", "position", "salience", "fast", "deep", "combined")

TITLES = {
    "concordance_with_judge": "in the judge's order",
    "auc_of_verdicts": "published, AUC",
    "ap_of_verdicts": "published, AP",
    "precision_at_100": "published, first 100",
    "brier_of_verdicts": "published, Brier",
    "ndcg_at_15_of_views": "views, NDCG@15",
    "map_of_moments": "moments, mAP",
    "hit_at_1": "moments, best hits",
    "middle_inside_at_1": "moments, middle inside",
}


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """All that is on the page."""

    head: str
    evaluated_at: datetime
    table: Sequence[tuple[str, Sequence[str], int]]
    plots: Sequence[Plot]
    notes: Sequence[str]
    counts: Mapping[str, int]


def build_evaluation_page(
    head: str,
    measured: Sequence[Measured],
    *,
    reliability: Sequence[Bin],
    heads: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    evaluated_at: datetime,
) -> EvaluationPage:
    """Sort what was measured into what the page shows. `heads` are what is known of each fitted head."""
    whole = {(each.metric, each.score): each for each in measured if each.scope == "all"}
    by_night = {(each.metric, each.score, each.scope): each for each in measured if each.scope != "all"}
    nights = sorted({scope for *_, scope in by_night})
    return EvaluationPage(
        head=head,
        evaluated_at=evaluated_at,
        table=list(_table(whole)),
        plots=[
            recall_plot(nights, by_night, whole),
            agreement_plot(nights, by_night),
            drift_plot(nights, by_night),
            reliability_plot(reliability),
            learning_plot(heads),
        ],
        notes=[*notes, *alarms(measured)],
        counts={metric: each.rows for (metric, score), each in whole.items() if not score},
    )


def titles(metrics: Iterable[str]) -> dict[str, str]:
    """What metrics are called in a table: those of curves by the kind of the curve."""
    with_curve = "spearman_with_"
    return TITLES | {name: name.removeprefix(with_curve) for name in metrics if name.startswith(with_curve)}


def _table(whole: Mapping[tuple[str, str], Measured]) -> Iterator[tuple[str, Sequence[str], int]]:
    for metric, title in titles(metric for metric, _ in whole).items():
        found = [whole.get((metric, score)) for score in SCORES]
        videos = max((each.estimate.videos for each in found if each), default=0)
        if videos:
            values = [None if each is None else each.estimate.value for each in found]
            yield title, ["" if value is None else f"{value:.3f}" for value in values], videos


def alarms(measured: Iterable[Measured]) -> Iterator[str]:
    """A sentence of each night that is unlike those before it."""
    for each in measured:
        if each.note.startswith("alarm"):
            what = "what the judge says" if each.metric == "drift_of_level" else "how alike both scores are"
            yield (
                f"Night {each.scope}: {what} is {each.estimate.value:+.1f} standard errors from the nights "
                f"before (beyond {ALARM:g} is an alarm)."
            )
