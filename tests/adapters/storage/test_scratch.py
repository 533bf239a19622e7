"""Scratch space is gone when its run is, however the run ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.adapters.storage.scratch import run_folder, video_folder
from tasks.core.records import VideoRef

KILLED_RUN = """
import os, sys
from tasks.adapters.storage.scratch import run_folder
with run_folder(sys.argv[1], "killed") as folder:
    (folder / "frames").write_bytes(b"x")
    os.kill(os.getpid(), 9)
"""


def left_under(root: Path) -> list[str]:
    """What lies in the folder of this user, less the lock that guards it."""
    return [path.name for path in root.glob("hookline-*/*") if path.name != "lock"]


def test_a_run_leaves_nothing_behind(tmp_path: Path) -> None:
    with run_folder(str(tmp_path), "run") as folder:
        (folder / "frames").write_bytes(b"x")
    assert left_under(tmp_path) == []


def test_a_failed_run_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"), run_folder(str(tmp_path), "run"):
        raise ValueError("boom")
    assert left_under(tmp_path) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert "killed" in left_under(tmp_path)
    with run_folder(str(tmp_path), "next"):
        assert "killed" not in left_under(tmp_path)
    assert left_under(tmp_path) == []


def test_a_run_that_is_alive_is_left_alone(tmp_path: Path) -> None:
    with run_folder(str(tmp_path), "first") as first, run_folder(str(tmp_path), "second"):
        assert first.exists()


def test_the_folder_of_a_video_holds_nothing_of_its_key(tmp_path: Path) -> None:
    refs = [VideoRef(f"s3://b/{key}", "e", 1) for key in ("../../etc/passwd", "a\nb", "%d.mp4", "\udcff")]
    folders = [video_folder(tmp_path, ref) for ref in refs]
    assert len(set(folders)) == 4
    assert all(folder.parent == tmp_path and folder.name.isalnum() for folder in folders)


def test_a_new_version_of_a_video_has_its_own_folder(tmp_path: Path) -> None:
    old, new = (video_folder(tmp_path, VideoRef("s3://b/a", etag, 1)) for etag in ("1", "2"))
    assert old != new
