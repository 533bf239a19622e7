"""Rows, frames, clips and sound agree although a clock wraps, starts late or pauses."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from tasks.adapters.video.containers.clock import SoundTimes
from tasks.adapters.video.packet_times import PacketTimes
from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import beeps_of, cut_here, pictures_of, with_beeps
from tests.adapters.video.test_timeline import B_FRAMES, decoded_here, numbers_of
from tests.media import numbered_video, program_table, remuxed, run_ffmpeg

RATE = 10
SECONDS = 30
WRAP_S = 2**33 / 90_000
MUXED_LATE_S = 1.4
"""How late ffmpeg starts a transport stream (its `muxdelay`)."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 30 s that beeps with every second."""
    folder = tmp_path_factory.mktemp("recording")
    picture = numbered_video(folder / "p.mkv", seconds=SECONDS, fps=str(RATE), codec=B_FRAMES)
    return with_beeps(picture, folder / "v.mkv", seconds=SECONDS)


def shifted(source: Path, path: Path, *, by_s: float, options: tuple[str, ...] = ()) -> Path:
    """The same streams in another container, on a clock that starts elsewhere."""
    run_ffmpeg("-i", source, "-c", "copy", "-output_ts_offset", f"{by_s:.3f}", *options, path)
    return path


def wraps(source: Path, folder: Path) -> Path:
    return shifted(source, folder / "v.ts", by_s=WRAP_S - 12)


def wraps_in_a_program_stream(source: Path, folder: Path) -> Path:
    coding = ("-c:v", "mpeg2video", "-q:v", "2", "-r", "25", "-bf", "2", "-c:a", "mp2")
    plain = folder / "p.mpg"
    run_ffmpeg("-i", source, *coding, "-output_ts_offset", f"{WRAP_S - 12:.3f}", plain)
    return plain


def wraps_with_the_first_pictures(source: Path, folder: Path) -> Path:
    """Pictures are stored on one side of the wrap and shown on the other."""
    return shifted(source, folder / "v.ts", by_s=WRAP_S - MUXED_LATE_S - 0.1)


def wraps_in_the_sound_alone(source: Path, folder: Path) -> Path:
    """The sound begins before the wrap, the picture behind it."""
    late = folder / "late.mkv"
    run_ffmpeg(
        "-i", source, "-itsoffset", "1", "-i", source, "-map", "1:v", "-map", "0:a", "-c", "copy", late
    )
    return shifted(late, folder / "v.ts", by_s=WRAP_S - MUXED_LATE_S - 0.5)


def sound_pauses(source: Path, folder: Path) -> Path:
    plain = shifted(source, folder / "p.ts", by_s=0)
    return remuxed(plain, folder / "v.ts", keep=lambda kind, s: kind == "video" or not 5 < s < 17.5)


def picture_pauses(source: Path, folder: Path) -> Path:
    plain = shifted(source, folder / "p.ts", by_s=0)
    return remuxed(plain, folder / "v.ts", keep=lambda kind, s: kind == "audio" or not 5 < s < 17.5)


def starts_hours_in(source: Path, folder: Path) -> Path:
    return shifted(source, folder / "v.mkv", by_s=20_000)


def one_of_two_programs(source: Path, folder: Path) -> Path:
    """Two programs in turns, with clocks 13.9 hours apart; this one is the larger and comes second."""
    other = folder / "o.mkv"
    picture = numbered_video(folder / "p.mkv", seconds=SECONDS, fps=str(RATE), size=(96, 64))
    with_beeps(picture, other, seconds=SECONDS, sound_at_s=0.5)
    ids = ("-mpegts_start_pid", "0x300", "-mpegts_pmt_start_pid", "0x1300", "-mpegts_service_id", "2")
    first = shifted(other, folder / "o.ts", by_s=100).read_bytes()
    second = shifted(source, folder / "s.ts", by_s=50_020, options=ids).read_bytes()
    table = program_table({1: 0x1000, 2: 0x1300})
    ours = folder / "v.ts"
    ours.write_bytes(b"".join(_in_turns(first, second, table)))
    return ours


