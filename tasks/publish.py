"""Publish the results: tables and report, then the manifest that completes the run, then the pointer."""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.models.checkpoints import embedding_size
from tasks.core.records import FailureKind, Manifest
from tasks.core.tables.library import LibraryEntry, library_table, ranked_entry
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.rows import failures_table, rankings_table, windows_table
from tasks.core.tables.schemas import SCHEMA_VERSION, table_name
from tasks.run.ledger import Ledger
from tasks.run.outcome import FAILED
from tasks.run.report import report_name, report_page
from tasks.run.retries import retried
from tasks.run.run import Run
from tasks.work.spec import CODE_VERSION, RunSpec

LIBRARIES = ("prefect", "torch", "transformers", "av", "decord", "pyarrow", "s3fs")


@retried("publish", run_name="publish {run.spec.run_id}", pauses_s=(2, 10, 30))
def publish(ledger: Ledger, run: Run, state: str) -> Manifest:
    """Write the tables, the report, the manifest and `latest.json` under the output, in this order.

    A failed run is published too, but `latest.json` keeps the name of the run before it.

    Raises:
        StorageError: the output cannot be written.
    """
    spec, store, stamp = run.spec, run.spec.output, run.spec.stamp
    tables = {
        "windows": windows_table(ledger.ranked, stamp, dimensions=embedding_size(spec.fast)),
        "failures": failures_table(ledger.failures, stamp),
        "library": library_of(ledger, spec),
        # Last, because most readers look at nothing else.
        "rankings": rankings_table(
            ledger.ranked_now, stamp, carried=ledger.known.carried, previous=ledger.known.previous
        ),
    }
    files = []
    for kind, table in tables.items():
        name = table_name(kind, run_date=spec.run_date, run_id=spec.run_id)
        local = write_parquet(table, run.scratch / f"{kind}.parquet", spec)
        files.append(_file_entry(store.publish(local, name), local, table.num_rows))
    manifest = run_manifest(ledger, spec, state=state, files=files)
    if spec.settings.publish.report:
        page = run.scratch / "index.html"
        page.write_text(report_page(ledger, manifest, tables, scratch=run.scratch), encoding="utf-8")
        manifest["report"] = store.publish(page, report_name(spec.run_id))
    name = f"runs/{spec.run_id}.json"
    local = run.scratch / "manifest.json"
    local.write_bytes(_json(manifest))
    store.publish(local, name)
    if state != FAILED:  # readers of the newest ranking keep the last good one
        store.update("latest.json", partial(newer_pointer, run_id=spec.run_id))
    return manifest


def newer_pointer(current: bytes | None, *, run_id: str) -> bytes | None:
    """The content of `latest.json` after a run; None if it already names a run that began later.

    Runs that overlap may end in any order, and readers must not go back in time. (The ids of runs
    begin with their time.)
    """
    with suppress(ValueError, KeyError, TypeError):  # anything but a pointer is replaced
        if current and str(json.loads(current)["run_id"]) > run_id:
            return None
    return _json({"run_id": run_id, "manifest": f"runs/{run_id}.json"})


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


def library_of(ledger: Ledger, spec: RunSpec) -> pa.Table:
    """The table `library`, which the next run reads."""
    digests, run_date = spec.digests, spec.run_date
    scored = [ranked_entry(video, digests, run_id=spec.run_id, run_date=run_date) for video in ledger.ranked]
    as_before = {entry.video.uri for entry in ledger.known.remembered}
    rejected = [
        LibraryEntry(failure.video, digests, run_date)
        for failure in ledger.refused
        if failure.kind == FailureKind.REJECTED and failure.video.uri not in as_before
    ]
    return library_table([*scored, *ledger.known.unchanged, *rejected, *ledger.known.remembered])


def run_manifest(ledger: Ledger, spec: RunSpec, *, state: str, files: list[dict[str, Any]]) -> Manifest:
    """The content of `runs/<run_id>.json`."""
    ended_at = datetime.now(UTC)
    counts = ledger.counts
    seconds = {
        "fetch": sum(video.timeline.fetch_seconds for video in ledger.ranked),
        "decode": sum(video.timeline.decode_seconds for video in ledger.ranked),
        "fast": sum(video.scored.seconds for video in ledger.ranked),
        "deep": sum(video.deep_seconds for video in ledger.ranked),
    }
    return {
        "run_id": spec.run_id,
        "run_date": str(spec.run_date),
        "state": state,
        "message": ledger.summary,
        "source": spec.source.uri,
        "started_at": spec.started_at.isoformat(timespec="seconds"),
        "ended_at": ended_at.isoformat(timespec="seconds"),
        "seconds": {"whole": (ended_at - spec.started_at).total_seconds(), **seconds},
        "counts": counts,
        "windows_per_second": _rate(counts["windows"], seconds["fast"]),
        "segments_per_second": _rate(counts["candidates"] - counts["cached"], seconds["deep"]),
        "hours_of_video": sum(video.timeline.duration_s for video in ledger.ranked) / 3600,
        "files": files,
        "report": None,
        "models": dict(spec.stamp.models),
        "settings": spec.settings.model_dump(mode="json"),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of everything whose change could change a row."""
    return {
        "hookline": CODE_VERSION,
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # decord has no wheel for every machine
        return "not installed"


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds > 0 else None


def _file_entry(uri: str, local: Path, rows: int) -> dict[str, Any]:
    content = local.read_bytes()
    return {
        "uri": uri,
        "rows": rows,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
