"""The picture has every video, its segments where they are, and is well-formed whatever it is called."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from tasks.core.records import (
    Analysis,
    RankedVideo,
    ScoredVideo,
    ScoredWindow,
    Segment,
    Timeline,
    VideoRef,
    Window,
)
from tasks.core.views.timeline_picture import MARGIN, POINTS, WIDTH, timeline_picture

SVG = "{http://www.w3.org/2000/svg}"


def video(uri: str, *, ticks: int) -> RankedVideo:
    windows = [Window(start, start + 10) for start in range(ticks - 9)]
    scored = tuple(ScoredWindow(window, window.start % 101) for window in windows)
    timeline = Timeline(VideoRef(uri, "", 1), "", ticks, 1, 8, 8, float(ticks), "pyav")
    segment = Segment(Window(ticks // 2, ticks // 2 + 10), 77, 50, Analysis.skipped("disabled"), rank=1)
    return RankedVideo(ScoredVideo(timeline, scored, np.zeros((0, 0), np.float16), "salience"), (segment,))


def test_every_video_is_a_curve_and_its_segment_lies_at_its_time() -> None:
    picture = ElementTree.fromstring(
        timeline_picture([video("s3://b/<a>&\x00.mp4", ticks=100), video("b", ticks=20)])
    )
    assert len(picture.findall(f"{SVG}polyline")) == 2
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert r"s3://b/<a>&\x00.mp4" in texts
    assert texts.count("▲ 77") == 2
    segment = next(rect for rect in picture.iter(f"{SVG}rect") if rect.get("fill") == "#dc2626")
    assert float(segment.attrib["x"]) == MARGIN + (WIDTH - 2 * MARGIN) * 0.5


def test_a_long_video_has_no_more_points_than_can_be_seen() -> None:
    picture = ElementTree.fromstring(timeline_picture([video("a", ticks=20_000)]))
    (curve,) = picture.iter(f"{SVG}polyline")
    points = curve.attrib["points"].split()
    assert POINTS * 0.9 < len(points) <= POINTS + 1
    xs = [float(point.split(",")[0]) for point in points]
    assert xs == sorted(xs)
    assert MARGIN <= xs[0] < xs[-1] <= WIDTH - MARGIN
