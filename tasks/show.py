"""Show the results on the page of the run in the Prefect UI, and their numbers to Prometheus."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import deployment, flow_run

from tasks.adapters.counters import push
from tasks.adapters.storage.parquet_files import ParquetRows
from tasks.core.amounts import number_of
from tasks.core.errors import NotTold
from tasks.core.manifest import Manifest
from tasks.core.records import Analysis, RankedVideo
from tasks.core.views.run_page import counted, failure_rows, ranking_rows, summary
from tasks.core.views.timeline_picture import timeline_picture
from tasks.run.labels import CONTENT, DETAIL, KIND, MAX_DETAIL, REASON, RUN_ID, WHOLE, labels, note
from tasks.run.ledger import Ledger
from tasks.run.logs import log_event
from tasks.run.outcome import FAILED
from tasks.run.retries import retried
from tasks.run.run import Run

MAX_ROWS = 100
"""Rows of a table: more than people read, and few enough for a page that opens at once."""

MAX_PICTURED = 5

SHOWN = [
    *("run_rank", "video_uri", "start", "end", "cut_start", "cut_end", "score", "is_viral", "videomae_score"),
    *("fast_reason", "videollama3", "deep_status", "deep_reason", "thumbnail_uri", "clip_uri"),
    *("best_of_moment", "duplicate_of"),
]


def show_results(manifest: Manifest, ledger: Ledger, run: Run) -> Manifest:
    """Put the results of a published run on its page. A result that cannot be shown does not fail the run.

    A run that is one of many in its process has no page: its server has no UI.

    Raises:
        NotTold: this is a job of a deployment, and no service would find its result.
    """
    if not run.host:
        for show in (
            show_ranking,
            show_failures,
            show_summary,
            show_picture,
            push_counters,
        ):
            _try_to(show, manifest, ledger, run)
        if CONTENT in labels() and (job := flow_run.id):
            tell_services(job, manifest, ledger)
    return manifest


Show = Callable[[Manifest, Ledger, Run], None]


def show_ranking(manifest: Manifest, ledger: Ledger, run: Run) -> None:
    """The best segments of the run as a table, one for each moment, of whatever video."""
    path = run.scratch / "rankings.parquet"  # as it was published, with links
    best = (
        row for row in rows_of(path, SHOWN) if row["best_of_moment"] is not False and not row["duplicate_of"]
    )
    rows = ranking_rows(islice(best, MAX_ROWS), manifest.source)
    if rows:
        folded = sum(map(_count_folded, ParquetRows(path)(["best_of_moment", "duplicate_of"])))
        title = _title("The ranking", len(rows), _count(path) - folded)
        more = f". Segments that show the same, left out: {folded:,}" if folded else ""
        create_table_artifact(table=rows, key="ranking", description=f"{title}{more}")


def _count_folded(table: pa.Table) -> int:
    """Segments of which a better one of their video, or another video, shows the same."""
    folded = pc.or_kleene(pc.invert(table["best_of_moment"]), pc.is_valid(table["duplicate_of"]))
    return pc.sum(folded).as_py() or 0


def show_failures(manifest: Manifest, ledger: Ledger, run: Run) -> None:
    """What went wrong, as a table; nothing if nothing did."""
    path = run.scratch / "failures.parquet"
    rows = failure_rows(islice(rows_of(path), MAX_ROWS), manifest.source)
    if rows:
        create_table_artifact(
            table=rows,
            key="failures",
            description=_title("Not ranked, or only in part", len(rows), _count(path)),
        )


def show_summary(manifest: Manifest, ledger: Ledger, run: Run) -> None:
    """The run in numbers."""
    failures = pq.read_table(run.scratch / "failures.parquet", columns=["stage", "kind", "reason"])
    deep = ""
    if isinstance(run.spec.deep, Analysis):
        deep = run.spec.deep.detail or f"skipped, {run.spec.deep.reason}"
    text = summary(manifest, counted(failures.to_pylist()), deep=deep)
    create_markdown_artifact(markdown=text, key="summary", description="The run in numbers")


def show_picture(manifest: Manifest, ledger: Ledger, run: Run) -> None:
    """The curves of the videos with the best moments, of those that were ranked in this run."""
    videos = sorted((video for video in ledger.ranked_now if video.segments), key=_best_first)[:MAX_PICTURED]
    if videos:
        picture = base64.b64encode(timeline_picture(videos).encode()).decode()
        create_markdown_artifact(
            markdown=f"![Scores over time](data:image/svg+xml;base64,{picture})\n\n"
            "Line: fast score of every window (0-100). Orange: ranked segments. Red, with its "
            "score: the best of its video.\n",
            key="timelines",
            description=f"The best of this run over time: {number_of(len(videos), 'video')}",
        )


def push_counters(manifest: Manifest, ledger: Ledger, run: Run) -> None:
    """Send what the run has done to a Prometheus push gateway, if there is one."""
    push(manifest, deployment=lambda: deployment.name or "none")  # Prefect asks its server


def tell_services(job: str, manifest: Manifest, ledger: Ledger) -> None:
    """Say what came of a job in the labels of its flow run: nowhere else does a service look for its result.

    Raises:
        NotTold: the server does not take them.
    """
    whole = "no" if manifest.counts["unanswered"] + manifest.counts["untranscribed"] else "yes"
    about = {RUN_ID: manifest.run_id, WHOLE: whole}
    if manifest.state == FAILED and ledger.failures:
        why = ledger.failures[0]
        about |= {REASON: why.reason, KIND: why.kind, DETAIL: why.detail[:MAX_DETAIL]}
    try:
        note_on_the_run(UUID(job), about)
    except Exception as error:
        raise NotTold(
            f"The job is done, as run {manifest.run_id}, but the Prefect server could not be told "
            f"({type(error).__name__}): ask for it again."
        ) from error


note_on_the_run = retried("tell services", pauses_s=(2, 10, 30))(note)


def rows_of(path: Path, columns: list[str] | None = None) -> Iterator[Mapping[str, Any]]:
    """The rows of a table, read as far as they are asked for."""
    parquet = pq.ParquetFile(path, pre_buffer=False)  # or all of it is read at once
    for batch in parquet.iter_batches(batch_size=MAX_ROWS, columns=columns):
        yield from batch.to_pylist()


def _try_to(show: Show, manifest: Manifest, ledger: Ledger, run: Run) -> None:
    try:
        show(manifest, ledger, run)
    except Exception as error:  # the results are published: nothing may fail the run any more
        message = f"{show.__name__} did not work: {type(error).__name__}: {error}"
        log_event(run.spec.run_id, "publish", message, level=logging.WARNING)


def _best_first(video: RankedVideo) -> tuple[int, str]:
    return -max(segment.score for segment in video.segments), video.timeline.video.uri


def _count(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _title(what: str, shown: int, total: int) -> str:
    return f"{what}: {f'the first {shown} of ' if shown < total else ''}{number_of(total, 'row')}"
