"""Mutated videos: each is decoded, refused or cut off, soon and with a reason, and nothing is left of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import DecodeFailed, VideoRefused
from tests.adapters.video.test_timeline import B_FRAMES, LIMITS, VP8, left_in, timeline_of
from tests.media import H264, numbered_video
from tests.waiting import patience

SEEDS = range(3)
DEADLINE_S = 20
SOURCES = {"a.mp4": B_FRAMES, "a.webm": VP8, "a.ts": H264, "a.avi": ("-c:v", "mpeg4")}


def flip_bytes(content: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice([1, 10, 200])):
        content[dice.randrange(len(content))] = dice.randrange(256)


def flip_header(content: bytearray, dice: random.Random) -> None:
    """MP4 keeps its header at the end, the others at the start."""
    start = dice.choice([0, max(0, len(content) - 1500)])
    for _ in range(20):
        content[start + dice.randrange(min(1500, len(content) - start))] = dice.choice([0, 255, 127, 128])


def cut_out(content: bytearray, dice: random.Random) -> None:
    begin = dice.randrange(len(content))
    del content[begin : begin + dice.randrange(len(content) // 3)]


def repeat(content: bytearray, dice: random.Random) -> None:
    begin = dice.randrange(len(content))
    content[begin:begin] = content[begin : begin + 3000] * dice.randrange(1, 20)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sources")
    made = {
        name: numbered_video(folder / name, seconds=4, codec=codec, sound_seconds=4)
        for name, codec in SOURCES.items()
    }
    return {name: path.read_bytes() for name, path in made.items()}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutate", [flip_bytes, flip_header, cut_out, repeat])
@pytest.mark.parametrize("name", SOURCES)
def test_a_mutant_has_a_clean_end(
    sources: dict[str, bytes],
    tmp_path: Path,
    name: str,
    mutate: Callable[[bytearray, random.Random], None],
    seed: int,
) -> None:
    content = bytearray(sources[name])
    mutate(content, random.Random(f"{name} {mutate.__name__} {seed}"))
    (tmp_path / "video").write_bytes(content)
    began = time.monotonic()
    timeline, reason = None, None
    try:
        timeline = timeline_of(tmp_path / "video", limits=replace(LIMITS, deadline_s=DEADLINE_S))
    except (VideoRefused, DecodeFailed) as error:
        reason = error.reason
    assert reason != "crashed"
    assert time.monotonic() - began < DEADLINE_S + patience(5)
    assert not left_in(tmp_path)
    if timeline is None:
        assert not list((tmp_path / "out").iterdir())
    else:
        frame_bytes = timeline.height * timeline.width * 3
        assert Path(timeline.path).stat().st_size == timeline.n_ticks * frame_bytes
