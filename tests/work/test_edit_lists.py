"""A timeline lies beside the clips of its video, and shows the same pictures of the source."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

import av
import pytest

from tasks.adapters.storage.folder import FolderStore
from tasks.core.errors import StorageError
from tasks.core.records import Analysis, Segment, Timeline, Window
from tasks.core.speech.cuts import Cut
from tasks.core.views.edit_list import edit_list
from tasks.work.media import Media, make_media
from tasks.work.opening import open_video
from tasks.work.spec import RunSpec
from tests.media import H264, numbered_video, read_number, run_ffmpeg
from tests.spec import make_spec

SEGMENT = Segment(
    Window(1, 3),
    50,
    50,
    Analysis.skipped("disabled"),
    1,
    cut=Cut(1210, 2960, is_clean=True, speech_ratio=0.5),
)


def made(folder: Path, **publish: bool | str) -> tuple[Timeline, Media]:
    numbered_video(folder / "plain.mov", seconds=5, fps="30000/1001", sound_seconds=5)
    (folder / "in").mkdir()
    tagged = folder / "in" / "dog 1.mov"
    run_ffmpeg("-i", folder / "plain.mov", "-c", "copy", "-timecode", "01:00:00;00", tagged)
    spec = make_spec(folder / "in", folder / "out", publish={"thumbnails": False, "report": False, **publish})
    timeline = opened(spec, folder)
    return timeline, make_media([SEGMENT, replace(SEGMENT, rank=2, best_of_moment=False)], timeline, spec)


def test_a_timeline_shows_the_pictures_of_the_clips(tmp_path: Path) -> None:
    timeline, media = made(tmp_path, clips=True, timeline="fcpxml")
    assert (timeline.source_timecode, timeline.has_sound) == ("01:00:00;00", True)
    assert media.failures == ()
    first, other = media.segments
    assert first.timeline_uri == other.timeline_uri
    assert Path(str(first.timeline_uri)).parent == Path(str(first.clip_uri)).parent
    root = ET.parse(tmp_path / "out" / str(first.timeline_uri)).getroot()
    (clip,) = root.iter("asset-clip")
    rate = Fraction(30000, 1001)
    first_frame, count = (
        Fraction(clip.attrib[name].removesuffix("s")) * rate for name in ("start", "duration")
    )
    with av.open(str(tmp_path / "out" / str(first.clip_uri))) as container:
        shown = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert shown == list(range(shown[0], shown[0] + len(shown)))
    assert (first_frame - 107_892, count) == (shown[0], len(shown))


def opened_with(folder: Path, *, pictures: str) -> Timeline:
    """A silent video of 30 pictures a second that has lost all but these."""
    (folder / "in").mkdir()
    lost = ["-fps_mode", "passthrough", *H264]
    numbered_video(folder / "in/a.mp4", seconds=8, fps="30", codec=lost, filters=f"select={pictures}")
    return opened(make_spec(folder / "in", folder / "out", speech={"enabled": False}), folder)


def opened(spec: RunSpec, folder: Path) -> Timeline:
    """The only video of a source."""
    (video,) = spec.source.videos("**")
    timeline = open_video(video, spec, folder / "scratch")
    assert isinstance(timeline, Timeline)
    return timeline


def test_a_lost_picture_does_not_change_the_rate_nor_is_there_sound_where_nothing_is_heard(
    tmp_path: Path,
) -> None:
    timeline = opened_with(tmp_path, pictures="not(eq(n\\,99))")
    assert (timeline.source_fps, timeline.source_rate) == (29.875, 30.0)
    edit = edit_list([SEGMENT], timeline)
    assert (edit.rate, edit.has_sound) == (30, False)


def test_where_many_pictures_are_lost_the_rate_that_the_file_names_says_nothing(tmp_path: Path) -> None:
    timeline = opened_with(tmp_path, pictures="mod(n\\,4)")
    assert timeline.source_rate is None


def test_what_writes_it_is_missing_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    _, media = made(tmp_path, thumbnails=True, timeline="otio")
    assert [(each.stage, each.reason) for each in media.failures] == [("publish", "timeline_failed")]
    assert "pip install 'hookline[otio]'" in media.failures[0].detail
    assert all(each.thumbnail_uri and not each.timeline_uri for each in media.segments)


def test_a_store_that_does_not_take_it_costs_the_timeline_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = FolderStore.write_bytes

    def down(store: FolderStore, name: str, content: bytes) -> None:
        if name.endswith(".edl"):
            raise StorageError("The store is down.", reason="unavailable", retryable=True)
        write(store, name, content)

    monkeypatch.setattr(FolderStore, "write_bytes", down)
    _, media = made(tmp_path, clips=True, timeline="edl")
    assert [(each.stage, each.reason) for each in media.failures] == [("publish", "timeline_failed")]
    assert media.segments[0].clip_uri
    assert not media.segments[0].timeline_uri
