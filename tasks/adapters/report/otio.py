"""Edit lists as OpenTimelineIO, which Resolve, Premiere, Kdenlive and Blender read, or learn to read."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from tasks.core.errors import SettingsError
from tasks.core.views.edit_list import EditList


def as_otio(edit: EditList) -> str:
    """The JSON of a timeline with the moments on a track, and their sound on another.

    Raises:
        SettingsError: OpenTimelineIO is not installed.
    """
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise SettingsError(
            f"publish.timeline otio needs OpenTimelineIO ({error}): pip install 'hookline[otio]', "
            "or set it to edl or fcpxml."
        ) from error
    rate = float(edit.rate)

    def stretch(first: int, frames: int) -> otio.opentime.TimeRange:
        times = (otio.opentime.RationalTime(count, rate) for count in (edit.start + first, frames))
        return otio.opentime.TimeRange(*times)

    def clips(*, marked: bool) -> Iterator[otio.schema.Clip]:
        for take in edit.takes:
            source = otio.schema.ExternalReference(_url(edit.uri), stretch(0, edit.frames))
            clip = otio.schema.Clip(take.name, source, stretch(take.first, take.frames))
            clip.metadata["hookline"] = {"why": take.why}
            if marked:
                at = stretch(take.marked, 1)
                clip.markers.append(otio.schema.Marker(take.name, at, comment=take.why))
            yield clip

    timeline = otio.schema.Timeline(edit.name)
    kinds = otio.schema.TrackKind
    for kind in (kinds.Video, *([kinds.Audio] if edit.has_sound else [])):
        timeline.tracks.append(otio.schema.Track(kind, list(clips(marked=kind == kinds.Video)), kind=kind))
    return str(otio.adapters.write_to_string(timeline, "otio_json"))


def _url(uri: str) -> str:
    scheme, _, path = uri.partition("://")
    return f"file://{quote(path)}" if scheme == "file" else uri
