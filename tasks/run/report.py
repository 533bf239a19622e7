"""The report of a run: contact sheets kept on scratch until the end, then one page made of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.adapters.report.page import render
from tasks.core.manifest import Manifest
from tasks.core.records import VideoRef, Window
from tasks.core.views.curve import curve_of
from tasks.core.views.pictures import sheet_name
from tasks.core.views.report import build_report
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


def report_page(ledger: Ledger, manifest: Manifest, tables: Mapping[str, pa.Table], *, scratch: Path) -> str:
    """The page. `manifest` is what is known of the run so far, `tables` are those that are published."""
    sheets = {
        (video.timeline.video.label, segment.rank): sheet_path(video.timeline.video, segment.window, scratch)
        for video in ledger.ranked
        for segment in video.segments
    }

    def sheet_of(row: Mapping[str, Any]) -> bytes | None:
        path = sheets.get((row["video_uri"], row["rank"]))
        return path.read_bytes() if path and path.is_file() else None

    report = build_report(
        manifest,
        tables["rankings"],
        tables["failures"],
        curves={video.timeline.video.label: curve_of(video.scored) for video in ledger.ranked},
        scored_in={entry.video.label: entry.scored_in for entry in ledger.known.unchanged if entry.scored_in},
        sheet_of=sheet_of,
    )
    return render(report)
