"""An evaluation as people read it in a terminal, and the bars it may have to pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from hookline.labelling.files import READERS
from hookline.show import titled
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError
from tasks.core.learning.evaluation import NO_WINDOWS
from tasks.core.learning.measured import Measured
from tasks.core.views.evaluation.page import SCORES, TITLES, alarms, titles
from tasks.learning.evaluate import Evaluation

MAX_NIGHTS = 30
"""Nights that are printed, the newest."""

OF_MOMENTS = ("map_of_moments", "hit_at_1", "middle_inside_at_1")
"""Metrics of where something was published: labels that reject tell nothing of them."""


def print_evaluation(console: Console, evaluation: Evaluation, uri: str) -> None:
    """Print what was measured over all videos, and what of it changed from night to night."""
    whole = {(each.metric, each.score): each for each in evaluation.measured if each.scope == "all"}
    table = titled(f"How good the scores are ({evaluation.head})", first_column="")
    for name in (*SCORES, "videos"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    unknown = []
    for metric, title in titles(metric for metric, _ in whole).items():
        found = [whole.get((metric, score)) for score in SCORES]
        videos = max((each.estimate.videos for each in found if each), default=0)
        if videos:
            values = [_value(each) for each in found]
            table.add_row(title, *values, str(videos))
            if not any(values):
                unknown.append(f"{title}: {_unknown(next(each for each in found if each))}.")
    console.print(table)
    for sentence in (*unknown, *_sentences(whole)):
        console.print(sentence, soft_wrap=True)
    console.print()
    nights = sorted({each.scope for each in evaluation.measured} - {"all"})[-MAX_NIGHTS:]
    if nights:
        console.print(_by_night(evaluation.measured, nights))
    for note in (*evaluation.notes, *alarms(evaluation.measured)):
        console.print(escape(note), soft_wrap=True)
    console.print(f"Kept in {escape(uri)}", soft_wrap=True)


def missed_bars(evaluation: Evaluation, bars: Iterable[str]) -> list[str]:
    """What is below its bar, in a sentence each. A bar is `metric=value`, of the fast score, or
    `metric.score=value`. What is unknown has not passed.

    Raises:
        SettingsError: there is no such metric, or the value is no number.
    """
    measured = {(each.metric, each.score): each for each in evaluation.measured if each.scope == "all"}
    missed = []
    for bar in bars:
        name = bar.partition("=")[0]
        metric, score, wanted = _parsed(bar, measured)
        found = measured.get((metric, score))
        if found is None:
            missed.append(f"{name} is unknown: {_why_not_measured(metric)}")
        elif (value := found.estimate.value) is None or not value >= wanted:
            text = _unknown(found) if value is None else f"{value:.3f}"
            missed.append(f"{name} is {text}, not {wanted:g} or more")
    return missed


def _parsed(bar: str, measured: Collection[tuple[str, str]]) -> tuple[str, str, float]:
    """The metric, the score and the value of a bar; one that there is, though it may not be measured here.

    Raises:
        SettingsError: there is no such metric, or the value is no number.
    """
    name, _, least = bar.partition("=")
    metric, _, score = name.partition(".")
    scores = sorted(of for known, of in measured if known == metric and of)
    if not scores and _why_not_measured(metric):
        scores = sorted(SCORES)
    if not scores:
        metrics = ", ".join(sorted({known for known, of in measured if of} | set(TITLES)))
        raise SettingsError(f"--fail-below {bar}: there is no such metric; there are {metrics}")
    if (score := score or "fast") not in scores:
        raise SettingsError(f"--fail-below {bar}: {metric} is of the scores {', '.join(scores)}")
    try:
        return metric, score, float(least)
    except ValueError as error:
        raise SettingsError(f"--fail-below {bar}: write it as {name}=0.5") from error


def _why_not_measured(metric: str) -> str:
    """Why there may be no such metric in an evaluation; empty if it is one of none."""
    of, _, kind = metric.partition("_with_")
    if of in ("spearman", "kendall") and kind in READERS:
        return f"there is no {kind} of a video that was scored (hookline labels)"
    if metric == "concordance_with_judge":
        return NO_WINDOWS.removeprefix("unknown: ")
    if metric in TITLES:
        what = (
            "of a video that was scored says published" if metric in OF_MOMENTS else "is of a scored window"
        )
        return f"no label {what} (hookline labels)"
    return ""


def _value(each: Measured | None) -> str:
    return "" if each is None or each.estimate.value is None else f"{each.estimate.value:.3f}"


def _unknown(each: Measured) -> str:
    """Why nobody can tell."""
    return each.note if each.note.startswith("unknown") else f"unknown: {each.note}".removesuffix(": ")


def _with_interval(each: Measured) -> str:
    return f"{_value(each)} ({_interval(each) or 'too few videos for an interval'})"


def _interval(each: Measured) -> str:
    found = each.estimate
    return "" if found.low is None else f"{found.low:.3f}-{found.high:.3f}"


def _sentences(whole: Mapping[tuple[str, str], Measured]) -> Iterator[str]:
    recall, chance = (whole["recall_at_own_bar", of] for of in ("fast", "random"))
    known = f"{_with_interval(recall)}, by chance {_value(chance)}"
    audited = number_of(recall.rows, "audited window")
    yield (
        f"Recall of the fast score: {recall.note or known}. Of the windows that the judge likes as well as "
        f"the last ranked one, the share that it was shown; from {audited} of "
        f"{number_of(recall.estimate.videos, 'video')}."
    )
    for metric, name in (("spearman_fast_deep", "Spearman"), ("kendall_fast_deep", "Kendall")):
        alike = whole[metric, "fast"]
        value = _with_interval(alike) if alike.estimate.videos else "unknown"
        yield f"Fast and deep score alike, {name} among the candidates of a video: {value}."
    counts = {metric: each.rows for (metric, score), each in whole.items() if not score}
    yield (
        f"{number_of(counts['labels'], 'label')}, {counts['labels_joined']} of windows that were scored: "
        f"{counts.get('labels_published', 0)} published, {counts.get('labels_rejected', 0)} rejected."
    )


def _by_night(measured: Sequence[Measured], nights: Sequence[str]) -> object:
    table = titled("Night by night", first_column="run")
    shown = ("recall_at_own_bar", "spearman_fast_deep")
    for name in ("recall", "95 %", "audited", "agreement", "95 %", "videos"):
        table.add_column(name, justify="right", no_wrap=True)
    by_key = {(each.metric, each.scope): each for each in measured if each.score == "fast"}
    for run_id in nights:
        recall, agreement = (by_key[name, run_id] for name in shown)
        table.add_row(
            run_id,
            _value(recall) or recall.note.removesuffix(": no audits"),
            _interval(recall),
            str(recall.rows),
            _value(agreement),
            _interval(agreement),
            str(agreement.estimate.videos),
        )
    return table
