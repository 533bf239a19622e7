"""What changed from one run to another: which segments entered, left or moved, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.manifest import Manifest
from tasks.core.tables.renames import etags, new_names, under_new_names
from tasks.core.tables.run_ranking import segment_keys
from tasks.core.uris import name_in

COMPARED = (
    *("video_uri", "video_etag", "start", "end", "rank", "score", "videomae_score"),
    *("videollama3.virality_score", "deep_status"),
)
"""The columns of `rankings` by which two runs are compared; of `videollama3`, only this field."""

DECIDING = ("windows", "fast", "deep", "ranking")
"""The groups of settings that decide the rows."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run to be compared: its manifest, the `COMPARED` columns of its ranking, and why others failed."""

    manifest: Manifest
    rankings: pa.Table
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """How one segment changed, or the name of a video. `why` is a short stable code, `detail` a sentence.

    A video that was renamed or copied has no start and end.
    """

    what: Literal["entered", "left", "moved", "renamed", "copied"]
    video_uri: str
    start: float | None
    end: float | None
    rank_before: int | None
    rank: int | None
    score_before: int | None
    score: int | None
    why: str
    detail: str


def changes(before: ComparedRun, after: ComparedRun) -> Iterator[Change]:
    """Videos with another name, then every segment whose rank in its video or whose score has changed.

    Both by video and start. Segments of a video that was renamed or copied are compared with those under its
    old name.
    """
    now = etags(after.rankings)
    names = new_names(etags(before.rankings), now)
    for uri, old_name in sorted(names.items()):
        what: Literal["renamed", "copied"] = "copied" if old_name in now else "renamed"
        detail = (
            f"{'A copy of' if what == 'copied' else 'It was'} {name_in(old_name, before.manifest.source)}."
        )
        yield Change(what, uri, None, None, None, None, None, None, what, detail)
    before = replace(before, rankings=under_new_names(before.rankings, names, kept=now))
    new = {_key(row): row for row in _rows_without_equal(after.rankings, before.rankings)}
    old = {_key(row): row for row in _rows_without_equal(before.rankings, after.rankings)}
    causes = changed(before.manifest, after.manifest)
    videos = [etags(before.rankings), now]
    for key in sorted({*new, *old}):
        yield _change(old.get(key), new.get(key), videos=videos, runs=(before, after), causes=causes)


def changed(before: Manifest, after: Manifest) -> dict[str, str]:
    """The settings that decide about rows, and the models, that differ between two runs, by name.

    >>> run = {"run_id": "a", "run_date": "2026-11-24", "state": "Completed"}
    >>> before, after = (Manifest(**run, settings={"ranking": {"top_n": n}}) for n in (15, 5))
    >>> changed(before, after)
    {'ranking.top_n': '15 -> 5'}
    """
    found: dict[str, str] = {}
    for group in DECIDING:
        old, new = (run.settings.get(group, {}) for run in (before, after))
        names = [name for name in {**old, **new} if (group, name) != ("deep", "cache")]
        found |= {
            f"{group}.{name}": f"{old.get(name)} -> {new.get(name)}"
            for name in names
            if old.get(name) != new.get(name)
        }
    old, new = before.models, after.models
    # The hash of the settings says no more than they do.
    names = [name for name in {**old, **new} if name != "settings_hash" and old.get(name) != new.get(name)]
    return found | {f"models.{name}": f"{old.get(name)} -> {new.get(name)}" for name in names}


def _rows_without_equal(rankings: pa.Table, other: pa.Table) -> list[dict[str, Any]]:
    """The rows that are not in the other ranking, or not with the same values."""
    position = pc.index_in(segment_keys(rankings), value_set=segment_keys(other))
    same = pc.is_valid(position)
    for name in ("rank", "score", "videomae_score", "virality_score"):
        mine, others = rankings[name], other[name].take(position)
        both_null = pc.and_(pc.is_null(mine), pc.is_null(others))
        same = pc.and_(same, pc.or_(both_null, pc.fill_null(pc.equal(mine, others), fill_value=False)))
    rows: list[dict[str, Any]] = rankings.filter(pc.invert(same)).to_pylist()
    return rows


def _key(row: dict[str, Any]) -> tuple[str, float, float]:
    return row["video_uri"], row["start"], row["end"]


def _change(
    old: dict[str, Any] | None,
    new: dict[str, Any] | None,
    *,
    videos: list[dict[str, str]],
    runs: tuple[ComparedRun, ComparedRun],
    causes: Mapping[str, str],
) -> Change:
    row: dict[str, Any] = new or old or {}
    what: Literal["entered", "left", "moved"] = "moved" if new and old else "entered" if new else "left"
    uri = row["video_uri"]
    if what != "moved" and (missing := _video_is_missing(uri, what, videos, runs)):
        why, detail = missing
    elif videos[0].get(uri) != videos[1].get(uri):
        why, detail = "replaced", "Its file was written again."
    elif what == "moved" and old and new and _scores(old) == _scores(new):
        why, detail = "others", "Others moved."
    elif causes:
        why = "models" if any(name.startswith("models.") for name in causes) else "settings"
        detail = f"Other {why}."
    else:
        why, detail = "answers", "Other answers of VideoLLaMA3."
    if old and new and (scores := _score_changes(old, new)):
        detail = f"{scores}. {detail}"
    before, now = old or {}, new or {}
    return Change(
        what,
        uri,
        row["start"],
        row["end"],
        before.get("rank"),
        now.get("rank"),
        before.get("score"),
        now.get("score"),
        why,
        detail,
    )


def _video_is_missing(
    uri: str, what: str, videos: list[dict[str, str]], runs: tuple[ComparedRun, ComparedRun]
) -> tuple[str, str] | None:
    """Why the run without this segment has no segment of its video at all; None if it has some."""
    without = 0 if what == "entered" else 1
    if uri in videos[without]:
        return None
    if reason := runs[without].failures.get(uri):
        return "failed", f"{'Had failed' if without == 0 else 'Failed'}: {reason}."
    if without == 0:
        return "new_video", "A new video."
    return "gone", "No longer listed."


def _scores(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["score"], row["videomae_score"], row["virality_score"]


def _score_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = {"virality_score": "deep", "videomae_score": "fast"}
    return ", ".join(
        f"{label} {old[name]} -> {new[name]}" for name, label in names.items() if old[name] != new[name]
    )
