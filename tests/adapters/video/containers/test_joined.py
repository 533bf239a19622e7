"""Of recordings joined by appending their bytes, what is not read is named; what is no recording is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import beeps_of, cut_here, pictures_of, with_beeps
from tests.adapters.video.test_timeline import B_FRAMES, MPEG4, VP8, decoded_here, numbers_of, timeline_of
from tests.media import numbered_video, run_ffmpeg

RATE = 10
FIRST_S, SECOND_S = 6, 4
JOINTS_S = (6, 10)
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-r", "25")
FRAGMENTED = ("-movflags", "frag_keyframe+empty_moov")
COPY = ("-c", "copy")

CONTAINERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "FLV": ("flv", COPY),
    "transport stream": ("ts", COPY),
    "program stream": ("mpg", (*MPEG2, "-c:a", "mp2")),
    "AVI": ("avi", (*MPEG4, "-c:a", "mp3")),
    "MP4": ("mp4", COPY),
    "MP4, index in front": ("mp4", (*COPY, "-movflags", "faststart")),
    "MP4 in fragments": ("mp4", (*COPY, *FRAGMENTED)),
    "MOV": ("mov", COPY),
    "Matroska": ("mkv", COPY),
    "Matroska, live": ("mkv", (*COPY, "-live", "1")),
    "WebM": ("webm", (*VP8, "-c:a", "libopus")),
    "WebM, live": ("webm", (*VP8, "-c:a", "libopus", "-live", "1")),
    "WMV": ("wmv", ("-c:v", "wmv2", "-c:a", "wmav2")),
    "MXF": ("mxf", (*MPEG2, "-c:a", "pcm_s16le", "-ar", "48000")),
    "Ogg": ("ogv", ("-c:v", "libtheora", "-c:a", "libvorbis")),
}
READ_ON = {"FLV", "transport stream", "program stream", "AVI"}
"""Containers of which players show every part."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two recordings that beep with every second, of 6 and of 4 s."""
    folder = tmp_path_factory.mktemp("recordings")
    made = []
    for name, seconds in (("first", FIRST_S), ("second", SECOND_S)):
        picture = numbered_video(folder / f"{name}_p.mkv", seconds=seconds, fps=str(RATE), codec=B_FRAMES)
        made.append(with_beeps(picture, folder / f"{name}.mkv", seconds=seconds))
    return made[0], made[1]


