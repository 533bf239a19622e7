"""What the probe says of files before they are decoded: usable, or why not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from tasks.adapters.video.packet_times import PacketTimes
from tasks.adapters.video.probe import probe
from tasks.core.errors import VideoRefused
from tests.media import (
    cut_short,
    numbered_video,
    playlist,
    run_ffmpeg,
    sound_only,
    sound_with_cover,
    still_image,
)

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n"
DASH = '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>'
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
KEY = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a" * 32)


def written(content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


def renamed(make: Callable[[Path], Path], name: str) -> Callable[[Path], object]:
    """A file of one format under the name of another."""
    return lambda path: make(path.with_name(name)).rename(path)


def without_index(path: Path) -> None:
    cut_short(numbered_video(path.with_name("whole.mp4"), seconds=4), path, fraction=0.7)


def encrypted(path: Path) -> None:
    whole = numbered_video(path.with_name("whole.mp4"), seconds=1)
    run_ffmpeg("-i", whole, "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", *KEY, path)


def header_only(path: Path) -> None:
    whole = numbered_video(path.with_name("whole.mp4"), seconds=1)
    run_ffmpeg("-i", whole, "-c", "copy", "-movflags", "empty_moov+default_base_moof", path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moof") - 4])


def huge(path: Path) -> None:
    picture = ("-f", "lavfi", "-i", "color=size=6400x6400:rate=1", "-frames:v", "1")
    run_ffmpeg(*picture, "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", path)


def concat_playlist(path: Path) -> None:
    playlist(path, neighbour=numbered_video(path.with_name("neighbour.mp4"), seconds=1))


REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "nothing": (written(b""), "empty", "0 bytes"),
    "noise": (written(bytes(range(128, 256)) * 90), "unreadable", "11,520 bytes"),
    "text": (written("moments " * 900), "not_a_video", "holds text"),
    "web page": (written("<!doctype html><title>Login</title>"), "not_a_video", "web page"),
    "svg": (written("<svg xmlns='http://www.w3.org/2000/svg'/>"), "not_a_video", "holds text"),
    "gzip": (written(gzip.compress(b"<svg/>")), "not_a_video", "gzip"),
    "ffconcat": (concat_playlist, "playlist", "names other files"),
    "HLS": (written(HLS), "playlist", "names other files"),
    "DASH": (written(DASH), "playlist", "names other files"),
    "SDP": (written(SDP), "playlist", "names other files"),
    "PNG": (renamed(still_image, "still.png"), "still_image", "single picture"),
    "JPEG": (renamed(still_image, "still.jpg"), "still_image", "single picture"),
    "GIF": (renamed(still_image, "still.gif"), "unsupported_codec", "Convert it"),
    "MP3": (renamed(sound_only, "sound.mp3"), "no_video_stream", "only sound"),
    "WAV": (renamed(sound_only, "sound.wav"), "no_video_stream", "only sound"),
    "sound in MP4": (sound_only, "no_video_stream", "no picture"),
    "sound with a cover": (renamed(sound_with_cover, "sound.m4a"), "no_video_stream", "cover picture"),
    "MP4 without its index": (without_index, "truncated", "Upload it again"),
    "MP4 of a header only": (header_only, "no_frames", "0 frames"),
    "encrypted MP4": (encrypted, "encrypted", "DRM"),
    "41 million pixels": (huge, "too_many_pixels", "6400 x 6400"),
}


@pytest.mark.parametrize(("make", "reason", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_video_is_refused_with_its_reason(
    tmp_path: Path, make: Callable[[Path], object], reason: str, words: str
) -> None:
    make(tmp_path / "a.mp4")
    with pytest.raises(VideoRefused, match=words) as refused:
        probe(tmp_path / "a.mp4", name="holiday.mp4")
    assert (refused.value.stage, refused.value.reason) == ("probe", reason)
    assert "'holiday.mp4'" in str(refused.value)


def test_a_video_is_described(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", seconds=4, filters="setsar=3/2", sound_seconds=6)
    found = probe(path, name="a.mp4")
    assert (found.codec, found.width, found.height) == ("h264", 240, 96)
    assert (found.quarter_turns, found.offset_us, found.damage) == (0, 0, None)
    assert (len(found.pts), found.in_order, float(found.end_s)) == (100, True, 4.0)
    assert [found.n_ticks(fps) for fps in (1, 2, 30)] == [4, 8, 120]


def test_the_name_of_the_file_does_not_matter(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mkv", seconds=1).rename(tmp_path / "source")
    assert probe(path, name="a.mp4").container == "matroska,webm"


class Packet:
    """A video packet with times in hundredths of a second."""

    is_discard = False
    pos, size = 0, 100

    def __init__(self, time: int, duration: int = 4) -> None:
        self.pts = self.dts = time
        self.duration = duration


@pytest.mark.parametrize(
    ("times", "duration", "container", "end_s"),
    [
        ([0, 4, 8], 4, "avi", "0.12"),
        ([0, 4, 8], 0, "avi", "0.12"),
        ([0], 0, "avi", "0"),
        ([0, 4, 8, 2000], 4, "avi", "20.04"),
        ([0, 4, 8, 2000], 4, "mpegts", "0.16"),
        ([0, 4, 8, 500], 4, "mpegts", "5.04"),
        ([100, 104, 0, 4], 4, "mpegts", "1.16"),
        ([100, 104, 0, 4], 4, "flv", "1.16"),
        ([0, 4, 8, 2000], 4, "flv", "20.04"),
    ],
)
def test_the_end_is_that_of_the_last_picture(
    times: list[int], duration: int, container: str, end_s: str
) -> None:
    packets = PacketTimes(Fraction(1, 100), container=container)
    for time in times:
        packets.add(Packet(time, duration))
    assert packets.end_s(0) == Fraction(end_s)


def test_a_clock_that_starts_anew_with_every_picture_fits_an_argument_of_ffmpeg() -> None:
    """Linux allows 128 KiB, MAX_ARG_STRLEN."""
    packets = PacketTimes(Fraction(1, 90_000), container="mpegts")
    for number in range(5000):
        packets.add(Packet(10**6 * (5000 - number)))
    assert 20_000 < len(packets.clock.bitstream_filter()) < 128 * 1024
