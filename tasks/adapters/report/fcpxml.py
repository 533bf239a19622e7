"""Edit lists as FCPXML 1.8, for Final Cut Pro and Resolve.

https://developer.apple.com/documentation/professional-video-applications/fcpxml-reference
"""

from __future__ import annotations

from fractions import Fraction
from urllib.parse import quote
from xml.etree import ElementTree as ET

from tasks.core.views.edit_list import EditList


def as_fcpxml(edit: EditList) -> str:
    """The text of an FCPXML: the source as an asset, and a project with one clip and one marker a moment."""
    root = ET.Element("fcpxml", version="1.8")
    resources = ET.SubElement(root, "resources")
    size = {"width": str(edit.width), "height": str(edit.height)}
    ET.SubElement(resources, "format", {"id": "r1", "frameDuration": _seconds(1, edit), **size})
    of_source = {"start": _seconds(edit.start, edit), "duration": _seconds(edit.frames, edit)}
    kinds = {"hasVideo": "1"} | ({"hasAudio": "1"} if edit.has_sound else {})
    source = {"id": "r2", "name": edit.name, "src": _reference(edit.uri), "format": "r1"}
    ET.SubElement(resources, "asset", source | of_source | kinds)
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name="Hookline")
    project = ET.SubElement(event, "project", name=edit.name)
    counted = {"tcFormat": "DF" if edit.is_drop else "NDF"}
    length = _seconds(sum(take.frames for take in edit.takes), edit)
    sequence = ET.SubElement(
        project, "sequence", {"format": "r1", "duration": length, "tcStart": "0s", **counted}
    )
    spine, position = ET.SubElement(sequence, "spine"), 0
    for take in edit.takes:
        times = {"offset": position, "start": edit.start + take.first, "duration": take.frames}
        shown = {name: _seconds(frames, edit) for name, frames in times.items()}
        clip = ET.SubElement(spine, "asset-clip", {"ref": "r2", "name": take.name, **shown, **counted})
        ET.SubElement(clip, "note").text = take.why
        at = {"start": _seconds(edit.start + take.marked, edit), "duration": _seconds(1, edit)}
        ET.SubElement(clip, "marker", {**at, "value": take.name, "note": take.why})
        position += take.frames
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{ET.tostring(root, "unicode")}\n'


def _seconds(frames: int, edit: EditList) -> str:
    """So many pictures as the format writes times: exact, as a fraction of seconds."""
    exact = Fraction(frames) / edit.rate
    return f"{exact.numerator}/{exact.denominator}s" if exact.denominator > 1 else f"{exact.numerator}s"


def _reference(uri: str) -> str:
    """Where programs look for the source. What is not on a disk they look for beside the timeline."""
    scheme, _, path = uri.partition("://")
    return f"file://{quote(path)}" if scheme == "file" else quote(path.rpartition("/")[2])
