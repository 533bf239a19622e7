"""Clips begin and end where the row says, on any kind of video, with the sound in step."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tasks.adapters.video.clips.child import cut_out
from tasks.adapters.video.clips.cutting import Clip, ClipJob, cut_clip
from tasks.core.errors import DecodeFailed
from tasks.core.speech.heard import Word
from tasks.core.views.pictures import Crop, Cut, Framing
from tests.media import H264, numbered_video, read_number, run_ffmpeg, sound_only, with_display_rotation

MEMORY_BYTES = 4 * 10**9
MIDDLE = Cut(13.4, 18.6, 15.0)
RATE = 25
BEEPS = "aevalsrc=sin(2*PI*1000*t)*lt(mod(t\\,1)\\,0.1):s=48000"
"""A sound that beeps for 0.1 s with every full second."""


def with_beeps(
    picture: Path, path: Path, *, seconds: float = 20, sound_at_s: float = 0, picture_at_s: float = 0
) -> Path:
    sound = ["-itsoffset", str(sound_at_s), "-f", "lavfi", "-t", str(seconds), "-i", BEEPS]
    both = ["-itsoffset", str(picture_at_s), "-i", picture, *sound, "-map", "0", "-map", "1"]
    run_ffmpeg(*both, "-c:v", "copy", "-c:a", "aac", path)
    return path


def plain(folder: Path) -> Path:
    return with_beeps(numbered_video(folder / "p.mp4", seconds=20), folder / "v.mp4")


def few_key_pictures(folder: Path) -> Path:
    codec = ("-c:v", "libx264", "-g", "1000", "-bf", "3", "-pix_fmt", "yuv420p")
    return with_beeps(numbered_video(folder / "p.mp4", seconds=20, codec=codec), folder / "v.mkv")


def varying_rate(folder: Path) -> Path:
    """Picture k is shown at k / 25 s, but only every 50th of those between 10 and 20 s is there."""
    there = "select='not(between(t,10,17.99))+not(mod(n,50))'"
    made = numbered_video(folder / "p.mkv", seconds=20, filters=there)
    return with_beeps(made, folder / "v.mkv")


def late_start(folder: Path) -> Path:
    """The picture begins 2 s after the sound."""
    made = numbered_video(folder / "p.mkv", seconds=18)
    return with_beeps(made, folder / "v.mkv", picture_at_s=2)


def transport_stream(folder: Path) -> Path:
    """Its clock begins at 1.4 s."""
    return with_beeps(numbered_video(folder / "p.mp4", seconds=20), folder / "v.ts")


def rotated(folder: Path) -> Path:
    lying = numbered_video(folder / "p.mp4", seconds=20, quarter_turns=1)
    turned = with_display_rotation(lying, folder / "t.mp4", degrees=-90)
    return with_beeps(turned, folder / "v.mp4")


def interlaced_ntsc_wide(folder: Path) -> Path:
    codec = (*H264, "-flags", "+ilme+ildct", "-aspect", "16:9")
    return numbered_video(folder / "p.mp4", seconds=20, size=(176, 144), codec=codec)


@dataclass(frozen=True)
class Expected:
    """What a clip of 13.4 to 18.6 s shows; `pictures` gives the number on screen at a time of the video."""

    make: Callable[[Path], Path]
    size: tuple[int, int]
    pictures: Callable[[float], int]
    beeps: bool = True


EVEN = lambda t: int(t * RATE + 0.01)  # noqa: E731 - the table reads better
CASES = [
    Expected(plain, (160, 96), EVEN),
    Expected(few_key_pictures, (160, 96), EVEN),
    Expected(varying_rate, (160, 96), lambda t: int(t // 2 * 50) if t < 18 else EVEN(t)),
    Expected(late_start, (160, 96), lambda t: EVEN(t - 2)),
    Expected(transport_stream, (160, 96), EVEN),
    Expected(rotated, (96, 160), EVEN),
    Expected(interlaced_ntsc_wide, (256, 144), EVEN, beeps=False),
]


def pictures_of(clip: Path) -> list[tuple[float, int]]:
    """When each picture of a file is shown, and its number."""
    with av.open(str(clip)) as container:
        return [
            (float(frame.time), read_number(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]


def beeps_of(clip: Path) -> list[float]:
    """When beeps begin in the sound of a file, in seconds."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", clip]
    raw = subprocess.run(
        [*command, "-map", "0:a:0", "-ac", "1", "-ar", "8000", "-f", "f32le", "-"],
        capture_output=True,
        check=True,
    ).stdout
    loud = np.abs(np.frombuffer(raw, np.float32).reshape(-1)) > 0.2
    onsets, last = [], -1.0
    for at in np.flatnonzero(loud) / 8000:
        if at - last > 0.3:
            onsets.append(float(at))
        last = float(at)
    return onsets


