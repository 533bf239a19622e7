"""What `hookline evaluate` says: how good each score is at finding what the judge, and people, like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from tasks.core.learning.drift import ALARM, MIN_OF_NIGHT, drift
from tasks.core.learning.gate import GateRecall, gate_recall
from tasks.core.learning.measured import Measured, scores_of
from tasks.core.learning.metrics import MIN_VIDEOS, Estimate, concordance, kendall, mean_of, spearman
from tasks.core.learning.people import Verdicts, by_people
from tasks.core.learning.promotion import is_held_out
from tasks.core.learning.videos import Floats, ScoredVideoRows

NO_AUDITS = "unknown: no audits"
NOTHING_CUT = "unknown: the fast score left nothing out"
NO_WINDOWS = "unknown: no windows of videos that no head was fitted on"


def evaluated(
    videos: Sequence[ScoredVideoRows], verdicts: Mapping[str, Verdicts], *, alike: Collection[str]
) -> Iterator[Measured]:
    """Every metric over the videos of the runs that are `alike`, and how alike the scores were in each run.

    Runs that are alike have the same models and head, and choose alike: others are not pooled. What the judge
    said counts of videos alone that no head was fitted on (`is_unseen`), what people say of all: no head is
    fitted on that.
    """
    pooled = [video for video in videos if video.run_id in alike]
    unseen = [video for video in pooled if is_unseen(video)]
    yield from _gate(gate_recall(unseen), "all")
    yield from _agreement(unseen, "all")
    yield from _order(unseen, "all")
    yield from by_people(pooled, verdicts)
    nights: dict[str, list[ScoredVideoRows]] = defaultdict(list)
    for video in filter(is_unseen, videos):
        nights[video.run_id].append(video)
    for run_id, of_night in sorted(nights.items()):
        yield from _gate(gate_recall(of_night), run_id)
        yield from _agreement(of_night, run_id)
    yield from _drift({run_id: nights[run_id] for run_id in sorted(nights) if run_id in alike})


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
    rows = sum(int((video.is_candidate & video.judged).sum()) for video in videos)
    compared: dict[str, Callable[[Floats, Floats], float | None]] = {"spearman": spearman, "kendall": kendall}
    for name, measure in compared.items():
        values = [_alike(video, measure) for video in videos]
        yield Measured(f"{name}_fast_deep", "fast", scope, mean_of(values), rows, note="candidates only")


def _alike(video: ScoredVideoRows, measure: Callable[[Floats, Floats], float | None]) -> float | None:
    which = video.is_candidate & video.judged
    return measure(video.fast[which], video.deep[which])


def _level(video: ScoredVideoRows) -> float | None:
    """What the judge says of the candidates of a video, on average."""
    which = video.is_candidate & video.judged
    return float(video.deep[which].mean()) if which.any() else None


def _drift(nights: Mapping[str, Sequence[ScoredVideoRows]]) -> Iterator[Measured]:
    """How far each night is from those before it: in what the judge says, and how alike both scores are."""
    charts: dict[tuple[str, str], Callable[[ScoredVideoRows], float | None]] = {
        ("drift_of_level", "deep"): _level,
        ("drift_of_agreement", "fast"): lambda video: _alike(video, spearman),
    }
    few = f"fewer than {MIN_VIDEOS} videos before, or {MIN_OF_NIGHT} of the night"
    for (metric, score), measure in charts.items():
        values = [[measure(video) for video in videos] for videos in nights.values()]
        for run_id, of_night, found in zip(nights, values, drift(values), strict=True):
            alarm = f"alarm: beyond {ALARM:g}" if found is not None and abs(found) > ALARM else ""
            note = few if found is None else alarm
            videos = sum(value is not None for value in of_night)
            estimate = Estimate(found, videos=videos, undefined=len(of_night) - videos)
            yield Measured(metric, score, run_id, estimate, videos, note=note)


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
