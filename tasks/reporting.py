"""The report of a run: one page that people look at, from the tables that are published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tasks.adapters.report.page import render
from tasks.core.records import Manifest
from tasks.core.views.curve import curve_of
from tasks.core.views.report import build_report
from tasks.render import sheet_path
from tasks.run.ledger import Ledger
from tasks.run.run import Run


def report_name(run: Run) -> str:
    """Where the report of a run lies under the output."""
    return f"reports/{run.run_id}/index.html"


def report_page(ledger: Ledger, run: Run, manifest: Manifest, tables: Mapping[str, pa.Table]) -> str:
    """The page. `manifest` is what is known of the run, `tables` are those that are published."""
    sheets = {
        (video.timeline.video.label, segment.rank): sheet_path(video.timeline.video, segment.window, run)
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
