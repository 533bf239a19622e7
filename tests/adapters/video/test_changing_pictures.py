"""Pictures whose size, pixel format or shape changes in mid-file: every tick and clip shows its own time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import RATE, cut, pictures_of
from tests.adapters.video.sample_descriptions import with_two_descriptions
from tests.adapters.video.test_timeline import B_FRAMES, MPEG4, TEN_BIT, VP8, VP9, numbers_of, timeline_of
from tests.media import H264, joined, numbered_video, with_display_rotation

IN_PACKETS = (*H264, "-x264-params", "repeat-headers=1")
SHORT_GROUPS = ("-c:v", "libx264", "-g", "8", "-bf", "2", "-pix_fmt", "yuv420p")
NUMBERS = [24, 49, 74, 99]


@dataclass(frozen=True)
class Part:
    """How one half of a video is coded."""

    codec: tuple[str, ...] = H264
    size: tuple[int, int] = (160, 96)
    filters: str = "null"
    quarter_turns: int = 0

    def make(self, path: Path, *, seconds: float, and_then: str = "null") -> Path:
        return numbered_video(
            path,
            seconds=seconds,
            codec=self.codec,
            size=self.size,
            filters=f"{and_then},{self.filters}",
            quarter_turns=self.quarter_turns,
        )


def second_half(part: Part, path: Path, *, begins: int = 50) -> Path:
    """Its pictures show the numbers from `begins` on."""
    return part.make(path, seconds=4, and_then=f"select='gte(n\\,{begins})',setpts=PTS-{begins / RATE}/TB")


@dataclass(frozen=True)
class Case:
    """A video of two halves, and the decoders that take it."""

    suffix: str
    first: Part
    second: Part
    decoders: tuple[str, ...] = ("ffmpeg",)

    def make(self, folder: Path) -> Path:
        halves = (
            self.first.make(folder / f"first.{self.suffix}", seconds=2),
            second_half(self.second, folder / f"second.{self.suffix}"),
        )
        return joined(folder / f"v.{self.suffix}", *halves)


SMALLER, UPRIGHT, LARGER = (128, 80), (96, 160), (320, 240)
CASES = {
    "smaller": Case("ts", Part(), Part(size=SMALLER)),
    "upright": Case("ts", Part(), Part(size=UPRIGHT)),
    "ten bits": Case("ts", Part(), Part(TEN_BIT)),
    "ten bits and larger": Case("ts", Part(), Part(TEN_BIT, size=LARGER)),
    "wide pixels": Case("ts", Part(), Part(filters="setsar=2")),
    "MP4": Case("mp4", Part(IN_PACKETS), Part(IN_PACKETS, size=LARGER), ("pyav", "ffmpeg")),
    "Matroska": Case("mkv", Part(IN_PACKETS), Part(IN_PACKETS, size=UPRIGHT), ("pyav", "ffmpeg")),
    "VP8": Case("webm", Part(VP8), Part(VP8, size=LARGER), ("decord", "ffmpeg")),
    "VP9": Case("webm", Part(VP9), Part(VP9, size=SMALLER), ("decord", "ffmpeg")),
    "AVI": Case("avi", Part((*MPEG4, "-bf", "0")), Part((*MPEG4, "-bf", "0"), size=LARGER)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_tick_shows_its_own_second_after_the_change(tmp_path: Path, case: Case) -> None:
    source = case.make(tmp_path)
    assert timeline_of(source).decoder == case.decoders[0]
    for decoder in case.decoders:
        assert numbers_of(timeline_of(source, decoder=decoder)) == NUMBERS


def test_a_second_sample_description_is_read_where_its_first_pictures_are_left_out(tmp_path: Path) -> None:
    first = Part(B_FRAMES).make(tmp_path / "first.mp4", seconds=2)
    second = second_half(Part(SHORT_GROUPS, LARGER), tmp_path / "second.mp4", begins=51)
    source = with_two_descriptions(tmp_path / "v.mp4", first, second, first_s=2.04)
    for decoder in ("pyav", "ffmpeg"):
        timeline = timeline_of(source, decoder=decoder)
        assert numbers_of(timeline) == [24, 49, 74, 99]


def turned(folder: Path) -> Path:
    """A video of two sizes that lies on its side, to be shown upright."""
    halves = Part(IN_PACKETS, quarter_turns=1), Part(IN_PACKETS, LARGER, quarter_turns=1)
    return with_display_rotation(Case("mp4", *halves).make(folder), folder / "turned.mp4", degrees=-90)


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
def test_turned_pictures_may_change_too(tmp_path: Path, decoder: str) -> None:
    timeline = timeline_of(turned(tmp_path), decoder=decoder)
    assert numbers_of(timeline) == NUMBERS
    assert timeline.height > timeline.width


@pytest.mark.parametrize(
    ("name", "start_s", "end_s"),
    [("smaller", 1.2, 3.2), ("smaller", 2.4, 4), ("ten bits and larger", 1.2, 3.2), ("Matroska", 1.2, 3.2)],
)
def test_a_clip_shows_the_same_seconds(tmp_path: Path, name: str, start_s: float, end_s: float) -> None:
    clip = cut(CASES[name].make(tmp_path), tmp_path / "out", at=Cut(start_s, end_s, start_s))
    shown = pictures_of(clip.video)
    assert len(shown) == round((end_s - start_s) * RATE)
    for time_s, number in shown:
        assert abs(number - (start_s + time_s) * RATE) <= 1.01, time_s


def test_a_clip_of_turned_pictures_is_upright(tmp_path: Path) -> None:
    clip = cut(turned(tmp_path), tmp_path / "out", at=Cut(1.2, 3.2, 2))
    with av.open(str(clip.video)) as container:
        pictures = list(container.decode(video=0))
        assert {(picture.width, picture.height, picture.rotation) for picture in pictures} == {(96, 160, 0)}
    assert [number for _, number in pictures_of(clip.video)] == pytest.approx(range(30, 80), abs=1.01)


def test_a_clock_that_steps_back_a_little_goes_on(tmp_path: Path) -> None:
    """As where recordings with B-frames were joined: the second one begins 0.2 s before the first ends."""
    early = (*B_FRAMES, "-output_ts_offset", "2")
    late = "select='gte(n\\,20)',setpts=PTS-2/TB"
    first = numbered_video(tmp_path / "first.ts", seconds=2, fps="10", codec=B_FRAMES)
    second = numbered_video(tmp_path / "second.ts", seconds=4, fps="10", codec=early, filters=late)
    source = tmp_path / "v.ts"
    source.write_bytes(first.read_bytes() + second.read_bytes())
    assert numbers_of(timeline_of(source)) == [9, 19, 29, 39]
    clip = cut(source, tmp_path / "clip", at=Cut(1, 4, 2))
    assert [number for _, number in pictures_of(clip.video)] == list(range(10, 40))
