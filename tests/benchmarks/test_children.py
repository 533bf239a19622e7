"""Benchmarks say what others used of the CPU: also those that a fork server starts, which goes on."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from tasks.adapters.video.timeline import decode_timeline
from tasks.core.records import VideoRef
from tests import ROOT
from tests.adapters.video.test_timeline import BUDGET, LIMITS
from tests.media import numbered_video


def test_what_decoding_took_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    cpu_seconds = import_module("children").cpu_seconds
    path = numbered_video(tmp_path / "video.mp4", seconds=60)
    video = VideoRef(str(path), "", path.stat().st_size)
    for name in ("starts the fork server", "is measured"):
        (folder := tmp_path / name).mkdir()
        before = cpu_seconds()
        decode_timeline(path, video, folder, fps=1, budget=BUDGET, limits=LIMITS)
    assert cpu_seconds() - before > 0.02
