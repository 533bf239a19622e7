"""All that is known of one moment of a video: why it has its rank, or why it has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from hookline.show import titled
from hookline.videos import video_called
from tasks.adapters.storage import Store
from tasks.adapters.storage.published import manifest_of, read_labels, read_rows_of
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError, StorageError
from tasks.core.learning.videos import features_of
from tasks.core.manifest import Manifest
from tasks.core.scoring.fast_scores import mid_ranks, salience
from tasks.core.scoring.ranking import combined_score
from tasks.core.tables.labels import iou
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.schemas import FAILURES, RANKINGS, upgraded, windows_schema
from tasks.core.views.clock import clock, seconds_from, watched
from tasks.core.views.escaping import printable

Row = Mapping[str, Any]

LEFT_OUT = "left out: another video shows the same (ranking.duplicates: drop)"
"""What became of a window that is a duplicate."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a video: `run` has its ranks, `scored` its windows; None if that run is gone.

    `windows`, `ranked`, `failures` and `labels` are its rows; `salience` is the fast score that each window
    would have without a head, None where it has that, or nobody can tell.
    """

    entry: LibraryEntry
    duration_s: float
    run: Manifest
    scored: Manifest | None
    windows: Sequence[Row]
    ranked: Sequence[Row]
    failures: Sequence[Row]
    labels: Sequence[Row]
    salience: Sequence[int] | None

    def rank_of(self, window: Row) -> Row | None:
        """The row of `rankings` of a window, if it is ranked."""
        span = (window["start"], window["end"])
        return next((row for row in self.ranked if (row["start"], row["end"]) == span), None)


def explain(console: Console, store: Store, run: Manifest, part: str, at: str) -> None:
    """Print all that is known of a moment of the one video with `part` in its URI.

    Raises:
        SettingsError: there is no such video, or several; or it is shorter.
        StorageError: the output cannot be read.
    """
    at_s = seconds_from(at)
    known = read_known(store, run, video_called(store, run, part))
    if at_s >= known.duration_s:
        name = known.entry.video.name
        raise SettingsError(f"--at {clock(at_s)}: {name} is {clock(known.duration_s)} long, write less")
    around = [row for row in known.windows if row["start"] <= at_s < row["end"]]
    console.print(f"[bold]{escape(printable(known.entry.video.label))}[/] at {clock(at_s)}", soft_wrap=True)
    for sentence in about_the_video(known):
        console.print(escape(sentence), soft_wrap=True)
    if around:
        best = min(around, key=lambda row: _first(known.rank_of(row), row))
        console.print()
        print_windows(console, known, around, best)
        for sentence in about_a_window(known, best):
            console.print(escape(printable(sentence)), soft_wrap=True)
    for sentence in about_the_moment(known, at_s):
        console.print(escape(printable(sentence)), soft_wrap=True)


def read_known(store: Store, run: Manifest, entry: LibraryEntry) -> Known:
    """What is stored of a ranked video.

    Raises:
        StorageError: the output cannot be read.
    """
    video: dict[str, Any] = {"video": entry.video.label}
    of_run = video | {"run_date": run.run_date, "run_id": run.run_id}
    of_scores = video | {"run_date": entry.scored_on, "run_id": entry.scored_in}
    windows, scored = pa.table({"embedding": pa.array([], pa.list_(pa.float32(), 1))}), None
    try:
        windows = read_rows_of(store, "windows", None, **of_scores)
        scored = manifest_of(store, str(entry.scored_in))
    except StorageError as error:
        if error.reason != "not_found":
            raise
    features = features_of(windows)
    has_head = len(windows) > 0 and windows["fast_kind"][0].as_py() != "salience"
    later = pa.schema([field for field in windows_schema(1) if field.name != "embedding"])
    rows = upgraded(windows, later).to_pylist() if len(windows) else []
    ranked = upgraded(read_rows_of(store, "rankings", None, **of_run), RANKINGS).to_pylist()
    failures = upgraded(read_rows_of(store, "failures", None, **of_run), FAILURES).to_pylist()
    labels = [row for row in read_labels(store).to_pylist() if row["video_etag"] == entry.video.etag]
    return Known(
        entry,
        entry.timeline.duration_s if entry.timeline else 0.0,
        run,
        scored,
        rows,
        sorted(ranked, key=lambda row: int(row["rank"])),
        failures,
        labels,
        salience(features) if has_head and features else None,
    )


def print_windows(console: Console, known: Known, around: Sequence[Row], best: Row) -> None:
    """Print the windows that show the moment; the best of them stands out."""
    table = titled("Windows that show it", first_column="from")
    for name in ("to", "fast", "% video", "place", "deep", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what became of it", no_wrap=True)
    percentiles = _percentiles(known, around)
    for row, percentile in zip(around, percentiles, strict=True):
        numbers = (
            row["videomae_score"],
            round(percentile),
            row["pack_rank"],
            row["deep_score"],
            row["score"],
        )
        cells = (clock(row["start"]), clock(row["end"]), *("" if n is None else str(n) for n in numbers))
        table.add_row(*cells, outcome(known, row), style="bold" if row is best else "")
    console.print(table)


def outcome(known: Known, row: Row) -> str:
    """What became of a window, in a few words."""
    if ranked := known.rank_of(row):
        return f"rank {ranked['rank']}"
    if row["reason"] == "duplicate":
        return LEFT_OUT
    if row["suppressed_by"] is not None:
        return f"repeats {clock(row['suppressed_by'])}"
    if row["is_candidate"]:
        return "a candidate, not good enough"
    return "audited" if row["audited"] else "no candidate"


def about_the_video(known: Known) -> Iterator[str]:
    """What holds for all of its windows."""
    entry, models = known.entry, known.scored.models if known.scored else {}
    head = models.get("head_revision")
    by = f"the head {head}" if head else "salience" if known.scored else "what nobody knows any more"
    yield f"Ranked in run {entry.ranked_in or known.run.run_id}, scored by {by} in run {entry.scored_in}."
    if not known.windows:
        yield f"The windows of run {entry.scored_in} are gone: only what is ranked is known."
    elif entry.ranked_in not in (None, entry.scored_in) and not entry.waits_for:
        yield "Ranks are by later settings; places, scores and reasons of windows are by those of that run."
    if entry.waits_for:
        yield (
            "A newer head waits until the video is opened for it (select.most_reopened): these are the ranks "
            "by the head before."
        )


def about_a_window(known: Known, row: Row) -> Iterator[str]:
    """Why a window is ranked, or is not; its scores, and what they are made of."""
    ranked = known.rank_of(row)
    yield f"{_span(row)} is {why_ranked(ranked) if ranked else why_not(known, row)}."
    yield from about_fast(known, row, ranked)
    yield about_deep(known, row, ranked)
    if ranked and (chance := ranked["publish_probability"]) is not None:
        yield f"By their labels, editors publish {chance:.0%} of segments with such an expected score."
    if ranked and (same := ranked["duplicate_of"]):
        span = f"{clock(same['start'])} to {clock(same['end'])}"
        yield f"It is a duplicate: it shows what {same['video_uri']} shows from {span}."
    if row["audited"]:
        yield f"It was drawn for the audit, with a probability of {row['audit_probability']:.2g}."
    elif row["pack_rank"] and not row["is_candidate"]:
        yield "It was not drawn for the audit."
    if row["analysed_before"]:
        yield "VideoLLaMA3 had judged it under an earlier head: it may stand in for stronger ones nearby."


def why_ranked(row: Row) -> str:
    """Its ranks, and by how much it has them."""
    text = f"rank {row['rank']} of its video, {row['run_rank']:,} of the run"
    if row["margin"] is not None:
        text += f", {number_of(row['margin'], 'point')} above the best candidate that is not ranked"
    if row["suppressed"]:
        text += f"; it kept out {number_of(len(row['suppressed']), 'window')} that it overlaps"
    return text if row["best_of_moment"] is not False else text + "; a better segment shows the same moment"


def why_not(known: Known, row: Row) -> str:
    """Why a window is not ranked."""
    if row["reason"] == "duplicate":
        return LEFT_OUT
    ranking = known.scored.settings["ranking"] if known.scored else {}
    if row["suppressed_by"] is not None:
        return _suppressed(known, row, ranking)
    candidates = [other for other in known.windows if other["is_candidate"]]
    if row["is_candidate"]:
        last = min((other["score"] for other in known.ranked), default=0)
        missing = last - (row["score"] or 0)
        below = f"{number_of(missing, 'point')} below the last that is ranked"
        return f"a candidate that came too late: its score is {below}"
    weakest = min((other["videomae_score"] for other in candidates), default=0)
    if row["pack_rank"] is None:
        return "no candidate: it repeats a stronger window, which is none either"
    return (
        f"no candidate: it has place {row['pack_rank']} of those that do not repeat each other, "
        f"the first {len(candidates)} are taken, and the weakest has the fast score {weakest}"
    )


def about_fast(known: Known, row: Row, ranked: Row | None) -> Iterator[str]:
    """What its fast score is, what it weighs, and what the head has done to it."""
    (percentile,) = _percentiles(known, [row])
    text = (
        f"Fast score {row['videomae_score']} ({row['fast_kind']}), percentile {percentile:.0f} of its video"
    )
    if ranked and ranked["fast_reason"]:
        text += f"; it says nothing and has no weight: {ranked['fast_reason']}"
    yield text + "."
    if known.salience is None:
        return
    plain = known.salience[known.windows.index(row)]
    gain = row["videomae_score"] - plain
    yield f"Without the head it would be {plain} (salience): the head makes {gain:+d}."
    weights = ranked and ranked["deep_weight"] is not None and (ranked["deep_weight"], ranked["fast_weight"])
    if ranked and weights and ranked["fast_weight"]:
        deep, fast = (Decimal(str(weight)) for weight in weights)
        before = combined_score(
            ranked["videollama3"]["virality_score"], plain, deep_weight=deep, fast_weight=fast
        )
        yield f"Of its score of {ranked['score']} the head makes {ranked['score'] - before:+d}."


def about_deep(known: Known, row: Row, ranked: Row | None) -> str:
    """What VideoLLaMA3 said, or why it said nothing."""
    if ranked and (answer := ranked["videollama3"]):
        weights = f"{ranked['deep_weight']:g} x {answer['virality_score']} + {ranked['fast_weight']:g} x "
        hook, engagement = answer["hook_quality"], answer["engagement_potential"]
        return (
            f"Score {ranked['score']} = {weights}{ranked['videomae_score']}. VideoLLaMA3 said "
            f"{answer['virality_score']} (expected {answer['expected_score']:.1f}), hook {hook}, engagement "
            f"{engagement}. {answer['reasoning']} {answer['recommendation']}"
        )
    status = ranked["deep_status"] if ranked else row["deep_status"]
    if status == "ok":
        said = f"{row['deep_score']} (expected {row['deep_expected_score']:.1f})"
        return f"VideoLLaMA3 said {said}; its words are in the ranking for ranked segments only."
    if status == "failed":
        spans = [(row["start"], row["end"]), (None, None)]
        why = [
            each
            for each in known.failures
            if each["stage"] == "deep" and (each["start"], each["end"]) in spans
        ]
        return "VideoLLaMA3 gave no answer: " + (why[0]["detail"] if why else "a later run asks again.")
    if status == "skipped":
        return "VideoLLaMA3 was not asked: deep.enabled is false."
    return "VideoLLaMA3 was not asked: only candidates and audited windows are shown to it."


def about_the_moment(known: Known, at_s: float) -> Iterator[str]:
    """What else there is near it: ranked segments, and labels."""
    shown = [row for row in known.ranked if watched(row)[0] <= at_s < watched(row)[1]]
    if shown:
        spans = ", ".join(f"{_span(row)} (rank {row['rank']})" for row in shown)
        yield f"Ranked segments that show it: {spans}."
    elif near := min(known.ranked, key=lambda row: _away(row, at_s), default=None):
        yield f"No ranked segment shows it; the nearest is {_span(near)} (rank {near['rank']})."
    labels = [row for row in known.labels if _as_given(row)[0] <= at_s < _as_given(row)[1]]
    for row in labels:
        views = "" if row["views"] is None else f", {number_of(row['views'], 'view')}"
        begin_s, end_s = _as_given(row)
        window = f"the window {clock(row['start'])}-{clock(row['end'])}" if row["scored_in"] else "no window"
        yield f"Label: {row['verdict']}{views}, of {clock(begin_s)}-{clock(end_s)}, matched with {window}."
    if not labels:
        yield "No label is of it."


def _suppressed(known: Known, row: Row, ranking: Row) -> str:
    span = (row["suppressed_by"], row["suppressed_by_end"])
    other = next((each for each in known.windows if (each["start"], each["end"]) == span), None)
    if other is None:
        return f"no candidate: it repeats a stronger window, from {clock(row['suppressed_by'])}"
    overlap = iou(watched(row), watched(other))
    rank = known.rank_of(other)
    has_rank = f", rank {rank['rank']}" if rank else ""
    what = f"{_span(other)} (fast score {other['videomae_score']}{has_rank})"
    limit = f"; ranking.max_overlap is {float(ranking['max_overlap']):.0%}" if ranking else ""
    if other["analysed_before"] and other["videomae_score"] < row["videomae_score"]:
        return f"no candidate: {what} stands in for it, whose answer was known; they overlap by {overlap:.0%}"
    return f"no candidate: it repeats {what}, which it overlaps by {overlap:.0%}{limit}"


def _percentiles(known: Known, rows: Sequence[Row]) -> list[float]:
    every = [row["videomae_score"] for row in known.windows]
    return [float(each) for each in mid_ranks([row["videomae_score"] for row in rows], among=every)]


def _first(ranked: Row | None, row: Row) -> tuple[int, int, int, float]:
    """Ranked ones by rank, then candidates by score, then the others by fast score."""
    rank = ranked["rank"] if ranked else 10**6
    score = -1 if row["score"] is None else row["score"]
    return rank, -score, -row["videomae_score"], row["start"]


def _span(row: Row) -> str:
    begin_s, end_s = watched(row)
    return f"{clock(begin_s)}-{clock(end_s)}"


def _as_given(row: Row) -> tuple[float, float]:
    """From when to when a label is: an editor's cut where it is one."""
    if row["given_start"] is None:
        return row["start"], row["end"]
    return row["given_start"], row["given_end"]


def _away(row: Row, at_s: float) -> float:
    begin_s, end_s = watched(row)
    return max(begin_s - at_s, at_s - end_s)