def cut(source: Path, folder: Path, *, crop: Crop | None = None, at: Cut = MIDDLE) -> Clip:
    folder.mkdir()
    return cut_clip(source, folder, at, name="v", crop=crop, deadline_s=60, memory_bytes=MEMORY_BYTES)


def job_here(
    source: Path,
    at: Cut,
    *,
    words: Sequence[Word] = (),
    crop: Crop | None = None,
    framing: Sequence[Framing] = (),
    follow: bool = False,
    loudness: bool = False,
    enlarged: bool = False,
) -> ClipJob:
    return ClipJob(
        source=str(source),
        name="v",
        memory_bytes=0,
        file_bytes=0,
        cut=asdict(at),
        crop=crop,
        framing=[asdict(each) for each in framing],
        follow=follow,
        words=[asdict(word) for word in words],
        loudness=loudness,
        enlarged=enlarged,
        video=str(source.parent / "clip.mp4"),
        poster=str(source.parent / "clip.jpg"),
    )


def cut_here(source: Path, at: Cut, **how: Any) -> Path:
    """The clip, cut by this process: nothing that is started, no limits."""
    cut_out(job_here(source, at, **how))
    return source.parent / "clip.mp4"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_a_clip_shows_what_the_video_shows_then_within_one_picture(case: Expected, tmp_path: Path) -> None:
    clip = cut(case.make(tmp_path), tmp_path / "out")
    shown = pictures_of(clip.video)
    assert shown[0][0] == 0
    assert shown[-1][0] + 1 / RATE == pytest.approx(5.2, abs=1 / RATE)
    for time_s, number in shown:
        near = {case.pictures(13.4 + time_s + shift / RATE) for shift in (-1, 0, 1)}
        assert number in near, time_s
    with av.open(str(clip.video)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == case.size
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert len(container.streams.audio) == case.beeps


@pytest.mark.parametrize("case", [c for c in CASES if c.beeps], ids=lambda case: case.make.__name__)
def test_the_sound_is_in_step(case: Expected, tmp_path: Path) -> None:
    clip = cut(case.make(tmp_path), tmp_path / "out")
    found = [at for at in beeps_of(clip.video) if at > 0.2]
    assert found == pytest.approx([0.6, 1.6, 2.6, 3.6, 4.6], abs=1 / RATE)


def test_sound_that_starts_in_the_middle_is_silent_until_then(tmp_path: Path) -> None:
    picture = numbered_video(tmp_path / "p.mp4", seconds=20)
    source = with_beeps(picture, tmp_path / "v.mkv", seconds=10, sound_at_s=16)
    clip = cut(source, tmp_path / "out")
    assert beeps_of(clip.video) == pytest.approx([2.6, 3.6, 4.6], abs=1 / RATE)


def test_a_cut_that_starts_with_the_video_and_ends_with_it(tmp_path: Path) -> None:
    clip = cut(plain(tmp_path), tmp_path / "out", at=Cut(0, 20, 19.99))
    assert [number for _, number in pictures_of(clip.video)] == list(range(500))


@pytest.mark.parametrize("fps", ["30000/1001", "24000/1001", "30"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_no_picture_is_shown_twice_or_lost(fps: str, suffix: str, tmp_path: Path) -> None:
    source = numbered_video(tmp_path / f"v.{suffix}", seconds=12, fps=fps)
    clip = cut(source, tmp_path / "out", at=Cut(5, 9, 6))
    numbers = [number for _, number in pictures_of(clip.video)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize(
    ("crop", "size"), [((9, 16), (54, 96)), ((4, 5), (76, 96)), ((1, 1), (96, 96)), (None, (160, 96))]
)
def test_a_crop_is_cut_from_the_middle(crop: Crop | None, size: tuple[int, int], tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-t", "20", "-i", "testsrc2=size=160x96", *H264, tmp_path / "v.mp4")
    clip = cut(tmp_path / "v.mp4", tmp_path / "out", crop=crop)
    with av.open(str(clip.video)) as container, av.open(str(clip.poster)) as poster:
        video, picture = container.streams.video[0], poster.streams.video[0]
        assert (video.width, video.height) == (picture.width, picture.height) == size


@pytest.mark.parametrize(("crop_x", "shows"), [(0.0, "r"), (0.2, "r"), (0.5, "g"), (0.75, "b"), (1.0, "b")])
def test_a_crop_is_cut_where_it_is_wanted(crop_x: float, shows: str, tmp_path: Path) -> None:
    thirds = ";".join(f"color={name}:s=60x96:r=5[{name}]" for name in ("red", "lime", "blue"))
    source = f"{thirds};[red][lime][blue]hstack=3"
    run_ffmpeg("-f", "lavfi", "-t", "2", "-i", source, *H264, tmp_path / "v.mp4")
    clip = cut_here(tmp_path / "v.mp4", Cut(0, 1, 0.5), crop=(9, 16), framing=[Framing(0, crop_x)])
    with av.open(str(clip)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape[:2] == (96, 54)
    assert "rgb"[picture.mean(axis=(0, 1)).argmax()] == shows


def test_a_large_picture_shrinks_to_what_phones_play(tmp_path: Path) -> None:
    source = ["-f", "lavfi", "-t", "3", "-i", "testsrc2=size=2560x1440:rate=5"]
    run_ffmpeg(*source, *H264, tmp_path / "v.mp4")
    clip = cut(tmp_path / "v.mp4", tmp_path / "out", at=Cut(0, 2, 1))
    with av.open(str(clip.video)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (1920, 1080)


@pytest.mark.parametrize(
    ("size", "crop", "made"),
    [
        ("1920x1080", (9, 16), (1080, 1920)),
        ("640x360", (9, 16), (1080, 1920)),
        ("852x480", (4, 5), (1080, 1350)),
        ("426x240", (1, 1), (1080, 1080)),
        ("320x180", None, (1920, 1080)),
        ("640x40", None, (4096, 256)),
        ("3840x2160", (9, 16), (1080, 1920)),
    ],
)
def test_a_clip_for_apps_has_their_size(
    size: str, crop: Crop | None, made: tuple[int, int], tmp_path: Path
) -> None:
    run_ffmpeg("-f", "lavfi", "-i", f"color=gray:s={size}:r=10:d=0.4", *H264, tmp_path / "v.mp4")
    clip = cut_here(tmp_path / "v.mp4", Cut(0, 0.2, 0.1), crop=crop, enlarged=True)
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.sample_aspect_ratio) == (*made, 1)


def test_the_poster_shows_its_moment(tmp_path: Path) -> None:
    clip = cut(plain(tmp_path), tmp_path / "out")
    ((_, number),) = pictures_of(clip.poster)
    assert number == 15 * RATE - 1  # a moment of [14, 15) s has the last picture before its end


def test_the_index_lies_in_front_and_nothing_private_is_carried_over(tmp_path: Path) -> None:
    made = numbered_video(tmp_path / "p.mp4", seconds=20, codec=(*H264, "-metadata", "title=secret place"))
    content = cut(made, tmp_path / "out").video.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"secret place" not in content


@pytest.mark.parametrize("broken", ["sound", "text"])
def test_what_cannot_be_cut_says_why(broken: str, tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    if broken == "sound":
        sound_only(source)
    else:
        source.write_text("no video " * 100)
    with pytest.raises(DecodeFailed, match="No clip could be cut out of 'v'") as caught:
        cut(source, tmp_path / "out")
    assert caught.value.reason == "clip_failed"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_playlist_reaches_no_other_file(tmp_path: Path) -> None:
    plain(tmp_path)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile v.mp4\n")
    with pytest.raises(DecodeFailed, match="No clip could be cut out of 'v'"):
        cut(tmp_path / "list.mp4", tmp_path / "out")


def test_a_cut_beyond_the_end_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(DecodeFailed, match=r"\d+ of 250 pictures"):
        cut(plain(tmp_path), tmp_path / "out", at=Cut(15, 25, 16))


def test_cutting_ends_with_its_deadline(tmp_path: Path) -> None:
    source = plain(tmp_path)
    with pytest.raises(DecodeFailed, match="Cutting a clip of 'v' was stopped") as caught:
        cut_clip(source, tmp_path, Cut(0, 5, 1), name="v", deadline_s=0.05, memory_bytes=MEMORY_BYTES)
    assert caught.value.reason == "deadline"
