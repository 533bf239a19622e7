"""The videos of a source as they are listed for a run, and as `hookline doctor` looks at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.storage.sources.source import check_source
from tasks.core.errors import SettingsError, StorageError
from tasks.core.settings import Select
from tests.s3 import Bucket, Disturbance, Fault

pytest_plugins = ["tests.s3"]

MP4 = Select(pattern="*.mp4")


def test_a_source_is_listed_and_one_of_its_videos_read(bucket: Bucket, network: Disturbance) -> None:
    for name in ("a.txt", "b.mp4", "c.mp4"):
        bucket.put(f"videos/{name}", b"film")
    found = check_source(f"{bucket.uri}/videos", MP4)
    assert (found.status, found.text) == (
        "ok",
        f"{bucket.uri}/videos can be listed and read: 2 videos at a first look",
    )
    network.faults.append(Fault("reply", only="b.mp4", times=10**6, status=403, code="AccessDenied"))
    with pytest.raises(StorageError, match="AccessDenied"):
        check_source(f"{bucket.uri}/videos", MP4)


def test_only_the_beginning_of_a_large_source_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.adapters.storage.sources.source.FILES_LOOKED_AT", 3)
    for number in range(5):
        (tmp_path / f"{number}.mp4").write_bytes(b"film")
    assert check_source(str(tmp_path), MP4).text.endswith("3 videos at a first look")


def test_a_source_without_a_video_is_wrong(tmp_path: Path) -> None:
    assert "has no file. Check" in check_source(str(tmp_path), MP4).text
    (tmp_path / "talk.pptx").touch()
    found = check_source(str(tmp_path), MP4)
    assert found.status == "wrong"
    assert "1 file that select.pattern does not take (1 .pptx)" in found.text


def test_a_source_may_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "one.mp4").write_bytes(b"film")
    videos = tmp_path / "videos.txt"
    videos.write_text("one.mp4\n")
    assert check_source(str(videos), MP4).status == "ok"
    videos.write_text("one.mp4\ntwo.mp4\n")
    found = check_source(str(videos), MP4)
    assert found.status == "wrong"
    assert "two.mp4" in found.text
    videos.write_text("")
    with pytest.raises(SettingsError, match=r"videos\.txt"):
        check_source(str(videos), MP4)


def test_a_list_as_source_has_no_other_list(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    (tmp_path / "videos.txt").write_text("a.mp4")
    with pytest.raises(SettingsError, match=r"other.csv', and the source .*videos.txt is a list itself"):
        check_source(str(tmp_path / "videos.txt"), Select(listing="/other.csv"))
