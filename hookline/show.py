"""A run as people read it in a terminal: the ranking, what failed, and where the files are."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.adapters.storage import Store
from tasks.core.errors import StorageError
from tasks.core.records import Manifest
from tasks.core.tables import table_name

NAME_WIDTH = 28


def newest_manifest(store: Store) -> Manifest:
    """The manifest of the newest complete run.

    Raises:
        StorageError: there is none, or what is there was not written by Hookline.
    """
    try:
        pointer = json.loads(store.read_bytes("latest.json"))
        manifest: Manifest = json.loads(store.read_bytes(pointer["manifest"]))
    except StorageError as error:
        if error.reason != "not_found":
            raise
        raise StorageError(
            f"There is no ranking under {store.uri} yet: run `hookline rank SOURCE {store.uri}` first.",
            reason="not_found",
            retryable=False,
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{store.uri}/latest.json does not name a run ({error}): rank again to replace it.",
            reason="invalid",
            retryable=False,
        ) from error
    return manifest


def print_run(console: Console, store: Store, manifest: Manifest) -> None:
    """Print the ranking and the failures of a run."""
    counts, seconds = manifest["counts"], manifest["seconds"]
    cached = counts.get("cached")  # runs of the first versions had no cache
    source = manifest["source"]
    if ranking := _read(store, manifest, "rankings"):
        console.print(ranking_table(ranking, source))
    if failures := _read(store, manifest, "failures"):
        console.print(failures_table(failures, source))
    console.print(
        f"[bold]{manifest['state']}[/]: {manifest['message']}; "
        f"{counts['windows']} windows, {counts['candidates']} candidates "
        f"{f'({cached} analysed before) ' if cached else ''}in {seconds['whole']:.0f} s"
    )
    console.print(f"Run {manifest['run_id']} in {escape(store.uri)}", soft_wrap=True)


def ranking_table(ranking: list[dict[str, Any]], source: str) -> Table:
    """The segments of a run by video and rank; VideoLLaMA3's columns stay empty where it gave no answer."""
    table = _table("Moments by viral potential", first_column="video")
    for name in ("#", "from", "to", "score", "deep", "fast", "hook", "engage"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = sorted(ranking, key=lambda row: (row["video_uri"], row["rank"]))
    for previous, row in zip([None, *rows], rows, strict=False):
        new_video = previous is None or previous["video_uri"] != row["video_uri"]
        deep = row["videollama3"] or {}
        table.add_row(
            escape(_name(row["video_uri"], source)) if new_video else "",
            str(row["rank"]),
            clock(row["start"]),
            clock(row["end"]),
            f"[bold]{row['score']}[/]" if row["is_viral"] else str(row["score"]),
            str(deep.get("virality_score", "")),
            str(row["videomae_score"]),
            str(deep.get("hook_quality", "")),
            str(deep.get("engagement_potential", "")),
        )
    return table


def failures_table(failures: list[dict[str, Any]], source: str) -> Table:
    """What could not be used, and why."""
    table = _table("Not ranked, or only in part", first_column="video")
    table.add_column("reason", no_wrap=True)
    table.add_column("detail")
    for row in failures:
        table.add_row(
            escape(_name(row["video_uri"], source)),
            row["reason"],
            escape(printable(row["detail"], width=500)),
        )
    return table


def _table(title: str, *, first_column: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 0)
    table.add_column(first_column, no_wrap=True)
    return table


def clock(seconds: float) -> str:
    """Seconds as people write them.

    >>> clock(59), clock(3723.5)
    ('0:59', '1:02:03')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(text: str, *, width: int) -> str:
    """Model and file text as one line without control characters, cut to `width`."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= width else line[: width - 1] + "…"


def _read(store: Store, manifest: Manifest, kind: str) -> list[dict[str, Any]]:
    name = table_name(kind, run_date=manifest["run_date"], run_id=manifest["run_id"])
    # pq.read_table starts threads that now and then abort the process as it exits (pyarrow 26).
    table = pq.ParquetFile(pa.BufferReader(store.read_bytes(name))).read(use_threads=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _name(uri: str, source: str) -> str:
    """A video as the source calls it; of a long name the end tells more."""
    name = printable(uri.removeprefix(f"{source}/"), width=500)
    return name if len(name) <= NAME_WIDTH else "…" + name[1 - NAME_WIDTH :]
