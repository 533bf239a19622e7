"""What is found out about storage before a run needs it; nothing that is written stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.storage.checkup import check_cache, check_output, check_scratch
from tasks.core.errors import StorageError
from tasks.core.settings import Limits
from tests.s3 import Bucket, Disturbance, Fault

pytest_plugins = ["tests.s3"]

ALWAYS = 10**6


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