def as_(container: str, recording: Path, folder: Path) -> bytes:
    suffix, options = CONTAINERS[container]
    path = folder / f"{recording.stem}.{suffix}"
    run_ffmpeg("-i", recording, *options, path)
    return path.read_bytes()


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_players_show_is_ranked_and_the_rest_is_named(
    container: str, recordings: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = (as_(container, recording, tmp_path) for recording in recordings)
    joined = tmp_path / f"v.{CONTAINERS[container][0]}"
    joined.write_bytes(first + second + second)
    timeline = decoded_here(joined)
    assert timeline.damage is None
    parts_s = [FIRST_S, *((SECOND_S, SECOND_S) if container in READ_ON else ())]
    assert timeline.duration_s == pytest.approx(sum(parts_s), abs=0.3)
    expected = [second * RATE for part_s in parts_s for second in range(part_s)]
    for tick, number in enumerate(numbers_of(timeline)[: len(expected)]):
        assert tick in JOINTS_S or expected[tick] - 2 <= number <= expected[tick] + RATE, tick
    if container in READ_ON:
        assert timeline.unused is None
    else:
        assert timeline.unused
        assert f"its {2 * len(second):,} bytes are not used" in timeline.unused
    begin_s = sum(parts_s) - 5
    clip = cut_here(joined, Cut(begin_s, sum(parts_s) - 0.5, begin_s))
    for time_s, number in pictures_of(clip):
        tick, into_s = divmod(begin_s + time_s, 1)
        joint = any(abs(begin_s + time_s - joint_s) < 0.2 for joint_s in JOINTS_S)
        assert joint or number == pytest.approx(expected[int(tick)] + into_s * RATE, abs=3), time_s
    assert [at for at in beeps_of(clip) if 0.5 < at < 4.4] == pytest.approx([1, 2, 3, 4], abs=0.25)


ENDINGS = {
    "an ID3v1 tag": b"TAG".ljust(128, b"\0"),
    "zeros": bytes(100_000),
    "a word that begins boxes": b"ftyp" * 1000,
    "noise": bytes(range(256)) * 300,
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("container", ["MP4", "Matroska, live", "FLV", "WMV", "Ogg", "transport stream"])
def test_what_is_no_recording_is_not_called_one(
    container: str, ending: bytes, recordings: tuple[Path, Path], tmp_path: Path
) -> None:
    video = tmp_path / f"v.{CONTAINERS[container][0]}"
    video.write_bytes(as_(container, recordings[1], tmp_path) + ending)
    timeline = decoded_here(video)
    assert (timeline.unused, timeline.damage) == (None, None)
    assert timeline.duration_s == pytest.approx(SECOND_S, abs=0.3)


def test_a_recording_behind_zeros_is_named(recordings: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (as_("MP4", recording, tmp_path) for recording in recordings)
    (tmp_path / "v.mp4").write_bytes(first + bytes(2_000_000) + second)
    unused = decoded_here(tmp_path / "v.mp4").unused
    assert unused
    assert f"its {len(second):,} bytes" in unused


def test_a_recording_of_another_format_is_named(recordings: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = as_("MP4", recordings[0], tmp_path), as_("FLV", recordings[1], tmp_path)
    (tmp_path / "v.mp4").write_bytes(first + second)
    unused = decoded_here(tmp_path / "v.mp4").unused
    assert unused
    assert f"its {len(second):,} bytes" in unused


def test_a_recording_behind_one_that_breaks_off_is_named(
    recordings: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = (as_("Matroska", recording, tmp_path) for recording in recordings)
    (tmp_path / "v.mkv").write_bytes(first[: len(first) // 2] + second)
    timeline = decoded_here(tmp_path / "v.mkv")
    assert timeline.damage
    assert timeline.unused
    assert f"its {len(second):,} bytes" in timeline.unused


def test_an_flv_recording_that_breaks_off_does_not_hide_the_next(
    recordings: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = (as_("FLV", recording, tmp_path) for recording in recordings)
    (tmp_path / "v.flv").write_bytes(first[: len(first) // 2] + second)
    timeline = decoded_here(tmp_path / "v.flv")
    assert timeline.duration_s == pytest.approx(FIRST_S / 2 + SECOND_S, abs=0.6)
    assert numbers_of(timeline)[-2:] == pytest.approx([(SECOND_S - 1) * RATE - 1] * 2, abs=RATE + 1)


@pytest.mark.parametrize(("parts", "read"), [(190, 190), (210, 200)])
def test_of_very_many_flv_recordings_the_first_200_are_read(tmp_path: Path, parts: int, read: int) -> None:
    part = numbered_video(tmp_path / "p.flv", seconds=1, fps="5", size=(96, 64)).read_bytes()
    (tmp_path / "v.flv").write_bytes(part * parts)
    timeline = timeline_of(tmp_path / "v.flv")
    assert timeline.duration_s == pytest.approx(read, abs=0.1)
    assert numbers_of(timeline) == [4] * read
    assert bool(timeline.unused) == (parts > read)
    if timeline.unused:
        assert f"its {(parts - read) * len(part) - 13:,} bytes" in timeline.unused


def test_a_recording_whose_media_reach_to_the_end_of_the_file_ends_where_another_begins(
    recordings: tuple[Path, Path], tmp_path: Path
) -> None:
    """ISO/IEC 14496-12, 4.2: the last box of a file may say 0 for its length."""
    first, second = (as_("MP4, index in front", recording, tmp_path) for recording in recordings)
    at = first.index(b"mdat") - 4
    (tmp_path / "v.mp4").write_bytes(first[:at] + bytes(4) + first[at + 4 :] + second)
    timeline = decoded_here(tmp_path / "v.mp4")
    assert timeline.n_ticks == FIRST_S
    assert timeline.unused
    assert f"its {len(second):,} bytes" in timeline.unused


@pytest.mark.parametrize("service", ["1", "7"])
def test_a_recording_of_another_encoder_in_a_transport_stream_is_named(
    recordings: tuple[Path, Path], tmp_path: Path, service: str
) -> None:
    """Its packets have other ids, and FFmpeg reads them as streams that were not there."""
    ids = ("-mpegts_start_pid", "0x200", "-mpegts_pmt_start_pid", "0x1200", "-mpegts_service_id", service)
    first = as_("transport stream", recordings[0], tmp_path)
    run_ffmpeg("-i", recordings[1], *COPY, *ids, tmp_path / "other.ts")
    second = (tmp_path / "other.ts").read_bytes()
    (tmp_path / "v.ts").write_bytes(first + second)
    timeline = decoded_here(tmp_path / "v.ts")
    assert timeline.duration_s == pytest.approx(FIRST_S, abs=0.1)
    assert timeline.unused
    said = int(re.search(r"its ([\d,]+) bytes", timeline.unused)[1].replace(",", ""))
    assert said == pytest.approx(len(second), abs=5000)
