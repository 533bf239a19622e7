"""Publish the results: tables and report, then the manifest that completes the run, then the pointer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from tasks.adapters.models.checkpoints import embedding_size
from tasks.adapters.storage.parquet_files import ParquetRows, write_tables
from tasks.adapters.storage.published import read_labels
from tasks.core.manifest import Manifest
from tasks.core.records import FailureKind
from tasks.core.tables.duplicates import Duplicates, parted, with_dropped
from tasks.core.tables.library import LibraryEntry, library_table, ranked_entry
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.rows import failures_table, made_rankings, windows_table
from tasks.core.tables.run_ranking import publish_chance, run_ranking, survey
from tasks.core.tables.schemas import (
    LABELS,
    LIBRARY,
    RANKINGS,
    SCHEMA_VERSION,
    fingerprints_schema,
    table_name,
)
from tasks.core.tables.sorted_rows import BY_VIDEO, Tables, merged, regrouped
from tasks.core.tables.words import words_table
from tasks.core.views.report import ShownRows
from tasks.run.ledger import Ledger
from tasks.run.manifest import file_entry, json_bytes, newer_pointer, run_manifest, versions
from tasks.run.outcome import FAILED
from tasks.run.report import report_name, report_page
from tasks.run.retries import go_on_without, retried
from tasks.run.run import Run
from tasks.work.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Rows:
    """A table to be written, some rows at a time; `count` is about how many there are."""

    schema: pa.Schema
    tables: Iterable[pa.Table]
    count: int


@retried("publish", run_name="publish {run.spec.run_id}", pauses_s=(2, 10, 30))
def publish(ledger: Ledger, run: Run, state: str, copies: Duplicates | None = None) -> Manifest:
    """Write the tables, the report, the manifest and `latest.json` under the output, in this order.

    A failed run is published too, but `latest.json` keeps the name of the run before it. `copies` says what
    other videos show too, if somebody has looked.

    Raises:
        StorageError: the output cannot be written.
        RunEnded: the run was stopped. Videos whose decoders were ended with it must not count as failed.
    """
    run.raise_if_stopped()
    spec, store, stamp = run.spec, run.spec.output, run.spec.stamp
    made = made_rankings(ledger.ranked_now, stamp)
    dropped = made.slice(0, 0)
    if copies:
        made = copies.marked(made)
        if spec.settings.ranking.duplicates == "drop":
            made, dropped = parted(made)
    failures = failures_table(ledger.failures, stamp)
    shown = ShownRows(first=scored_now(made, ledger))
    tables = {
        "windows": windows_of(ledger, dropped, spec),
        "failures": whole(failures),
        "library": library_of(ledger, spec),
        **({"words": words_of(ledger, spec)} if spec.whisper else {}),
        **({"fingerprints": fingerprints_of(copies, spec)} if copies else {}),
        # Last, because most readers look at nothing else.
        "rankings": rankings_of(made, ledger, spec, shown),
    }
    files = []
    for kind, rows in tables.items():
        name = table_name(kind, run_date=spec.run_date, run_id=spec.run_id)
        local = run.scratch / f"{kind}.parquet"
        count = write_tables(local, rows.tables, rows.schema.with_metadata(about(spec)), rows=rows.count)
        files.append(file_entry(store.publish(local, name), local, count))
    manifest = run_manifest(ledger, spec, state=state, files=files)
    if spec.settings.publish.report:
        page = run.scratch / "index.html"
        library = ParquetRows(run.scratch / "library.parquet")
        html = report_page(
            ledger,
            manifest,
            shown,
            failures=failures,
            library=library,
            output=run.spec.output.uri,
            scratch=run.scratch,
        )
        page.write_text(html, encoding="utf-8")
        manifest.report = store.publish(page, report_name(spec.run_id))
    name = f"runs/{spec.run_id}.json"
    local = run.scratch / "manifest.json"
    local.write_bytes(json_bytes(manifest.model_dump(mode="json")))
    store.publish(local, name)
    if state != FAILED:  # readers of the newest ranking keep the last good one
        store.update("latest.json", partial(newer_pointer, run_id=spec.run_id))
    return manifest


def about(spec: RunSpec) -> dict[bytes, bytes]:
    """What a file says of the settings and versions that made it."""
    texts = {
        "hookline.schema_version": SCHEMA_VERSION,
        "hookline.run_id": spec.run_id,
        "hookline.settings": spec.settings.model_dump_json(),
        "hookline.versions": json.dumps(versions()),
    }
    return {key.encode(): value.encode() for key, value in texts.items()}


def whole(table: pa.Table) -> Rows:
    """A table that is in memory."""
    return Rows(table.schema, [table], len(table))


def rankings_of(made: pa.Table, ledger: Ledger, spec: RunSpec, shown: ShownRows) -> Rows:
    """The table `rankings`. `made` are the new rows; `shown` takes what the report shows as they pass."""
    previous = ledger.known.previous
    known = survey(made, previous)
    chance = publish_chance(made, previous, labels_of(spec))
    rows = run_ranking(made, previous, known, run_id=spec.run_id, chance=chance)
    return Rows(RANKINGS, shown.passing(rows), known.rows)


def labels_of(spec: RunSpec) -> pa.Table:
    """What editors decided under this output; nothing if it cannot be read: it is worth no ranking.

    Raises:
        StorageError: the output cannot be reached.
    """
    message = "Labels cannot be read: no row has a publish_probability."
    with go_on_without("publish", message, run_id=spec.run_id):
        return read_labels(spec.output)
    return LABELS.empty_table()


def scored_now(made: pa.Table, ledger: Ledger) -> list[str]:
    """The videos that this run scored and has new rows of, but for mere duplicates, the best first."""
    labels = {video.timeline.video.label for video in ledger.ranked}
    originals = made["video_uri"].filter(pc.is_null(made["duplicate_of"]))
    return [uri for uri in originals.unique().to_pylist() if uri in labels]


def windows_of(ledger: Ledger, dropped: pa.Table, spec: RunSpec) -> Rows:
    """The table `windows`, of the videos that this run scored: those that it opened, and by another head.

    `dropped` are rows of `rankings` that are left out of that.
    """
    made = windows_table(ledger.ranked, spec.stamp, dimensions=embedding_size(spec.fast))
    rows = by_video(ledger.known.windows, made)
    return replace(rows, tables=(with_dropped(table, dropped) for table in rows.tables))


def words_of(ledger: Ledger, spec: RunSpec) -> Rows:
    """The table `words`, of the same videos."""
    made = words_table([video.timeline for video in ledger.ranked], run_id=spec.run_id)
    return by_video(ledger.known.words, made)


def by_video(kept: Tables, made: pa.Table) -> Rows:
    """What was kept while videos were recalled, and what was made since."""
    rows = regrouped(merged(kept(None), made, BY_VIDEO), ROW_GROUP_ROWS)
    return Rows(made.schema, rows, len(made))


def fingerprints_of(copies: Duplicates, spec: RunSpec) -> Rows:
    """The table `fingerprints`, with which later runs compare."""
    table = copies.table(fingerprints_schema(embedding_size(spec.fast)), spec.run_id)
    return Rows(table.schema, regrouped([table], ROW_GROUP_ROWS), len(table))


def library_of(ledger: Ledger, spec: RunSpec) -> Rows:
    """The table `library`, which the next run reads: what stays in it, and what this run has found out."""
    digests, run_date, known = spec.digests, spec.run_date, ledger.known
    scored = [ranked_entry(video, digests, run_id=spec.run_id, run_date=run_date) for video in ledger.ranked]
    as_before = {failure.video.uri for failure in known.refused}
    rejected = [
        LibraryEntry(failure.video, digests, run_date)
        for failure in ledger.refused
        # Without an ETag there is no version to remember: a list names what is no place for a file.
        if failure.kind == FailureKind.REJECTED and failure.video.etag and failure.video.uri not in as_before
    ]
    entries = [*scored, *known.scored, *rejected]
    found = library_table(entries, listed={entry.video.label for entry in entries})
    rows = merged(known.library(None), found, BY_VIDEO)
    return Rows(LIBRARY, regrouped(rows, ROW_GROUP_ROWS), len(found))
