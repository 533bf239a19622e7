"""Evaluate what the nights have left: how good the fast score's choice was, and how good the ranking is."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.storage import Store
from tasks.adapters.storage.nights import Nights, find_nights, scored_by
from tasks.adapters.storage.published import read_labels
from tasks.core.learning.evaluation import Measured, Verdicts, evaluated
from tasks.core.learning.metrics import Estimate
from tasks.core.learning.videos import ScoredVideoRows
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.schemas import EVALUATIONS, SCHEMA_VERSION, table_name


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, of which head, and what is not in it."""

    head: str
    measured: Sequence[Measured]
    notes: Sequence[str]
    evaluated_at: datetime


def evaluate(store: Store, *, since: str = "") -> Evaluation:
    """Measure all nights under an output, from their tables alone.

    Raises:
        StorageError: there is no complete run, or the output cannot be read.
    """
    nights = find_nights(store, since=since)
    newest = nights.runs[-1] if nights.runs else nights.earlier[-1]
    alike = {run.run_id for run in nights.runs if scored_by(run) == scored_by(newest)}
    has_head = any(run.models.get("head_revision") for run in nights.runs)
    with tempfile.TemporaryDirectory(prefix="hookline-") as scratch:
        # Without a head the fast score is salience itself, and embeddings need not be read for it.
        videos = list(_small(nights, Path(scratch), with_salience=has_head))
    labels = read_labels(store)
    verdicts, joined = verdicts_of(videos, labels)
    measured = [*evaluated(videos, verdicts, alike=alike), *_health(labels, joined)]
    head = newest.models.get("head_revision") or "salience"
    return Evaluation(head, measured, list(_notes(nights, videos, alike)), datetime.now(UTC))


def rows_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The rows of an evaluation, as they are kept."""
    return [
        {
            "head": evaluation.head,
            **{name: getattr(each, name) for name in ("metric", "score", "scope", "weighted")},
            **{name: getattr(each.estimate, name) for name in ("value", "low", "high")},
            "n_videos": each.estimate.videos,
            "n_rows": each.rows,
            "n_undefined": each.estimate.undefined,
            "note": each.note or None,
        }
        for each in evaluation.measured
    ]


def keep(store: Store, evaluation: Evaluation) -> str:
    """Write an evaluation beside the earlier ones; returns where."""
    rows = rows_of(evaluation)
    table = pa.Table.from_pylist(rows, schema=EVALUATIONS)
    table = table.replace_schema_metadata({"hookline.schema_version": SCHEMA_VERSION})
    began = evaluation.evaluated_at
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:6]
    with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
        local = Path(folder, "evaluation.parquet")
        pq.write_table(table, local, **write_options(table))
        name = f"{began:%Y%m%dT%H%M%SZ}-{digest}"
        return store.publish(local, table_name("evaluations", run_date=began.date(), run_id=name))


def verdicts_of(
    videos: Sequence[ScoredVideoRows], labels: pa.Table
) -> tuple[dict[tuple[str, str], Verdicts], int]:
    """The labels of each video, where they are of one of its windows; and how many joined."""
    by_video: dict[tuple[str, str], list[tuple[float, float, bool, float | None]]] = {}
    for row in labels.to_pylist():
        label = (row["start"], row["end"], row["verdict"] == "published", row["views"])
        by_video.setdefault((row["video_uri"], row["video_etag"]), []).append(label)
    found, joined = {}, 0
    for video in videos:
        key = (video.uri, video.etag)
        spans = dict(zip(zip(video.start, video.end, strict=True), range(len(video.start)), strict=True))
        of_video = [label for label in by_video.get(key, ()) if label[:2] in spans]
        joined += len(of_video)
        if of_video:
            found[key] = Verdicts(
                np.array([spans[label[:2]] for label in of_video]),
                np.array([published for _, _, published, _ in of_video]),
                np.array([np.nan if views is None else views for *_, views in of_video]),
            )
    return found, joined


def _small(nights: Nights, scratch: Path, *, with_salience: bool) -> Iterator[ScoredVideoRows]:
    for video in nights.videos(scratch, features=with_salience):
        yield replace(video, features=None)


def _health(labels: pa.Table, joined: int) -> Iterator[Measured]:
    """How many labels there are, and of how many a window is known."""
    verdicts = Counter(labels["verdict"].to_pylist())
    counts = {"labels": len(labels), "labels_joined": joined}
    counts |= {f"labels_{verdict}": count for verdict, count in sorted(verdicts.items())}
    for name, count in counts.items():
        yield Measured(name, "", "all", Estimate(float(count)), count)


def _notes(nights: Nights, videos: Sequence[ScoredVideoRows], alike: Collection[str]) -> Iterator[str]:
    others = sum(video.run_id not in alike for video in videos)
    if others:
        yield (
            f"{others} videos are of runs with another head, another judge, other windows or another number "
            "of candidates: they are not counted together."
        )
    if nights.earlier:
        yield f"{len(nights.earlier)} runs of earlier versions did not keep what the deep model said."
    if nights.gone:
        yield f"{len(nights.gone)} runs have no windows any more."
