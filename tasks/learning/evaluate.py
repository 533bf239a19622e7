"""Evaluate what the nights have left: how good the fast score's choice was, and how good the ranking is."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.models.head import kept_heads, promoted_head, told_of
from tasks.adapters.report.evaluation import render_evaluation
from tasks.adapters.storage import Store
from tasks.adapters.storage.nights import Nights, find_nights, scored_by
from tasks.adapters.storage.published import read_curves, read_labels
from tasks.core.amounts import number_of
from tasks.core.errors import ModelError
from tasks.core.learning.calibration import Bin
from tasks.core.learning.evaluation import evaluated
from tasks.core.learning.measured import Measured
from tasks.core.learning.metrics import Estimate, Floats
from tasks.core.learning.people import Verdicts, reliability_of
from tasks.core.learning.videos import ScoredVideoRows
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.schemas import EVALUATIONS, SCHEMA_VERSION, table_name
from tasks.core.views.evaluation.page import build_evaluation_page

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, of which head, and what is not in it.

    `reliability` are labels by the chance that the deep score gives them, `heads` what is known of each head.
    """

    head: str
    measured: Sequence[Measured]
    notes: Sequence[str]
    evaluated_at: datetime
    reliability: Sequence[Bin]
    heads: Sequence[Mapping[str, Any]]


def evaluate(store: Store, *, since: str = "") -> Evaluation:
    """Measure all nights under an output, from their tables alone.

    Raises:
        StorageError: there is no complete run, or the output cannot be read.
    """
    nights = find_nights(store, since=since)
    newest = nights.runs[-1] if nights.runs else nights.earlier[-1]
    alike = {run.run_id for run in nights.runs if scored_by(run) == scored_by(newest)}
    has_head = any(run.models.get("head_revision") for run in nights.runs)
    # Without a head the fast score is salience itself, and embeddings need not be read for it.
    videos = list(_small(nights, with_salience=has_head))
    labels, curves = read_labels(store), read_curves(store)
    verdicts = verdicts_of(videos, labels, curves)
    measured = [*evaluated(videos, verdicts, alike=alike), *_health(labels, curves, verdicts)]
    pooled = [video for video in videos if video.run_id in alike]
    return Evaluation(
        head=newest.models.get("head_revision") or "salience",
        measured=measured,
        notes=list(_notes(nights, videos, alike)),
        evaluated_at=datetime.now(UTC),
        reliability=reliability_of(pooled, verdicts),
        heads=list(_heads(store)),
    )


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
    """Write an evaluation and its page beside the earlier ones; returns where the page is."""
    rows = rows_of(evaluation)
    table = pa.Table.from_pylist(rows, schema=EVALUATIONS)
    table = table.replace_schema_metadata({"hookline.schema_version": SCHEMA_VERSION})
    began = evaluation.evaluated_at
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:6]
    name = f"{began:%Y%m%dT%H%M%SZ}-{digest}"
    with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
        local = Path(folder, "evaluation.parquet")
        pq.write_table(table, local, **write_options(table))
        store.publish(local, table_name("evaluations", run_date=began.date(), run_id=name))
    page = f"reports/{name}/index.html"
    store.write_bytes(page, page_of(evaluation).encode())
    return f"{store.uri}/{page}"


def page_of(evaluation: Evaluation) -> str:
    """The page of an evaluation."""
    return render_evaluation(
        build_evaluation_page(
            evaluation.head,
            evaluation.measured,
            reliability=evaluation.reliability,
            heads=evaluation.heads,
            notes=evaluation.notes,
            evaluated_at=evaluation.evaluated_at,
        )
    )


