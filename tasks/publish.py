"""Publish the results: tables and report, then the manifest that completes the run, then the pointer."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.models.checkpoints import embedding_size
from tasks.core.manifest import Manifest
from tasks.core.records import FailureKind
from tasks.core.tables.library import LibraryEntry, library_table, ranked_entry
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.rows import failures_table, rankings_table, windows_table
from tasks.core.tables.schemas import SCHEMA_VERSION, table_name
from tasks.core.tables.words import words_table
from tasks.run.ledger import Ledger
from tasks.run.manifest import file_entry, json_bytes, newer_pointer, run_manifest, versions
from tasks.run.outcome import FAILED
from tasks.run.report import report_name, report_page
from tasks.run.retries import retried
from tasks.run.run import Run
from tasks.work.spec import RunSpec


@retried("publish", run_name="publish {run.spec.run_id}", pauses_s=(2, 10, 30))
def publish(ledger: Ledger, run: Run, state: str) -> Manifest:
    """Write the tables, the report, the manifest and `latest.json` under the output, in this order.

    A failed run is published too, but `latest.json` keeps the name of the run before it.

    Raises:
        StorageError: the output cannot be written.
        RunEnded: the run was stopped. Videos whose decoders were ended with it must not count as failed.
    """
    run.raise_if_stopped()
    spec, store, stamp = run.spec, run.spec.output, run.spec.stamp
    tables = {
        "windows": windows_table(ledger.ranked, stamp, dimensions=embedding_size(spec.fast)),
        "failures": failures_table(ledger.failures, stamp),
        "library": library_of(ledger, spec),
        **({"words": words_of(ledger, spec)} if spec.whisper else {}),
        # Last, because most readers look at nothing else.
        "rankings": rankings_table(
            ledger.ranked_now, stamp, carried=ledger.known.carried, previous=ledger.known.previous
        ),
    }
    files = []
    for kind, table in tables.items():
        name = table_name(kind, run_date=spec.run_date, run_id=spec.run_id)
        local = write_parquet(table, run.scratch / f"{kind}.parquet", spec)
        files.append(file_entry(store.publish(local, name), local, table.num_rows))
    manifest = run_manifest(ledger, spec, state=state, files=files)
    if spec.settings.publish.report:
        page = run.scratch / "index.html"
        page.write_text(report_page(ledger, manifest, tables, scratch=run.scratch), encoding="utf-8")
        manifest.report = store.publish(page, report_name(spec.run_id))
    name = f"runs/{spec.run_id}.json"
    local = run.scratch / "manifest.json"
    local.write_bytes(json_bytes(manifest.model_dump(mode="json")))
    store.publish(local, name)
    if state != FAILED:  # readers of the newest ranking keep the last good one
        store.update("latest.json", partial(newer_pointer, run_id=spec.run_id))
    return manifest


def write_parquet(table: pa.Table, path: Path, spec: RunSpec) -> Path:
    """Write a table with the settings and versions that made it in its metadata."""
    about = {
        "hookline.schema_version": SCHEMA_VERSION,
        "hookline.run_id": spec.run_id,
        "hookline.settings": spec.settings.model_dump_json(),
        "hookline.versions": json.dumps(versions()),
    }
    metadata = {key.encode(): value.encode() for key, value in about.items()}
    pq.write_table(table.replace_schema_metadata(metadata), path, **write_options(table))
    return path


def words_of(ledger: Ledger, spec: RunSpec) -> pa.Table:
    """The table `words`, of the videos that this run opened."""
    return words_table([video.timeline for video in ledger.ranked], run_id=spec.run_id)


def library_of(ledger: Ledger, spec: RunSpec) -> pa.Table:
    """The table `library`, which the next run reads."""
    digests, run_date = spec.digests, spec.run_date
    scored = [ranked_entry(video, digests, run_id=spec.run_id, run_date=run_date) for video in ledger.ranked]
    as_before = {entry.video.uri for entry in ledger.known.remembered}
    rejected = [
        LibraryEntry(failure.video, digests, run_date)
        for failure in ledger.refused
        # Without an ETag there is no version to remember: a list names what is no place for a file.
        if failure.kind == FailureKind.REJECTED and failure.video.etag and failure.video.uri not in as_before
    ]
    entries = [*scored, *ledger.known.unchanged, *rejected, *ledger.known.remembered]
    return library_table(entries, listed={video.label for video in ledger.listed})
