"""Listed videos are kept as columns, and are the same videos."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from tasks.core.records import VideoRef
from tasks.core.records import listed as module
from tasks.core.records.listed import ListedVideos

AT = datetime(2026, 11, 25, 1, 2, 3, 456789, tzinfo=UTC)
ODD = [VideoRef(f"file:///a/{name}", "etag", 1) for name in ("\udcff.mp4", "b\udc80.mp4")]
EVEN = [
    VideoRef(f"file:///a/{name}.mp4", f"etag-{n}", n, AT if n % 2 else None)
    for n, name in enumerate(["a", "b", "c/d", "c", "\N{GRINNING FACE}", "\N{FULLWIDTH COMMA}", "z"])
]


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_videos_come_by_uri_each_once_and_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", rows)
    mixed = [*EVEN, *ODD, *EVEN]
    random.Random(0).shuffle(mixed)
    videos = ListedVideos.of(iter(mixed))
    wanted = [*sorted(EVEN, key=lambda video: video.uri), *sorted(ODD, key=lambda video: video.uri)]
    assert list(videos) == wanted == videos
    assert [video.modified_at for video in videos] == [video.modified_at for video in wanted]
    assert (len(videos), videos[0], videos[-1]) == (len(wanted), wanted[0], wanted[-1])
    for part in (
        slice(2),
        slice(1, 4),
        slice(5, None),
        slice(7, 9),
        slice(8, 20),
        slice(9, 2),
        slice(None, None, 2),
    ):
        assert list(videos[part]) == wanted[part], part
    assert videos.odd == wanted[-2:]


def test_there_may_be_none() -> None:
    videos = ListedVideos.of([])
    assert (list(videos), len(videos), bool(videos)) == ([], 0, False)
    with pytest.raises(IndexError):
        videos[0]
