"""What a video is called under its source, wherever people read it."""

from __future__ import annotations

import pytest

from tasks.core.uris import name_in


@pytest.mark.parametrize(
    ("uri", "source", "name"),
    [
        ("s3://bucket/videos/more/a.mp4", "s3://bucket/videos", "more/a.mp4"),
        ("s3://bucket/videos/a.mp4", "s3://bucket/videos/", "a.mp4"),
        ("s3://bucket/a.mp4", "s3://bucket/a.mp4", "a.mp4"),
        ("file:///a.mp4", "file:///", "a.mp4"),
        ("s3://bucket/videos-2/a.mp4", "s3://bucket/videos", "s3://bucket/videos-2/a.mp4"),
    ],
)
def test_a_video_is_called_as_the_source_calls_it(uri: str, source: str, name: str) -> None:
    assert name_in(uri, source) == name
