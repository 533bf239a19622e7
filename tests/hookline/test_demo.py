"""The videos of the demo: somebody speaks in each scene where espeak-ng is installed; else it has a tone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hookline import demo
from tasks.adapters.video.sound.vad import FRAME_MS, speech_probabilities
from tests.adapters.video.sound.voice import RATE, voice
from tests.media import run_ffmpeg

ESPEAK = """#!/bin/sh
echo "$7" >> "{folder}/said"
cp "{folder}/voice.wav" "$6"
"""
"""Stands in for `espeak-ng -v VOICE -s SPEED -w FILE TEXT`, and writes down the text."""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    raw = ("-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "-")
    run_ffmpeg(*raw, folder / "voice.wav", stdin=voice(2).tobytes())
    script = folder / "espeak-ng"
    script.write_text(ESPEAK.format(folder=folder))
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("is_installed", [True, False])
def test_somebody_speaks_in_each_scene_if_something_can(
    is_installed: bool, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = demo.SAMPLES["life.mkv"][:2]
    monkeypatch.setattr(demo, "SAMPLES", {"life.mkv": scenes})
    monkeypatch.setattr(demo, "SCENE_SECONDS", 4)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin" if is_installed else str(tmp_path))
    demo.make_videos(tmp_path / "videos")
    sound = tmp_path / "sound.s16"
    run_ffmpeg("-i", tmp_path / "videos" / "life.mkv", "-ac", "1", "-ar", RATE, "-f", "s16le", sound)
    assert np.fromfile(sound, np.int16).size == pytest.approx(8 * RATE, rel=0.02)
    spoken = speech_probabilities(sound) > 0.4
    said = program.with_name("said")
    assert said.is_file() is is_installed
    if not is_installed:
        assert not spoken.any()
        return
    assert said.read_text().splitlines() == list(demo.SPOKEN["life.mkv"][:2])
    for scene_s in (0, 4):
        times_ms = (
            np.flatnonzero(spoken[scene_s * 1000 // FRAME_MS : (scene_s + 4) * 1000 // FRAME_MS]) * FRAME_MS
        )
        assert [times_ms[0], times_ms[-1]] == pytest.approx([1_000, 3_000], abs=250)


def test_the_pictures_of_the_demo_are_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With others each time, nobody's demo would print what another's does.

    With another number of threads x264 makes other pictures; it writes down how many it had.
    """
    monkeypatch.setattr(demo, "SCENE_SECONDS", 1)
    sums = []
    for folder in ("once", "again"):
        demo.make_videos(tmp_path / folder)
        for name in demo.SAMPLES:
            run_ffmpeg(
                "-i", tmp_path / folder / name, "-map", "0:v", "-c", "copy", "-f", "md5", tmp_path / "md5"
            )
            sums.append((tmp_path / "md5").read_text())
            assert b" threads=1 " in (tmp_path / folder / name).read_bytes()
    assert sums[: len(demo.SAMPLES)] == sums[len(demo.SAMPLES) :]
