"""Decoding onto the grid: the right picture at every tick, and one clean outcome for every file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from tasks.adapters.stopping import stop_work
from tasks.adapters.video.decode_child import do_job
from tasks.adapters.video.timeline import DecodeJob, DecodeLimits, decode_timeline, read_frames
from tasks.core.errors import DecodeFailed, RunEnded, VideoRefused
from tasks.core.geometry import FrameBudget
from tasks.core.records import Timeline, VideoRef
from tasks.core.views.pictures import Cut
from tests import ROOT
from tests.adapters.video.clips.test_clips import cut_here
from tests.media import (
    H264,
    cut_short,
    numbered_video,
    playlist,
    read_number,
    run_ffmpeg,
    with_display_rotation,
)
from tests.waiting import patience

BUDGET = FrameBudget(max_pixels=200 * 200, min_pixels=56 * 56, multiple_of=28)
LIMITS = DecodeLimits(
    deadline_s=60, memory_bytes=4 * 1024**3, max_duration_s=6 * 3600, max_frames_bytes=20 * 1024**3
)
B_FRAMES = ("-c:v", "libx264", "-bf", "3", "-g", "24", "-pix_fmt", "yuv420p")
OPEN_GOP = (*B_FRAMES, "-x264-params", "open-gop=1:keyint=12")
FINE_CLOCK = ("-enc_time_base", "1:1000")
TEN_BIT = ("-c:v", "libx264", "-pix_fmt", "yuv420p10le")
HEVC = ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "log-level=none")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p")
MPEG4 = ("-c:v", "mpeg4", "-bf", "2", "-q:v", "3")
FROM_BEFORE_0 = ("-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled")
LATE = "setpts=PTS+2.48/TB"
PAUSES = "settb=1/1000,setpts=40*N+700*floor(N/10)"


def every(fps: str, *, begins: str = "0") -> Callable[[int], Fraction]:
    """Times of pictures at a constant rate."""
    return lambda k: Fraction(begins) + k / Fraction(fps)


@dataclass(frozen=True)
class Case:
    """A video, when its pictures begin, and how it is decoded."""

    file: str
    times: Callable[[int], Fraction]
    decoder: str
    seconds: float = 4
    fps: str = "25"
    codec: tuple[str, ...] = H264
    size: tuple[int, int] = (160, 96)
    filters: str = "null"
    sound_seconds: float = 0
    n_ticks: int = 4
    grid_fps: int = 1

    def make(self, path: Path) -> Path:
        return numbered_video(
            path,
            seconds=self.seconds,
            fps=self.fps,
            codec=self.codec,
            size=self.size,
            filters=self.filters,
            sound_seconds=self.sound_seconds,
        )

    def last_shown(self, tick: int) -> int:
        """The last picture that begins before the tick ends; before the first one the first."""
        k = 0
        while self.times(k + 1) < Fraction(tick + 1, self.grid_fps):
            k += 1
        return min(k, self.last)

    @property
    def last(self) -> int:
        return round(self.seconds * Fraction(self.fps)) - 1


def paused(k: int) -> Fraction:
    return Fraction(40 * k + 700 * (k // 10), 1000)


CASES = {
    "constant rate": Case("a.mp4", every("25"), "pyav"),
    "B-frames": Case("a.mp4", every("25"), "pyav", codec=B_FRAMES),
    "open GOP": Case("a.mp4", every("25"), "pyav", codec=OPEN_GOP, grid_fps=3, n_ticks=12),
    "variable rate": Case(
        "a.mp4", paused, "pyav", codec=(*B_FRAMES, *FINE_CLOCK), filters=PAUSES, n_ticks=11, grid_fps=1
    ),
    "variable rate in Matroska": Case(
        "a.mkv", paused, "pyav", codec=(*B_FRAMES, *FINE_CLOCK), filters=PAUSES, n_ticks=11
    ),
    "29.97 a second": Case(
        "a.mp4", every("30000/1001"), "pyav", fps="30000/1001", codec=B_FRAMES, seconds=20, n_ticks=20
    ),
    "12.5 a second": Case("a.mp4", every("12.5"), "pyav", fps="12.5"),
    "milliseconds, three ticks a second": Case(
        "a.mkv", every("30"), "pyav", fps="30", grid_fps=3, n_ticks=12
    ),
    "ends inside a tick": Case("a.mp4", every("25"), "pyav", seconds=3.4),
    "shorter than a tick": Case("a.mp4", every("25"), "pyav", seconds=0.2, n_ticks=1),
    "odd sides": Case(
        "a.mp4", every("25"), "pyav", size=(161, 97), codec=("-c:v", "libx264", "-pix_fmt", "yuv444p")
    ),
    "ten bits": Case("a.mp4", every("25"), "pyav", codec=TEN_BIT),
    "HEVC": Case("a.mp4", every("25"), "pyav", codec=HEVC),
    "VP8": Case("a.webm", every("25"), "decord", codec=VP8),
    "VP9, sound from before 0": Case("a.webm", every("25"), "decord", codec=VP9, sound_seconds=4),
    "transport stream": Case("a.ts", every("25"), "ffmpeg", codec=B_FRAMES),
    "transport stream, sound earlier": Case(
        "a.ts", every("25", begins="0.0109"), "ffmpeg", codec=B_FRAMES, sound_seconds=4, n_ticks=5
    ),
    "AVI with B-frames": Case("a.avi", every("25", begins="0.04"), "ffmpeg", codec=MPEG4, n_ticks=5),
    "wide pixels": Case("a.mp4", every("25"), "pyav", filters="setsar=3/2"),
    "from before 0": Case(
        "a.mp4", every("25", begins="-0.52"), "ffmpeg", codec=(*H264, *FROM_BEFORE_0), seconds=4.52
    ),
    "late": Case(
        "a.mp4", every("25", begins="2.48"), "pyav", filters=LATE, sound_seconds=6, n_ticks=7
    ),
    "late, transport stream": Case(
        "a.ts", every("25", begins="2.4909"), "ffmpeg", filters=LATE, sound_seconds=6, n_ticks=7
    ),
}  # fmt: skip


def timeline_of(source: Path, *, fps: int = 1, limits: DecodeLimits = LIMITS, decoder: str = "") -> Timeline:
    folder = source.parent / f"out{decoder}"
    folder.mkdir(exist_ok=True)
    video = VideoRef(f"s3://bucket/{source.name}", "etag", source.stat().st_size)
    return decode_timeline(source, video, folder, fps=fps, budget=BUDGET, limits=limits, decoder=decoder)


def decoded_here(source: Path, *, fps: int = 1, decoder: str = "") -> Timeline:
    """As `timeline_of`, decoded by this process: nothing that is started, no limits."""
    frames = source.parent / f"frames{decoder}.rgb"
    found = do_job(job_for(source, frames=str(frames), fps=fps, decoder=decoder))
    return Timeline(VideoRef(source.as_uri(), "etag", source.stat().st_size), str(frames), **found)


def job_for(source: Path, *, frames: str, fps: int = 1, decoder: str = "") -> DecodeJob:
    return DecodeJob(
        source=str(source),
        name=source.name,
        frames=frames,
        fps=fps,
        budget=asdict(BUDGET),
        memory_bytes=LIMITS.memory_bytes,
        file_bytes=LIMITS.max_frames_bytes,
        max_duration_s=LIMITS.max_duration_s,
        max_frames_bytes=LIMITS.max_frames_bytes,
        decoder=decoder,
    )


def frames_of(timeline: Timeline) -> np.ndarray:
    return read_frames(timeline, range(timeline.n_ticks))


def numbers_of(timeline: Timeline) -> list[int]:
    return [read_number(frame) for frame in frames_of(timeline)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_tick_holds_its_last_picture_with_any_decoder(tmp_path: Path, case: Case) -> None:
    source = case.make(tmp_path / case.file)
    timeline = timeline_of(source, fps=case.grid_fps)
    assert timeline.decoder == case.decoder
    assert timeline.damage is None
    expected = [case.last_shown(tick) for tick in range(case.n_ticks)]
    assert numbers_of(timeline) == expected
    if case.decoder != "ffmpeg":
        other = timeline_of(source, fps=case.grid_fps, decoder="ffmpeg")
        assert replace(other, path=timeline.path, decoder=case.decoder) == timeline
        assert numbers_of(other) == expected
        difference = frames_of(other).astype(np.int16) - frames_of(timeline)
        assert np.abs(difference).mean() < (3 if case.decoder == "decord" else 0.01)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_the_picture_is_upright(tmp_path: Path, degrees: int) -> None:
    turned = numbered_video(
        tmp_path / "turned.mp4", seconds=2, codec=B_FRAMES, quarter_turns=-degrees // 90 % 4
    )
    source = with_display_rotation(turned, tmp_path / "a.mp4", degrees=degrees)
    for decoder in ("pyav", "ffmpeg"):
        timeline = timeline_of(source, decoder=decoder)
        assert timeline.decoder == decoder
        assert numbers_of(timeline) == [24, 49]
        assert (timeline.height > timeline.width) == (degrees % 180 != 0)


def test_a_mirrored_picture_is_mirrored_back(tmp_path: Path) -> None:
    stored = numbered_video(tmp_path / "stored.mp4", seconds=2, filters="hflip")
    run_ffmpeg("-display_hflip", "-i", stored, "-c", "copy", tmp_path / "a.mp4")
    assert numbers_of(timeline_of(tmp_path / "a.mp4")) == [24, 49]


def test_wide_pixels_widen_the_frame(tmp_path: Path) -> None:
    narrow = numbered_video(tmp_path / "a.mp4", seconds=1, size=(96, 96), filters="setsar=2/1")
    timeline = timeline_of(narrow)
    assert (timeline.width, timeline.height) == (196, 84)


def test_a_video_shorter_than_a_segment_has_larger_frames(tmp_path: Path) -> None:
    source = numbered_video(tmp_path / "a.mp4", seconds=2, size=(320, 192))
    folder, video = tmp_path / "out", VideoRef("s3://bucket/a.mp4", "etag", 1)
    folder.mkdir()
    budget = replace(BUDGET, max_pixels=84 * 56, segment_pixels=8 * 84 * 56)
    timeline = decode_timeline(source, video, folder, fps=1, budget=budget, limits=LIMITS)
    assert (timeline.width, timeline.height) == (168, 84)


TRACKS = {
    "a proxy first": ("a.mp4", ("default", "default"), 1),
    "a proxy first, in Matroska": ("a.mkv", ("default", "default"), 1),
    "a proxy first, in a transport stream": ("a.ts", ("0", "0"), 1),
    "none is the default": ("a.mkv", ("0", "0"), 1),
    "the default is the smaller": ("a.mkv", ("default", "0"), 0),
    "a large cover": ("a.mp4", ("default", "attached_pic"), 0),
    "a single picture beside it": ("a.mp4", ("0", "default"), 0),
}


@pytest.mark.parametrize(("file", "dispositions", "taken"), TRACKS.values(), ids=TRACKS)
def test_of_several_videos_the_largest_default_one_is_taken(
    tmp_path: Path, file: str, dispositions: tuple[str, str], taken: int
) -> None:
    still = dispositions[1] == "attached_pic" or (file, dispositions[0]) == ("a.mp4", "0")
    cover = ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-frames:v", "1")
    numbered_video(tmp_path / "s.mkv", seconds=2, fps="10", size=(96, 64))
    numbered_video(
        tmp_path / "l.mkv",
        seconds=2,
        fps="10",
        size=(320, 192),
        filters="negate",
        codec=cover if still else H264,
    )
    both = tmp_path / file
    marks = [word for k in (0, 1) for word in (f"-disposition:v:{k}", dispositions[k])]
    parts = ("-i", tmp_path / "s.mkv", "-i", tmp_path / "l.mkv", "-map", "0", "-map", "1")
    run_ffmpeg(*parts, "-c", "copy", *marks, both)
    assert [number == -1 for number in numbers_of(decoded_here(both))] == [bool(taken)] * 2
    with av.open(str(cut_here(both, Cut(0, 1, 0.5)))) as clip:
        assert clip.streams.video[0].width == (320 if taken else 96)


def test_longer_sound_does_not_lengthen_the_video(tmp_path: Path) -> None:
    timeline = timeline_of(numbered_video(tmp_path / "a.mp4", seconds=2, sound_seconds=9))
    assert (timeline.n_ticks, timeline.duration_s, timeline.damage) == (2, 2.0, None)


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv", "a.ts"])
def test_a_truncated_file_is_decoded_as_far_as_it_goes(tmp_path: Path, file: str) -> None:
    codec = (*H264, "-movflags", "faststart") if file == "a.mp4" else H264
    whole = numbered_video(tmp_path / f"whole_{file}", seconds=20, codec=codec)
    timeline = timeline_of(cut_short(whole, tmp_path / file, fraction=0.5))
    assert 5 <= timeline.n_ticks <= 15
    assert timeline.n_ticks - 1 < timeline.duration_s <= timeline.n_ticks
    *all_but_last, last = numbers_of(timeline)
    assert all_but_last == [25 * tick + 24 for tick in range(timeline.n_ticks - 1)]
    assert last == pytest.approx(25 * timeline.duration_s, abs=2)
    if file != "a.ts":  # a transport stream doesn't say how long it should be
        assert (
            timeline.damage
            == f"The file declares 20.0 s, but only {timeline.duration_s:.1f} s can be decoded."
        )


def test_a_damaged_stretch_sends_the_file_to_ffmpeg(tmp_path: Path) -> None:
    source = numbered_video(tmp_path / "a.mp4", seconds=8, codec=B_FRAMES)
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = b"\xff" * 500
    source.write_bytes(content)
    timeline = timeline_of(source)
    assert (timeline.decoder, timeline.n_ticks, timeline.duration_s) == ("ffmpeg", 8, 8.0)
    numbers = numbers_of(timeline)
    assert [numbers[0], numbers[-1]] == [24, 199]


def test_the_joined_clocks_of_two_streams_are_one(tmp_path: Path) -> None:
    part = numbered_video(tmp_path / "part.ts", seconds=3, codec=H264)
    joined = tmp_path / "a.ts"
    joined.write_bytes(part.read_bytes() * 2)
    assert numbers_of(timeline_of(joined)) == [24, 49, 74, 24, 49, 74]


def test_a_playlist_shows_nothing_of_its_neighbour(tmp_path: Path) -> None:
    neighbour = numbered_video(tmp_path / "neighbour.mp4", seconds=2)
    with pytest.raises(VideoRefused) as refused:
        timeline_of(playlist(tmp_path / "a.mp4", neighbour=neighbour))
    assert (refused.value.stage, refused.value.reason) == ("probe", "playlist")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("limits", "reason", "words"),
    [
        (replace(LIMITS, max_duration_s=3), "too_long", "4 s long; the limit is 3 s"),
        (replace(LIMITS, max_frames_bytes=100_000), "too_large", "100 kB are left of what each"),
    ],
)
def test_a_video_over_a_limit_is_refused_with_the_limit(
    tmp_path: Path, limits: DecodeLimits, reason: str, words: str
) -> None:
    with pytest.raises(VideoRefused, match=words) as refused:
        timeline_of(numbered_video(tmp_path / "a.mp4", seconds=4), limits=limits)
    assert (refused.value.stage, refused.value.reason) == ("probe", reason)


def slow_video(path: Path) -> Path:
    """Five minutes of large pictures, which take seconds to decode, made of one second over and over."""
    second = path.with_name("second.avi")
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=1280x720:rate=25", "-t", "1", *MPEG4, second)
    run_ffmpeg("-stream_loop", "300", "-i", second, "-c", "copy", path)
    second.unlink()
    return path


def processes_in(folder: Path) -> list[str]:
    """The processes working in a folder, where the system tells (Linux)."""
    working = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                working.append(process.name)
        except OSError:
            continue
    return working


def left_in(folder: Path, *, within_s: float = 3) -> list[str]:
    """Those still there after a moment: a process sent SIGKILL is gone when the system gets to it."""
    began = time.monotonic()
    while (working := processes_in(folder)) and time.monotonic() - began < patience(within_s):
        time.sleep(0.02)
    return working


def test_the_deadline_ends_the_child_and_its_ffmpeg(tmp_path: Path) -> None:
    source = slow_video(tmp_path / "a.avi")
    began = time.monotonic()
    with pytest.raises(
        DecodeFailed, match=r"'a\.avi' was stopped after limits\.deadline_seconds = 0\.7"
    ) as failed:
        timeline_of(source, limits=replace(LIMITS, deadline_s=0.7))
    assert failed.value.reason == "deadline"
    assert time.monotonic() - began < patience(3)
    assert not left_in(tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_decoding_can_be_stopped_from_another_thread(tmp_path: Path) -> None:
    source = slow_video(tmp_path / "a.avi")
    with ThreadPoolExecutor(1) as pool:
        decoding = pool.submit(timeline_of, source)
        while not processes_in(tmp_path):
            time.sleep(0.02)
        stop_work(tmp_path / "elsewhere")
        assert not wait([decoding], timeout=0.3).done
        stop_work(tmp_path)
        with pytest.raises(RunEnded):
            decoding.result(timeout=patience(5))
    assert not left_in(tmp_path)


@pytest.mark.parametrize("file", ["a.mp4", "a.avi"])
def test_too_little_memory_is_a_clean_failure(tmp_path: Path, file: str) -> None:
    source = tmp_path / file
    codec = MPEG4 if file == "a.avi" else H264
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=1920x1080:rate=5", "-t", "2", *codec, source)
    with pytest.raises(DecodeFailed) as failed:
        timeline_of(source, limits=replace(LIMITS, memory_bytes=300_000_000))
    assert failed.value.reason == "out_of_memory"
    assert not left_in(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_no_fault_of_the_video(tmp_path: Path) -> None:
    source = numbered_video(tmp_path / "a.mp4", seconds=1)
    job = job_for(source, frames="/dev/full", decoder="ffmpeg")
    with pytest.raises(DecodeFailed, match="No room on scratch") as failed:
        do_job(job)
    assert failed.value.reason == "disk_full"


def test_the_child_ends_when_its_parent_does(tmp_path: Path) -> None:
    source = slow_video(tmp_path / "a.avi")
    script = (
        "from pathlib import Path; from tests.adapters.video.test_timeline import timeline_of;"
        f"timeline_of(Path({str(source)!r}))"
    )
    root = ROOT
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=root)
    while not processes_in(tmp_path):
        time.sleep(0.05)
    started = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(started, timeout=patience(5))[1]


@pytest.mark.parametrize(
    ("decoder", "file", "codec"),
    [("pyav", "a.mp4", H264), ("decord", "a.webm", VP8), ("ffmpeg", "a.mp4", H264)],
)
def test_a_longer_video_takes_no_more_memory(
    tmp_path: Path, decoder: str, file: str, codec: tuple[str, ...]
) -> None:
    peaks = [
        peak_memory(numbered_video(tmp_path / f"{n}{file}", seconds=n, fps="5", codec=codec), decoder)
        for n in (100, 300)
    ]
    assert peaks[1] < 1.3 * peaks[0]


def peak_memory(source: Path, decoder: str) -> int:
    """The largest memory, in KiB, of the child that decodes `source`."""
    script = (
        "import resource; from pathlib import Path;"
        "from tests.adapters.video.test_timeline import timeline_of;"
        "from tasks.adapters.video.sandbox import fork_server;"
        f"timeline_of(Path({str(source)!r}), decoder={decoder!r}, fps=2);"
        "fork_server.close();"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, check=True)
    return int(done.stdout)


def test_frames_come_in_the_order_asked(tmp_path: Path) -> None:
    timeline = timeline_of(numbered_video(tmp_path / "a.mp4", seconds=4))
    frames = read_frames(timeline, [3, 1, 1, 0, 3])
    assert frames.shape == (5, timeline.height, timeline.width, 3)
    assert [read_number(frame) for frame in frames] == [99, 49, 49, 24, 99]
    assert read_frames(timeline, []).shape == (0, timeline.height, timeline.width, 3)


@pytest.mark.parametrize("tick", [-1, 4])
def test_a_tick_off_the_timeline_is_an_error(tmp_path: Path, tick: int) -> None:
    timeline = timeline_of(numbered_video(tmp_path / "a.mp4", seconds=4))
    with pytest.raises(IndexError, match="timeline of 4 ticks"):
        read_frames(timeline, [0, tick])


def test_frames_that_were_cut_off_are_an_error(tmp_path: Path) -> None:
    timeline = timeline_of(numbered_video(tmp_path / "a.mp4", seconds=4))
    os.truncate(timeline.path, 1000)
    with pytest.raises(EOFError, match="ends before its last frame"):
        read_frames(timeline, [0])
