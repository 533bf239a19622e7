"""What is found out about storage before a run needs it; nothing that is written stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.storage.checkup import check_cache, check_output, check_scratch, check_source
from tasks.core.errors import SettingsError, StorageError
from tasks.core.settings import Limits
from tests.s3 import Bucket, Disturbance, Fault

pytest_plugins = ["tests.s3"]

ALWAYS = 10**6
MP4 = "*.mp4"


def refused(method: str, only: str = "", *, status: int = 403, code: str = "AccessDenied") -> Fault:
    return Fault("reply", method=method, only=only, times=ALWAYS, status=status, code=code)


def test_an_output_is_tried_with_all_that_a_run_does_to_it_and_left_as_it_was(
    bucket: Bucket, network: Disturbance
) -> None:
    found = check_output(f"{bucket.uri}/rankings")
    assert (found.status, found.text.partition(" can be written with checksums")[0]) == (
        "ok",
        f"{bucket.uri}/rankings",
    )
    assert "conditional writes are heeded" in found.text
    assert {request.partition(" ")[0] for request in network.requests} == {"GET", "PUT", "DELETE"}
    assert bucket.names() == []


def test_an_output_that_refuses_checksums_is_written_without(bucket: Bucket, network: Disturbance) -> None:
    network.faults.append(refused("PUT", "checksum", status=501, code="NotImplemented"))
    found = check_output(bucket.uri)
    assert found.status == "ok"
    assert "without checksums" in found.text
    assert bucket.names() == []


def test_an_output_without_conditional_writes_is_for_one_run_at_a_time(
    bucket: Bucket, network: Disturbance
) -> None:
    network.faults += [refused("PUT", header, status=501) for header in ("If-None-Match", "If-Match")]
    found = check_output(bucket.uri)
    assert found.status == "note"
    assert "let no two runs with this output overlap" in found.text
    assert bucket.names() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_output_that_is_read_only_or_for_ever_is_wrong(
    bucket: Bucket, network: Disturbance, method: str
) -> None:
    network.faults.append(refused(method))
    found = check_output(f"{bucket.uri}/rankings")
    assert found.status == "wrong"
    said = f"written, read and removed: {bucket.uri}/rankings: the store answered AccessDenied"
    assert said in found.text
    assert "Check that the credentials" in found.text


def test_a_new_output_folder_is_not_made(tmp_path: Path) -> None:
    found = check_output(str(tmp_path / "new" / "rankings"))
    assert found.status == "ok"
    assert f"will be made in {tmp_path}" in found.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["/proc/rankings", "/dev/null/rankings"])
def test_an_output_folder_that_cannot_be_made_is_wrong(folder: str) -> None:
    assert check_output(folder).status == "wrong"


def test_a_source_is_listed_and_one_of_its_videos_read(bucket: Bucket, network: Disturbance) -> None:
    for name in ("a.txt", "b.mp4", "c.mp4"):
        bucket.put(f"videos/{name}", b"film")
    found = check_source(f"{bucket.uri}/videos", MP4)
    assert (found.status, found.text) == (
        "ok",
        f"{bucket.uri}/videos can be listed and read: 2 videos at a first look",
    )
    network.faults.append(refused("GET", "b.mp4"))
    with pytest.raises(StorageError, match="AccessDenied"):
        check_source(f"{bucket.uri}/videos", MP4)


def test_only_the_beginning_of_a_large_source_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.adapters.storage.checkup.FILES_LOOKED_AT", 3)
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


def test_scratch_must_have_the_room_that_a_run_may_take(tmp_path: Path) -> None:
    assert check_scratch(Limits(scratch_dir=str(tmp_path), scratch_gb=0.001)).status == "ok"
    large = Limits(scratch_dir=str(tmp_path / "new"), scratch_gb=50_000, max_file_gb=0.001)
    found = check_scratch(large)
    assert found.status == "note"
    assert check_scratch(large.model_copy(update={"max_file_gb": 40_000})).status == "wrong"
    assert f"GB are free in {tmp_path}, and limits.scratch_gb lets a run take 50000" in found.text
    assert "lower limits.scratch_gb" in found.text
    assert list(tmp_path.iterdir()) == []


def test_scratch_must_be_a_folder_that_can_be_written() -> None:
    found = check_scratch(Limits(scratch_dir="/proc/scratch"))
    assert found.status == "wrong"
    assert "nothing can be written in /proc" in found.text


def test_a_cache_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(StorageError, match=r"Redis at 127\.0\.0\.1:1: ConnectionError"):
        check_cache("redis://127.0.0.1:1/0")
