"""The report of a run: contact sheets kept on scratch until the end, then one page made of the tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.adapters.report.page import render
from tasks.core.manifest import Manifest
from tasks.core.records import VideoRef, Window
from tasks.core.scoring.window_cuts import ticks_of
from tasks.core.tables.sorted_rows import Tables
from tasks.core.views.cards import Sheet
from tasks.core.views.curve import curve_of
from tasks.core.views.pictures import sheet_name, sheet_ticks
from tasks.core.views.report import ShownRows, build_report
from tasks.run.ledger import Ledger


def report_name(run_id: str) -> str:
    """The name of the report of a run under the output."""
    return f"reports/{run_id}/index.html"


def keep_sheet(sheet: bytes, video: VideoRef, window: Window, scratch: Path) -> None:
    """Keep the contact sheet of a segment until the report is made."""
    path = sheet_path(video, window, scratch)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sheet)


def sheet_path(video: VideoRef, window: Window, scratch: Path) -> Path:
    """Where the contact sheet of a segment is, if it has one."""
    return scratch / "sheets" / sheet_name(video, window)


def report_page(
    ledger: Ledger,
    manifest: Manifest,
    shown: ShownRows,
    *,
    failures: pa.Table,
    library: Tables,
    output: str,
    scratch: Path,
) -> str:
    """The page. `manifest` is what is known of the run so far; the tables are those that are published."""
    sheets = {
        (video.timeline.video.label, segment.rank): (
            sheet_path(video.timeline.video, segment.window, scratch),
            len(sheet_ticks(ticks_of(segment, video.timeline))),
        )
        for video in ledger.ranked
        for segment in video.segments
    }

    def sheet_of(row: Mapping[str, Any]) -> Sheet | None:
        path, pictures = sheets.get((row["video_uri"], row["rank"]), (None, 0))
        return Sheet(path.read_bytes(), pictures) if path and path.is_file() else None

    report = build_report(
        manifest,
        shown,
        failures,
        curves={video.timeline.video.label: curve_of(video.scored) for video in ledger.ranked},
        library=rows_of(library, {row["video_uri"] for row in shown.rows}),
        sheet_of=sheet_of,
        output=output,
    )
    return render(report)


def rows_of(library: Tables, uris: Collection[str]) -> dict[str, dict[str, Any]]:
    """What the library knows of each of these videos, by URI: which run scored it, how its pictures count."""
    wanted = pa.array(list(uris), pa.string())
    return {
        row["video_uri"]: row
        for table in library(["video_uri", "scored_in", "source_fps", "source_rate", "source_timecode"])
        for row in table.filter(pc.is_in(table["video_uri"], wanted)).to_pylist()
    }
