"""No clip begins or ends with a flash of another shot, as far as its ends may move."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tasks.adapters.video.clips.shots import free_of_flashes
from tasks.adapters.video.clips.source import read_info
from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import cut_here
from tests.media import H264, run_ffmpeg

BEFORE, SHOT, AFTER = "0x600000", "0x40C040", "0x000070"
BEGINS, ENDS = 50, 100
"""The pictures with which the second and the third shot begin."""
ROOM = {"start_room_s": 0.5, "end_room_s": 0.5}


def three_shots(path: Path, *, fps: str = "25") -> Path:
    colours = [("-f", "lavfi", "-i", f"color={each}:s=64x64:r={fps}") for each in (BEFORE, SHOT, AFTER)]
    cuts = f"[0]trim=end_frame={BEGINS}[a];[1]trim=end_frame={ENDS - BEGINS}[b];[2]trim=end_frame=30[c]"
    moving = f"{cuts};[a][b][c]concat=3,noise=alls=8:allf=t"
    run_ffmpeg(*(word for each in colours for word in each), "-filter_complex", moving, *H264, path)
    return path


def shots_of(clip: Path) -> str:
    """One letter a picture: which colour it has most of."""
    with av.open(str(clip)) as container:
        means = [frame.to_ndarray(format="rgb24").mean(axis=(0, 1)) for frame in container.decode(video=0)]
    return "".join("rgb"[mean.argmax()] for mean in means)


def cut_at(first: float, last: float, fps: str, **room: float) -> Cut:
    """From before a picture to after another one; numbers may lie between pictures."""
    rate = Fraction(fps)
    return Cut(float(Fraction(first) / rate), float(Fraction(last) / rate), float(75 / rate), **room)


@pytest.mark.parametrize(
    ("kind", "fps"),
    [
        *(("mp4", fps) for fps in ("12", "24000/1001", "25", "30000/1001", "50", "60")),
        *((kind, "30000/1001") for kind in ("mkv", "ts")),
    ],
)
def test_a_clip_has_no_flash_of_the_shots_beside_it(kind: str, fps: str, tmp_path: Path) -> None:
    source = three_shots(tmp_path / f"v.{kind}", fps=fps)
    as_it_is = cut_here(source, cut_at(BEGINS - 2, ENDS + 2, fps))
    assert shots_of(as_it_is) == "rr" + "g" * 50 + "bb"
    for between in (0, 0.3):
        clip = cut_here(source, cut_at(BEGINS - 2 + between, ENDS + 2 + between, fps, **ROOM))
        shown = shots_of(clip)
        assert set(shown) == {"g"}
        assert 49 <= len(shown) <= 50


def test_the_cut_that_was_made_is_told(tmp_path: Path) -> None:
    source = three_shots(tmp_path / "v.mp4")
    made = free_of_flashes(cut_at(48, 102, "25", **ROOM), source, read_info(source, name="v"))
    assert (made.start_s, made.end_s) == pytest.approx((BEGINS / 25, ENDS / 25))


def test_an_end_moves_to_the_very_time_of_a_change(tmp_path: Path) -> None:
    source = three_shots(tmp_path / "v.mp4")
    cut = cut_at(BEGINS - 1.3, ENDS + 1.3, "25", start_room_s=0.055, end_room_s=0.055)  # 1.375 pictures
    made = free_of_flashes(cut, source, read_info(source, name="v"))
    assert (made.start_s, made.end_s) == pytest.approx((BEGINS / 25, ENDS / 25))
    assert set(shots_of(cut_here(source, cut))) == {"g"}


@pytest.mark.parametrize(
    ("first", "last", "room"),
    [
        (48, 102, {"start_room_s": 0.06, "end_room_s": 0.06}),  # 1 picture: somebody speaks beyond
        (36, 114, ROOM),  # more than half a second is no flash
        (BEGINS, ENDS, ROOM),
        (60, 90, ROOM),
    ],
)
def test_a_cut_stays_where_it_has_no_room_or_no_flash(
    first: int, last: int, room: dict[str, float], tmp_path: Path
) -> None:
    source, cut = three_shots(tmp_path / "v.mp4"), cut_at(first, last, "25", **room)
    assert free_of_flashes(cut, source, read_info(source, name="v")) == cut


def test_flicker_is_no_change_of_shot(tmp_path: Path) -> None:
    strobe = "color=white:s=64x64:r=25,eq=brightness='if(lt(mod(n,6),3),0,-0.8)':eval=frame"
    run_ffmpeg("-f", "lavfi", "-t", "4", "-i", strobe, *H264, tmp_path / "v.mp4")
    cut = cut_at(25, 75, "25", **ROOM)
    assert free_of_flashes(cut, tmp_path / "v.mp4", read_info(tmp_path / "v.mp4", name="v")) == cut


def test_the_first_picture_of_a_video_is_no_change(tmp_path: Path) -> None:
    source = three_shots(tmp_path / "v.mp4")
    made = free_of_flashes(cut_at(0, 102, "25", **ROOM), source, read_info(source, name="v"))
    assert (made.start_s, made.end_s) == (0, pytest.approx(ENDS / 25))


def test_a_picture_that_was_shown_for_long_is_compared_with_the_next_one(tmp_path: Path) -> None:
    """As with slides, and on screens that are recorded."""
    run_ffmpeg(
        *("-i", three_shots(tmp_path / "steady.mp4"), "-vf", "select='not(between(t,1.3,1.99))'"),
        *("-fps_mode", "vfr", *H264, tmp_path / "v.mp4"),
    )
    cut = cut_at(BEGINS - 2, 80, "25", start_room_s=0.5)
    made = free_of_flashes(cut, tmp_path / "v.mp4", read_info(tmp_path / "v.mp4", name="v"))
    assert made.start_s == pytest.approx(BEGINS / 25)


def test_what_moves_at_few_pictures_a_second_is_one_shot(tmp_path: Path) -> None:
    moving = "testsrc2=size=320x180:rate=5:duration=6,scroll=horizontal=0.2"
    run_ffmpeg("-f", "lavfi", "-i", moving, *H264, tmp_path / "v.mp4")
    info = read_info(tmp_path / "v.mp4", name="v")
    for start_s in (1.1, 2.1, 3.1):
        cut = Cut(start_s, start_s + 2, 6.0, **ROOM)
        assert free_of_flashes(cut, tmp_path / "v.mp4", info) == cut