def _in_turns(first: bytes, second: bytes, table: bytes, packet: int = 188) -> list[bytes]:
    streams = [
        [stream[at : at + packet] for at in range(0, len(stream), packet)] for stream in (first, second)
    ]
    ticks = max(map(len, streams))
    mixed = []
    for tick in range(ticks):
        mixed += [table] if tick % 50 == 0 else []
        for stream in streams:
            mixed += stream[tick * len(stream) // ticks : (tick + 1) * len(stream) // ticks]
    return [one for one in mixed if one is table or (one[1] & 0x1F, one[2]) != (0, 0)]


CASES: list[Callable[[Path, Path], Path]] = [
    wraps,
    wraps_in_a_program_stream,
    wraps_with_the_first_pictures,
    wraps_in_the_sound_alone,
    sound_pauses,
    picture_pauses,
    starts_hours_in,
    one_of_two_programs,
]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_frames_and_clip_show_the_second_of_the_row(
    make: Callable[[Path, Path], Path], recording: Path, tmp_path: Path
) -> None:
    source = make(recording, tmp_path)
    timeline = decoded_here(source)
    assert timeline.damage is None
    late_s = 1 if make is wraps_in_the_sound_alone else 0
    assert timeline.duration_s == pytest.approx(SECONDS + late_s, abs=0.1)
    frozen = range(5, 18) if make is picture_pauses else range(0)
    for tick, number in enumerate(numbers_of(timeline)[: SECONDS + late_s]):
        begin = max(0, (tick - late_s) * RATE)
        assert tick in frozen or begin - 1 <= number <= begin + RATE, tick
    clip = cut_here(source, Cut(18, 26, 20))
    for time_s, number in pictures_of(clip):
        assert number == pytest.approx((18 + time_s - late_s) * RATE, abs=1.5), time_s
    assert [at for at in beeps_of(clip) if 0.5 < at < 7.5] == pytest.approx(range(1, 8), abs=0.1)


def test_sound_that_goes_on_before_a_late_picture_is_no_missing_picture(
    recording: Path, tmp_path: Path
) -> None:
    """FLV and Matroska declare one duration for all: it begins with the sound."""
    later = ("-itsoffset", "2.5", "-i", recording)
    for name in ("v.flv", "v.mkv"):
        run_ffmpeg("-i", recording, *later, "-map", "1:v", "-map", "0:a", "-c", "copy", tmp_path / name)
        timeline = decoded_here(tmp_path / name)
        assert (timeline.damage, timeline.n_ticks) == (None, pytest.approx(SECONDS + 2.5, abs=0.6))


def test_a_flv_recording_goes_on_with_a_clock_far_ahead(recording: Path, tmp_path: Path) -> None:
    """A reconnect appends tags; picture and sound leap together, as they don't in a pause of one."""
    parts = []
    for number, by_s in enumerate((0, 4000)):
        part = shifted(recording, tmp_path / f"{number}.flv", by_s=by_s, options=("-t", "6"))
        parts.append(part.read_bytes()[13 * number :])
    (tmp_path / "v.flv").write_bytes(b"".join(parts))
    timeline = decoded_here(tmp_path / "v.flv")
    assert timeline.duration_s == pytest.approx(12, abs=0.5)
    clip = cut_here(tmp_path / "v.flv", Cut(7, 11, 8))
    beeps = [at for at in beeps_of(clip) if at > 0.3]
    shown = pictures_of(clip)
    numbers = [max(picture for picture in shown if picture[0] <= at + 0.05)[1] for at in beeps]
    assert numbers == pytest.approx([20, 30, 40], abs=1)


def test_pictures_few_and_far_between_are_cut_where_they_are_on_screen(tmp_path: Path) -> None:
    """ffmpeg seeks in FLV to a key picture behind the second that was asked for."""
    few = ("select='not(mod(n,100))'", "-c:v", "libx264", "-g", "2", "-pix_fmt", "yuv420p")
    source = numbered_video(tmp_path / "v.flv", seconds=40, fps="10", filters=few[0], codec=few[1:])
    clip = cut_here(source, Cut(25, 29, 26))
    assert {number for _, number in pictures_of(clip)} == {200}


def test_a_clock_may_start_anew_many_times(tmp_path: Path) -> None:
    part = numbered_video(tmp_path / "p.ts", seconds=1, fps="10", size=(96, 64)).read_bytes()
    (tmp_path / "v.ts").write_bytes(part * 150)
    timeline = decoded_here(tmp_path / "v.ts")
    assert timeline.duration_s == pytest.approx(150, abs=0.1)
    assert numbers_of(timeline) == [9] * 150


@pytest.mark.parametrize("broken", ["sound", "picture"])
def test_one_broken_time_does_not_move_the_origin(broken: str) -> None:
    sound = SoundTimes(SimpleNamespace(index=1, time_base=Fraction(1, 90_000)))
    times = PacketTimes(Fraction(1, 90_000), container="mpegts", sound=sound)
    for second in range(100, 150):
        units = 90_000 * second
        whole = {"dts": units, "duration": 90_000, "is_discard": False, "pos": 0, "size": 9}
        pts = {"sound": units, "picture": units} | ({broken: 5} if second == 145 else {})
        times.add(SimpleNamespace(pts=pts["picture"], **whole))
        sound.add(SimpleNamespace(pts=pts["sound"], dts=pts["sound"]), pictures_before=len(times.pts))
    assert times.origin_us(SimpleNamespace(start_time=0)) == 100_000_000


def test_the_larger_video_of_one_program_has_its_sound(recording: Path, tmp_path: Path) -> None:
    numbered_video(tmp_path / "proxy.mkv", seconds=SECONDS, fps="30", size=(96, 64))
    both = ("-i", tmp_path / "proxy.mkv", "-i", recording, "-map", "0", "-map", "1", "-c", "copy")
    run_ffmpeg(*both, tmp_path / "v.ts")
    clip = cut_here(tmp_path / "v.ts", Cut(18, 26, 20))
    assert [at for at in beeps_of(clip) if 0.5 < at < 7.5] == pytest.approx(range(1, 8), abs=0.1)


def test_a_program_without_sound_is_not_given_that_of_another(recording: Path, tmp_path: Path) -> None:
    silent, other = tmp_path / "s.ts", tmp_path / "o.ts"
    picture = numbered_video(tmp_path / "p.mkv", seconds=SECONDS, fps=str(RATE), size=(96, 64))
    ids = ("-mpegts_start_pid", "0x300", "-mpegts_pmt_start_pid", "0x1300", "-mpegts_service_id", "2")
    shifted(recording, silent, by_s=50_020, options=("-an",))
    shifted(with_beeps(picture, tmp_path / "o.mkv", seconds=SECONDS), other, by_s=100, options=ids)
    table = program_table({1: 0x1000, 2: 0x1300})
    (tmp_path / "v.ts").write_bytes(b"".join(_in_turns(silent.read_bytes(), other.read_bytes(), table)))
    assert decoded_here(tmp_path / "v.ts").duration_s == pytest.approx(SECONDS, abs=0.1)
    with av.open(str(cut_here(tmp_path / "v.ts", Cut(18, 26, 20)))) as clip:
        assert not clip.streams.audio
