"""The sound is heard with its picture, whatever clocks, pauses and tracks a file has."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from tasks.adapters.video.decode_child import do_job
from tasks.adapters.video.sound.extract import RATE, write_sound
from tasks.core.errors import VideoRefused
from tasks.core.speech.heard import Heard
from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import cut_here
from tests.adapters.video.sound.beeping import beeping_video, beeps_s, white_pictures_s
from tests.adapters.video.test_timeline import job_for
from tests.media import numbered_video, run_ffmpeg

WRAP_S = 2**33 / 90_000
MILLISECOND = 0.00101
"""Matroska counts whole ones: it may be exactly that."""


def heard(source: Path) -> tuple[npt.NDArray[np.int16], dict[str, Any]]:
    """The sound of a video, and what is known of its timeline."""
    sound = source.with_name("sound.s16")
    found = do_job(replace(job_for(source, frames=str(source.with_name("frames.rgb"))), sound=str(sound)))
    return np.fromfile(sound, np.int16), found


def made(name: str, **how: Any) -> Callable[[Path], Path]:
    return lambda folder: beeping_video(folder / name, **how)


def joined(folder: Path) -> Path:
    """The second part has a clock that starts anew, and sound that starts late."""
    parts = [
        beeping_video(folder / "1.ts", seconds=7),
        beeping_video(folder / "2.ts", seconds=7, sound_at_s=1.7),
    ]
    whole = folder / "v.ts"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    return whole


CASES: dict[str, tuple[Callable[[Path], Path], int]] = {
    "AAC at 44.1 kHz": (made("v.mp4", rate=44_100), 4),
    "Opus": (made("v.mkv", codec="libopus"), 4),
    "MP3": (made("v.mp4", codec="libmp3lame"), 4),
    "5.1": (made("v.mkv", codec="flac", layout="5.1"), 4),
    "late": (made("v.mp4", sound_at_s=1.7), 4),
    "late, in a transport stream": (made("v.ts", sound_at_s=1.7), 4),
    "early": (made("v.mkv", picture_at_s=1.72), 4),
    "from before 0": (made("v.mkv", sound_at_s=-0.8, keep_times=True), 4),
    "from 7 s on": (made("v.mkv", starts_at_s=7, keep_times=True), 4),
    "a pause of 80 ms": (made("v.mkv", pause_s=(5, 5.08)), 4),
    "a pause of 3 s": (made("v.ts", pause_s=(4.5, 7.5)), 3),
    "a pause of 12 s": (made("v.ts", seconds=19, pause_s=(3, 15)), 3),
    "a clock that wraps": (made("v.ts", starts_at_s=round(WRAP_S) - 5), 4),
    "joined transport streams": (joined, 6),
    "shorter than the picture": (made("v.mp4", sound_until_s=5), 2),
    "longer than the picture": (made("v.mp4", sound_until_s=14), 4),
}


@pytest.mark.parametrize(("make", "count"), CASES.values(), ids=CASES)
def test_a_beep_is_heard_with_its_picture_within_a_millisecond(
    make: Callable[[Path], Path], count: int, tmp_path: Path
) -> None:
    source = make(tmp_path)
    sound, found = heard(source)
    assert len(sound) == round(found["duration_s"] * RATE)
    assert "sound_damage" not in found
    white, beeps = white_pictures_s(source), beeps_s(sound)
    assert len(beeps) == count
    assert [min(white, key=lambda shown: abs(shown - at)) for at in beeps] == pytest.approx(
        beeps, abs=MILLISECOND
    )


@pytest.mark.parametrize("drift", [0.005, -0.005, 0.0005])
def test_a_drifting_clock_is_followed_within_20_ms(drift: float, tmp_path: Path) -> None:
    source = beeping_video(tmp_path / "v.mkv", codec="pcm_s16le", drift=drift)
    assert beeps_s(heard(source)[0]) == pytest.approx([at * (1 + drift) for at in (2, 4, 6, 8)], abs=0.02)


def test_a_video_without_sound_has_none(tmp_path: Path) -> None:
    source = numbered_video(tmp_path / "v.mp4", seconds=2)
    found = do_job(replace(job_for(source, frames=str(tmp_path / "f")), sound=str(tmp_path / "sound.s16")))
    assert "sound_damage" not in found
    assert not (tmp_path / "sound.s16").exists()


@pytest.mark.parametrize("marked", [0, 1])
def test_of_several_tracks_the_default_one_is_heard_and_cut(marked: int, tmp_path: Path) -> None:
    numbered_video(tmp_path / "p.mkv", seconds=3)
    tones = [word for hertz in (400, 4000) for word in ("-f", "lavfi", "-t", "3", "-i", f"sine={hertz}")]
    marks = [word for k in (0, 1) for word in (f"-disposition:a:{k}", "default" if k == marked else "0")]
    tracks = ["-map", "0", "-map", "1", "-map", "2", "-c:v", "copy", "-c:a", "aac", *marks]
    source = tmp_path / "v.mkv"
    run_ffmpeg("-i", tmp_path / "p.mkv", *tones, *tracks, source)
    assert hertz_of(heard(source)[0]) == pytest.approx((400, 4000)[marked], rel=0.02)
    clip = tmp_path / "clip.wav"
    run_ffmpeg("-i", cut_here(source, Cut(0, 2, 1)), "-ac", "1", "-ar", RATE, clip)
    assert hertz_of(np.fromfile(clip, np.int16)[100:]) == pytest.approx((400, 4000)[marked], rel=0.02)


def hertz_of(sound: npt.NDArray[np.int16]) -> float:
    second = sound[RATE // 2 : RATE // 2 + RATE]
    return float(np.abs(np.fft.rfft(second)).argmax())


def test_sound_that_cannot_be_decoded_is_silent_and_said(tmp_path: Path) -> None:
    source = beeping_video(tmp_path / "v.mkv", codec="flac")
    data = bytearray(source.read_bytes())
    # A frame of FLAC begins with this sync code; without it the decoder refuses the packet.
    for at in range(len(data) // 2, len(data) - 1):
        if data[at : at + 2] == b"\xff\xf8":
            data[at : at + 2] = b"\0\0"
    source.write_bytes(data)
    sound, found = heard(source)
    assert beeps_s(sound) == pytest.approx([2, 4], abs=0.001)
    assert "s of the sound (flac) cannot be decoded" in found["sound_damage"]


def test_sound_that_no_decoder_opens_is_none_and_said(tmp_path: Path) -> None:
    source = tmp_path / "v.mkv"
    run_ffmpeg("-i", beeping_video(tmp_path / "p.mkv"), "-c:v", "copy", "-c:a", "libvorbis", source)
    source.write_bytes(source.read_bytes().replace(b"vorbis", b"xorbis"))
    found = do_job(replace(job_for(source, frames=str(tmp_path / "f")), sound=str(tmp_path / "sound.s16")))
    assert (found["heard"]["status"], found["heard"]["reason"]) == ("failed", "sound_unreadable")
    assert re.fullmatch(r"[89]\.\d s of the sound \(vorbis\) cannot be decoded\.", found["sound_damage"])
    assert not (tmp_path / "sound.s16").exists()


def test_what_a_decoder_holds_back_is_heard_too(tmp_path: Path) -> None:
    """A stand-in for a decoder that lags behind: PyAV knows no unit for the times of what comes last."""
    last = av.AudioFrame.from_ndarray(np.full((1, RATE), 3000, np.int16), "s16", "mono")
    last.sample_rate, last.pts = RATE, 123
    stream = SimpleNamespace(codec_context=SimpleNamespace(decode=lambda _: [last]))
    path = tmp_path / "sound.s16"
    how: dict[str, Any] = {"time_of": lambda _, time: time, "offset_us": 0, "duration_s": 2.0}
    assert write_sound([], stream, path, **how) == (True, 0.0)
    assert np.fromfile(path, np.int16)[:RATE].tolist() == [3000] * RATE


def test_no_sound_is_worth_its_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'silero_vad'")

    monkeypatch.setattr("tasks.adapters.video.decode_child.speech_probabilities", lost)
    source = beeping_video(tmp_path / "v.mkv")
    found = do_job(replace(job_for(source, frames=str(tmp_path / "f")), sound=str(tmp_path / "sound.s16")))
    assert found["n_ticks"] > 0
    assert found["heard"] == asdict(Heard.failed("sound_unreadable", end_ms=9000))
    assert found["sound_damage"].startswith("The sound cannot be used (ModuleNotFoundError: No module")
    assert not (tmp_path / "sound.s16").exists()


def test_sound_counts_into_the_share_of_scratch(tmp_path: Path) -> None:
    source = beeping_video(tmp_path / "v.mp4")
    silent = job_for(source, frames=str(tmp_path / "frames.rgb"))
    n_bytes = len(do_job(silent)) and (tmp_path / "frames.rgb").stat().st_size
    fits = replace(silent, max_frames_bytes=n_bytes)
    do_job(fits)
    with pytest.raises(VideoRefused, match=r"What is decoded of 'v.mp4' would take .* of scratch space"):
        do_job(replace(fits, sound=str(tmp_path / "sound.s16")))
    assert not (tmp_path / "sound.s16").exists()