def verdicts_of(videos: Sequence[ScoredVideoRows], labels: pa.Table, curves: pa.Table) -> dict[str, Verdicts]:
    """What people said of each video, by its ETag, which it keeps under another name.

    That is labels and curves where they are of one of its windows, and moments. Of what was said under
    several names the newest counts.
    """
    given: defaultdict[str, dict[Span, dict[str, Any]]] = defaultdict(dict)
    for row in labels.sort_by("imported_at").to_pylist():
        given[row["video_etag"]][row["start"], row["end"]] = row
    drawn: defaultdict[str, dict[str, dict[Span, float]]] = defaultdict(lambda: defaultdict(dict))
    names, curves = ("video_etag", "kind", "start", "end", "value"), curves.sort_by("imported_at")
    for etag, kind, start, end, value in zip(*(curves[name].to_pylist() for name in names), strict=True):
        drawn[etag][kind][start, end] = value
    return {
        etag: _verdicts(video, given[etag].values(), drawn[etag])
        for video in videos
        if (etag := video.etag) in given or etag in drawn
    }


def _verdicts(
    video: ScoredVideoRows, labels: Collection[dict[str, Any]], curves: Mapping[str, Mapping[Span, float]]
) -> Verdicts:
    spans = list(zip(video.start.tolist(), video.end.tolist(), strict=True))
    places = {span: place for place, span in enumerate(spans)}
    joined = [row for row in labels if (row["start"], row["end"]) in places]
    of_windows: dict[str, Floats] = {
        kind: np.array([values.get(span, np.nan) for span in spans]) for kind, values in curves.items()
    }
    return Verdicts(
        places=np.array([places[row["start"], row["end"]] for row in joined], np.int64),
        published=np.array([row["verdict"] == "published" for row in joined], bool),
        views=np.array([np.nan if row["views"] is None else row["views"] for row in joined], float),
        moments=[_given(row) for row in labels if row["verdict"] == "published"],
        curves=of_windows,
    )


def _given(label: Mapping[str, Any]) -> Span:
    """Where a label begins and ends as the file said."""
    exact = label["given_start"] is None
    return (label["start"], label["end"]) if exact else (label["given_start"], label["given_end"])


def _small(nights: Nights, *, with_salience: bool) -> Iterator[ScoredVideoRows]:
    for video in nights.videos(features=with_salience):
        yield replace(video, features=None)


def _heads(store: Store) -> Iterator[dict[str, Any]]:
    """What is known of each head that was fitted, and whether it scores now."""
    promoted = None
    with suppress(ModelError):  # hookline heads says what is wrong with it
        promoted = promoted_head(store)
    for name in kept_heads(store):
        yield {**(told_of(store, name) or {}), "promoted": bool(promoted and promoted["head"] == name)}


def _health(labels: pa.Table, curves: pa.Table, verdicts: Mapping[str, Verdicts]) -> Iterator[Measured]:
    """How many labels there are, of what, and of how many a window is known; and what is known by curves."""
    counts = {
        "labels": len(labels),
        "labels_joined": sum(len(each.places) for each in verdicts.values()),
        "labels_with_views": len(labels) - labels["views"].null_count,
        "labelled_videos": sum(len(each.places) > 0 for each in verdicts.values()),
        "curve_values": len(curves),
        "curve_videos": sum(len(each.curves) > 0 for each in verdicts.values()),
    }
    for column in ("verdict", "match"):
        found = Counter(labels[column].to_pylist())
        counts |= {f"labels_{value}": count for value, count in sorted(found.items())}
    for name, count in counts.items():
        yield Measured(name, "", "all", Estimate(float(count)), count)


def _notes(nights: Nights, videos: Sequence[ScoredVideoRows], alike: Collection[str]) -> Iterator[str]:
    others = sum(video.run_id not in alike for video in videos)
    if others:
        yield (
            f"Not counted together: {number_of(others, 'video')} of runs with another head, another judge, "
            "other windows or another number of candidates."
        )
    if nights.earlier:
        earlier = number_of(len(nights.earlier), "run")
        yield f"{earlier} of earlier versions did not keep what the deep model said."
    if nights.gone:
        yield f"Without windows by now: {number_of(len(nights.gone), 'run')}."
