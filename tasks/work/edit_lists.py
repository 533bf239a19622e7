"""Timelines for editing programs, on their way to the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tasks.adapters.report.edl import as_edl
from tasks.adapters.report.fcpxml import as_fcpxml
from tasks.adapters.report.otio import as_otio
from tasks.adapters.storage import Store
from tasks.core.records import Segment, Timeline
from tasks.core.views.edit_list import EditList, edit_list
from tasks.core.views.pictures import edit_list_name

FORMATS: Mapping[str, Callable[[EditList], str]] = {"otio": as_otio, "edl": as_edl, "fcpxml": as_fcpxml}


def keep_edit_list(
    segments: Sequence[Segment], timeline: Timeline, store: Store, *, kind: str, run_id: str
) -> list[Segment]:
    """Write the moments of a video as a timeline of this `kind`, and name it in all its segments.

    Raises:
        StorageError: it cannot be written.
        SettingsError: what writes it is not installed.
    """
    name = edit_list_name(timeline.video, kind, run_id=run_id)
    store.write_bytes(name, FORMATS[kind](edit_list(segments, timeline)).encode())
    return [replace(segment, timeline_uri=name) for segment in segments]
