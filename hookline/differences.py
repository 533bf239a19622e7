"""Two runs side by side as people read them in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape

from hookline.show import short_name, titled
from tasks.adapters.storage import Store
from tasks.adapters.storage.published import read_table
from tasks.core.manifest import Manifest
from tasks.core.tables.differences import COMPARED, Change, ComparedRun, changed
from tasks.core.views.clock import clock
from tasks.core.views.escaping import printable

MAX_CHANGES = 100
"""Changes that are printed."""

MIN_WHY_WIDTH = 16
"""Columns that the reasons have at least; where there are few, names of videos are cut short for them."""

ARROW = "→"


def read_run(store: Store, manifest: Manifest) -> ComparedRun:
    """What is compared of a run, of whatever version.

    Raises:
        StorageError: its tables cannot be read.
    """
    rankings = read_table(store, "rankings", manifest, COMPARED)
    deep = pc.struct_field(rankings["videollama3"], "virality_score")
    rankings = rankings.drop_columns("videollama3").append_column("virality_score", deep)
    failures = read_table(store, "failures", manifest, ["video_uri", "reason"])
    reasons = dict(zip(failures["video_uri"].to_pylist(), failures["reason"].to_pylist(), strict=True))
    return ComparedRun(manifest, rankings, reasons)


def print_changes(
    console: Console, changes: Sequence[Change], before: ComparedRun, after: ComparedRun
) -> None:
    """Print which settings differ, what entered, left and moved, and how much stayed."""
    for name, values in changed(before.manifest, after.manifest).items():
        console.print(f"{name}: {escape(printable(values, width=500))}", soft_wrap=True)
    source = after.manifest.source
    table = titled("What changed", first_column="video")
    for name in ("", "from", "to", "#", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", min_width=MIN_WHY_WIDTH)
    for previous, change in zip([None, *changes], changes[:MAX_CHANGES], strict=False):
        same_video = previous is not None and previous.video_uri == change.video_uri
        table.add_row(
            "" if same_video else short_name(change.video_uri, source),
            change.what,
            "" if change.start is None else clock(change.start),
            "" if change.end is None else clock(change.end),
            _from_to(change.rank_before, change.rank),
            _from_to(change.score_before, change.score),
            escape(printable(change.detail.replace(" -> ", ARROW), width=500)),
        )
    if changes:
        console.print(table)
    if (left_out := len(changes) - MAX_CHANGES) > 0:
        console.print(f"... and {left_out:,} more: --csv lists them all\n")
    counts = Counter(change.what for change in changes)
    stayed = len(after.rankings) - counts["entered"] - counts["moved"]
    named = "".join(f"{counts[what]} {what}, " for what in ("renamed", "copied") if counts[what])
    console.print(
        f"{named}{counts['entered']} entered, {counts['left']} left, {counts['moved']} moved, "
        f"{stayed} as before: run {before.manifest.run_id} -> {after.manifest.run_id}",
        soft_wrap=True,
    )


def _from_to(before: int | None, after: int | None) -> str:
    values = [str(value) for value in (before, after) if value is not None]
    return ARROW.join(dict.fromkeys(values))
