"""Packets that no wanted picture is made of are left out, and not a pixel changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tasks.adapters.video import decode_pyav
from tasks.adapters.video.packet_references import IDR, PARAMETERS, REFERENCED, TEMPORAL_LAYER, needed_packets
from tasks.adapters.video.probe import Probe, probe
from tasks.adapters.video.shaping import Grid
from tasks.core.errors import DecoderUnfit
from tests.media import numbered_video

KEY, REF, B = IDR | REFERENCED, REFERENCED, 0
X265 = ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params")


def x264(options: str) -> tuple[str, ...]:
    return ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", options)


@dataclass(frozen=True)
class Case:
    """How a video is coded, and the share of its packets that a picture a second needs at the most."""

    codec: tuple[str, ...]
    share: float
    file: str = "a.mp4"
    fps: str = "25"
    grid_fps: int = 1


CASES = {
    "x264 as it comes": Case(x264("keyint=250"), 0.7),
    "a key frame at every tick": Case(x264("keyint=25:min-keyint=25:scenecut=0"), 0.6),
    "short groups": Case(x264("keyint=10:min-keyint=10:scenecut=0:bframes=0"), 0.4),
    "long groups of one chain": Case(x264("keyint=250:bframes=0"), 1.0),
    "open groups": Case(x264("keyint=12:open-gop=1:bframes=3"), 0.7),
    "pyramid": Case(x264("keyint=60:bframes=8:b-pyramid=normal:b-adapt=0"), 0.7),
    "no pyramid": Case(x264("keyint=60:bframes=8:b-pyramid=none:b-adapt=0"), 0.4),
    "several slices": Case(x264("keyint=50:slices=4"), 0.7),
    "intra refresh": Case(x264("keyint=25:intra-refresh=1:bframes=0"), 1.0),
    "interlaced": Case(x264("keyint=50:tff=1"), 0.8),
    "29.97 a second in Matroska": Case(x264("keyint=60"), 0.8, file="a.mkv", fps="30000/1001"),
    "parameters in the packets": Case((*x264("keyint=25:repeat-headers=1"), "-tag:v", "avc3"), 0.8),
    "three ticks a second": Case(x264("keyint=100"), 0.8, grid_fps=3),
    "x265 as it comes": Case((*X265, "log-level=none:keyint=60"), 0.8),
    "x265, closed groups": Case((*X265, "log-level=none:keyint=30:open-gop=0"), 0.8),
    "x265, temporal layers": Case((*X265, "log-level=none:keyint=60:temporal-layers=3"), 0.9),
    "x265, nothing but references": Case((*X265, "log-level=none:keyint=250:bframes=0"), 1.0),
}


def frames(source: Path, found: Probe, *, grid_fps: int = 1, skip: bool = True) -> list[bytes]:
    grid = Grid(168, 84, grid_fps, found.n_ticks(grid_fps), threads=2)
    return list(decode_pyav.decode(source, found, grid, skip=skip))


def needed_share(found: Probe, *, grid_fps: int) -> float:
    shown = {found.pts[i] for i in found.last_shown(fps=grid_fps, n_ticks=found.n_ticks(grid_fps))}
    return sum(needed_packets(found.packet_flags, [pts in shown for pts in found.stored])) / len(found.stored)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_left_out_changes_no_pixel(tmp_path: Path, case: Case) -> None:
    source = numbered_video(tmp_path / case.file, seconds=8.4, codec=case.codec, fps=case.fps)
    found = probe(source, name=case.file)
    assert decode_pyav.fits_pyav(found)
    assert needed_share(found, grid_fps=case.grid_fps) <= case.share
    whole = frames(source, found, grid_fps=case.grid_fps, skip=False)
    assert frames(source, found, grid_fps=case.grid_fps) == whole
    assert len(set(whole)) == len(whole)  # each tick shows another number


TABLE = {
    "only the last picture of a group": (
        [KEY, REF, REF, KEY, REF],
        [0, 0, 1, 0, 0],
        [1, 1, 1, 0, 0],
    ),
    "a group without a wanted picture": ([KEY, REF, KEY, REF], [0, 0, 1, 0], [0, 0, 1, 0]),
    "pictures that no other is made of": ([KEY, B, B, REF, B], [0, 0, 1, 0, 1], [1, 0, 1, 1, 1]),
    "a lower layer, of which a higher one may be made": (
        [KEY, 0, 2, 1, 2],
        [0, 0, 0, 0, 1],
        [1, 1, 0, 1, 1],
    ),
    "a stream that starts in the middle": ([REF, REF, KEY], [0, 1, 0], [1, 1, 0]),
    "parameters, and what leads to them": (
        [KEY, REF, REF | PARAMETERS, REF, KEY],
        [0, 0, 0, 0, 1],
        [1, 1, 1, 0, 1],
    ),
    "nothing wanted": ([KEY, REF], [0, 0], [0, 0]),
    "nothing there": ([], [], []),
}


@pytest.mark.parametrize(("flags", "wanted", "needed"), TABLE.values(), ids=TABLE)
def test_needed_is_what_wanted_pictures_are_made_of(
    flags: list[int], wanted: list[int], needed: list[int]
) -> None:
    assert needed_packets(flags, [bool(is_wanted) for is_wanted in wanted]) == [
        bool(is_needed) for is_needed in needed
    ]


def test_a_wrong_word_about_packets_is_noticed(tmp_path: Path) -> None:
    """A file may call pictures unreferenced that others are made of: another decoder is asked then."""
    source = numbered_video(tmp_path / "a.mp4", seconds=4, codec=x264("keyint=250:bframes=0"))
    found = probe(source, name="a.mp4")
    lied = replace(found, packet_flags=bytes(flags & TEMPORAL_LAYER for flags in found.packet_flags))
    with pytest.raises(DecoderUnfit, match="broken or missing"):
        frames(source, lied)
