"""The windows of all nights are read once, video by video, the newest of each version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tasks.adapters.storage import open_store
from tasks.adapters.storage.nights import find_nights, whole_videos
from tasks.adapters.storage.store import Store
from tasks.core.errors import SettingsError, StorageError
from tests.learning_world import publish_plain_night


def test_of_a_video_that_was_scored_twice_the_newest_windows_count(tmp_path: Path) -> None:
    publish_plain_night(tmp_path, videos=3, number=1)
    (path,) = tmp_path.glob("windows/*/*.parquet")
    second = publish_plain_night(tmp_path, videos=2, number=2)
    (later,) = tmp_path.glob(f"windows/*/{second}.parquet")
    later.write_bytes(path.read_bytes())  # the same videos again
    nights = find_nights(open_store(str(tmp_path)))
    found = list(nights.videos())
    assert [(video.uri[-9:-4], video.run_id) for video in found] == [(f"0000{n}", second) for n in range(3)]


def test_no_video_is_broken_apart_however_long_it_is(tmp_path: Path) -> None:
    """A part of a table that is read at once has 8,192 rows."""
    publish_plain_night(tmp_path, videos=3, windows=6000)
    found = list(find_nights(open_store(str(tmp_path))).videos(features=True))
    assert [len(video.start) for video in found] == [6000] * 3
    assert all(video.features and video.features.embeddings.shape == (6000, 8) for video in found)


def test_windows_that_were_deleted_are_told_and_the_others_read(tmp_path: Path) -> None:
    runs = [publish_plain_night(tmp_path, videos=2, number=number) for number in range(2)]
    next(tmp_path.glob(f"windows/*/{runs[0]}.parquet")).unlink()
    nights = find_nights(open_store(str(tmp_path)))
    assert {video.run_id for video in nights.videos()} == {runs[1]}
    assert nights.gone == [runs[0]]


def test_a_run_that_failed_or_came_before_is_none_of_them(tmp_path: Path) -> None:
    runs = [publish_plain_night(tmp_path, videos=1, number=number) for number in range(3)]
    fail(tmp_path, runs[2])
    nights = find_nights(open_store(str(tmp_path)), since=runs[1][:8])
    assert [run.run_id for run in nights.runs] == [runs[1]]


def test_the_newest_run_that_is_named_is_one_that_did_not_fail(tmp_path: Path) -> None:
    runs = [publish_plain_night(tmp_path, videos=1, number=number) for number in range(2)]
    store, since = open_store(str(tmp_path)), runs[1][:8]
    fail(tmp_path, runs[1])
    with pytest.raises(StorageError, match=rf"no complete run since {since} .*: the newest is {runs[0]}\."):
        find_nights(store, since=since)
    fail(tmp_path, runs[0])
    with pytest.raises(StorageError, match=r"no complete run yet .*: run `hookline rank SOURCE"):
        find_nights(store, since=since)


def fail(output: Path, run_id: str) -> None:
    path = output / "runs" / f"{run_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "Failed"}))


@pytest.mark.parametrize("since", ["20260106", "2026-01-06", "2026-01-06T010000Z", "20260106T01", "202602"])
def test_runs_before_a_day_are_left_out_however_it_is_written(tmp_path: Path, since: str) -> None:
    """A hyphen sorts before digits: 2026-01-06 as it is comes before every id of that year."""
    publish_plain_night(tmp_path, videos=1, number=0)  # of January 5
    later = publish_plain_night(tmp_path, videos=1, number=40)
    assert [run.run_id for run in find_nights(open_store(str(tmp_path)), since=since).runs] == [later]


@pytest.mark.parametrize(
    "since", ["yesterday", "06.01.2026", "2026-1-6", "2026-01-06T01:00", "26", "20260106Z"]
)
def test_what_is_no_day_and_begins_no_id_is_refused(tmp_path: Path, since: str) -> None:
    publish_plain_night(tmp_path, videos=1)
    with pytest.raises(
        SettingsError, match=rf"since '{since}' is neither a day nor.*write 20261124, 2026-11-24"
    ):
        find_nights(open_store(str(tmp_path)), since=since)


def test_a_year_of_nights_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        publish_plain_night(tmp_path, videos=1, number=number)
    listed, names = [], Store.names
    monkeypatch.setattr(Store, "names", lambda self, folder="": listed.append(folder) or names(self, folder))
    assert len(find_nights(open_store(str(tmp_path))).runs) == 5
    assert listed == ["runs"]


@pytest.mark.parametrize("column", ["video_uri", "video_etag"])
def test_a_video_that_was_written_anew_or_is_elsewhere_now_counts_once(tmp_path: Path, column: str) -> None:
    publish_plain_night(tmp_path, videos=3, number=1)
    (path,) = tmp_path.glob("windows/*/*.parquet")
    second = publish_plain_night(tmp_path, videos=1, number=2)
    (later,) = tmp_path.glob(f"windows/*/{second}.parquet")
    table = pq.read_table(path)
    changed = pc.binary_join_element_wise(table[column], "again", "-")
    table = table.set_column(table.column_names.index(column), table.schema.field(column), changed)
    pq.write_table(table, later)
    found = list(find_nights(open_store(str(tmp_path))).videos())
    assert [video.run_id for video in found] == [second] * 3


def test_of_a_large_table_little_is_read_ahead(tmp_path: Path) -> None:
    """A night's windows may be larger than memory."""
    columns = {"video_uri": [f"{n:05}" for n in range(50_000)], "n": np.random.default_rng(0).random(50_000)}
    pq.write_table(pa.table(columns), tmp_path / "windows.parquet", row_group_size=5_000)
    with (tmp_path / "windows.parquet").open("rb") as file:
        next(whole_videos(file, ["video_uri", "n"]))
        assert file.tell() < (tmp_path / "windows.parquet").stat().st_size / 2


class Counted:
    """A file that knows how much of it was read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes = file, 0

    def read(self, size: int = -1) -> bytes:
        part = self.file.read(size)
        self.bytes += len(part)
        return part

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_what_the_fast_model_saw_is_read_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nearly all of a table, and most metrics need none of it."""
    publish_plain_night(tmp_path, videos=50, dimensions=256)
    (path,) = tmp_path.glob("windows/*/*.parquet")
    opened, files = Store.opened, list[Counted]()

    @contextmanager
    def counted(self: Store, uri: str) -> Iterator[Counted]:
        with opened(self, uri) as file:
            files.append(Counted(file))
            yield files[-1]

    monkeypatch.setattr(Store, "opened", counted)
    monkeypatch.setattr(Store, "fetch", None)  # nor is it copied
    shares = []
    for features in (False, True):
        assert len(list(find_nights(open_store(str(tmp_path))).videos(features=features))) == 50
        shares.append(files.pop().bytes / path.stat().st_size)
    assert shares[0] < 0.25 < 0.75 < shares[1]
