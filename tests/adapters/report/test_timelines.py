"""Timelines are read back by other programs than those that wrote them, exact to one picture."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from io import StringIO
from typing import Any
from xml.etree import ElementTree as ET

import opentimelineio as otio
import pycmx
import pytest

from tasks.adapters.report.edl import as_edl
from tasks.adapters.report.fcpxml import as_fcpxml
from tasks.adapters.report.otio import as_otio
from tasks.core.errors import SettingsError
from tasks.core.views.edit_list import EditList, Take
from tasks.core.views.timecode import frames_of

TAKES = (
    Take("#1 score 91", 'A "dog" <jumps> & laughs.', 98_765, 1234, 99_000),
    Take("#2 score 70", "Zwei Hunde, 犬.", 17, 1, 17),
)
FIRST_FRAMES, LENGTHS, MARKED = [98_765, 17], [1234, 1], [99_000, 17]
EDITS = {
    "23.976": (Fraction(24000, 1001), "01:00:00:00"),
    "25": (Fraction(25), "10:00:00:00"),
    "29.97 drop-frame": (Fraction(30000, 1001), "00:59:59;28"),
    "29.97": (Fraction(30000, 1001), "00:00:00:00"),
    "50": (Fraction(50), "09:59:58:49"),
    "59.94 drop-frame": (Fraction(60000, 1001), "01:00:00;00"),
    "60": (Fraction(60), "00:00:00:00"),
}


@pytest.fixture(params=EDITS)
def edit(request: pytest.FixtureRequest) -> EditList:
    rate, start = EDITS[request.param]
    frames, is_drop = frames_of(start, rate) or (0, False)
    return EditList(
        "dog 1.mp4", "file:///in/dog 1.mp4", rate, frames, is_drop, 200_000, 1920, 1080, True, TAKES
    )


def frames_in(span: Any) -> tuple[int, int]:
    assert span.start_time.value == int(span.start_time.value)
    return int(span.start_time.value), int(span.duration.value)


def test_opentimelineio_reads_every_picture(edit: EditList) -> None:
    timeline = otio.adapters.read_from_string(as_otio(edit), "otio_json")
    pictures, sound = timeline.tracks
    assert (timeline.name, pictures.kind, sound.kind) == ("dog 1.mp4", "Video", "Audio")
    for track in (pictures, sound):
        spans = [frames_in(clip.source_range) for clip in track]
        assert spans == [
            (edit.start + first, count) for first, count in zip(FIRST_FRAMES, LENGTHS, strict=True)
        ]
        assert {clip.source_range.start_time.rate for clip in track} == {float(edit.rate)}
    (clip, _), media = pictures, pictures[0].media_reference
    assert (clip.name, media.target_url) == ("#1 score 91", "file:///in/dog%201.mp4")
    assert frames_in(media.available_range) == (edit.start, 200_000)
    assert [frames_in(each.marked_range) for clip in pictures for each in clip.markers] == [
        (edit.start + number, 1) for number in MARKED
    ]
    assert [each.comment for clip in pictures for each in clip.markers] == [take.why for take in TAKES]
    assert not any(clip.markers for clip in sound)


def test_two_readers_of_edl_find_every_picture(edit: EditList) -> None:
    text = as_edl(edit)
    assert f"FCM: {'' if edit.is_drop else 'NON-'}DROP FRAME\n" in text
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=float(edit.rate))
    assert [track.name for track in timeline.tracks] == ["V", "A1", "A2"]
    for track in timeline.tracks:
        assert [frames_in(clip.source_range) for clip in track] == [
            (edit.start + first, count) for first, count in zip(FIRST_FRAMES, LENGTHS, strict=True)
        ]
        assert {clip.name for clip in track} == {"dog 1.mp4"}
    edits = [event.edits[0] for event in pycmx.parse_cmx3600(StringIO(text)).events]
    assert [each.clip_name for each in edits] == ["dog 1.mp4"] * 2
    assert [each.source_file for each in edits] == ["file:///in/dog 1.mp4"] * 2
    hour, position = 3600 * round(edit.rate), 0
    hour -= 108 * round(edit.rate) // 30 if edit.is_drop else 0
    for each, first, count in zip(edits, FIRST_FRAMES, LENGTHS, strict=True):
        times = (each.source_in, each.source_out, each.record_in, each.record_out)
        found = [otio.opentime.from_timecode(at, float(edit.rate)).value for at in times]
        assert found == [
            *(edit.start + first, edit.start + first + count),
            *(hour + position, hour + position + count),
        ]
        position += count
    assert [(each.channels.video, each.channels.a1, each.channels.a2) for each in edits] == [(True,) * 3] * 2


def test_edl_marks_where_the_moments_are(edit: EditList) -> None:
    found = [line.split(maxsplit=4) for line in as_edl(edit).splitlines() if line.startswith("* LOC: ")]
    hour = otio.opentime.from_timecode("01:00:00;00" if edit.is_drop else "01:00:00:00", float(edit.rate))
    marked = [otio.opentime.from_timecode(at, float(edit.rate)) - hour for _, _, at, _, _ in found]
    assert [at.value for at in marked] == [99_000 - 98_765, 1234]
    assert [words for *_, words in found] == [f"{take.name}: {take.why}" for take in TAKES]
    if not edit.is_drop:  # the adapter knows no markers with drop-frame
        track = otio.adapters.read_from_string(as_edl(edit), "cmx_3600", rate=float(edit.rate)).tracks[0]
        assert [each.name for clip in track for each in clip.markers] == [
            f"{take.name}: {take.why}" for take in TAKES
        ]


def test_fcpxml_has_every_picture(edit: EditList) -> None:
    root = ET.fromstring(as_fcpxml(edit))

    def frames(element: ET.Element, name: str) -> Fraction:
        return Fraction(element.attrib[name].removesuffix("s")) * edit.rate

    (asset,), clips = root.findall("resources/asset"), root.findall(".//spine/asset-clip")
    (sequence,) = root.iter("sequence")
    assert (asset.attrib["src"], asset.attrib["hasAudio"]) == ("file:///in/dog%201.mp4", "1")
    assert [frames(asset, name) for name in ("start", "duration")] == [edit.start, 200_000]
    assert frames(root.findall("resources/format")[0], "frameDuration") == 1
    assert frames(sequence, "duration") == 1235
    assert {each.attrib["tcFormat"] for each in (sequence, *clips)} == {"DF" if edit.is_drop else "NDF"}
    assert [[frames(clip, name) for name in ("offset", "start", "duration")] for clip in clips] == [
        [0, edit.start + 98_765, 1234],
        [1234, edit.start + 17, 1],
    ]
    markers = [marker for clip in clips for marker in clip.findall("marker")]
    assert [frames(marker, "start") for marker in markers] == [edit.start + number for number in MARKED]
    assert [(each.attrib["value"], each.attrib["note"]) for each in markers] == [
        (take.name, take.why) for take in TAKES
    ]
    if edit.rate.denominator == 1:  # the adapter takes 29.97 for 29
        (timeline,) = otio.adapters.read_from_string(as_fcpxml(edit), "fcpx_xml")
        assert [frames_in(clip.source_range) for clip in timeline.tracks[0]] == [
            (edit.start + first, count) for first, count in zip(FIRST_FRAMES, LENGTHS, strict=True)
        ]
        assert [len(clip.markers) for clip in timeline.tracks[0]] == [1, 1]


@pytest.mark.parametrize("edit", ["25"], indirect=True)
def test_what_is_not_on_a_disk_is_looked_for_beside_the_timeline(edit: EditList) -> None:
    far = replace(edit, uri="s3://bucket/2026/dog 1.mp4", has_sound=False)
    (clip, _), *others = otio.adapters.read_from_string(as_otio(far), "otio_json").tracks
    assert (clip.media_reference.target_url, others) == ("s3://bucket/2026/dog 1.mp4", [])
    (asset,) = ET.fromstring(as_fcpxml(far)).iter("asset")
    assert (asset.attrib["src"], "hasAudio" in asset.attrib) == ("dog%201.mp4", False)
    assert "* SOURCE FILE: s3://bucket/2026/dog 1.mp4\n" in as_edl(far)
    (event, _) = pycmx.parse_cmx3600(StringIO(as_edl(far))).events
    assert (event.edits[0].channels.video, event.edits[0].channels.audio) == (True, False)


@pytest.mark.parametrize("edit", ["25"], indirect=True)
def test_without_opentimelineio_the_message_says_what_to_do(
    edit: EditList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(SettingsError, match=r"pip install 'hookline\[otio\]', or set it to edl or fcpxml"):
        as_otio(edit)
