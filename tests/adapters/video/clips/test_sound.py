"""The sound of clips is as loud as platforms play it, if that is wanted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import beeps_of, cut_here, plain
from tests.media import H264, run_ffmpeg

PINK = "anoisesrc=colour=pink:seed=3:r=48000"
PICTURE = ("-f", "lavfi", "-i", "color=gray:s=64x64:r=10")
CUT = Cut(1.0, 9.0, 2.0)


def with_sound(path: Path, sound: str, *options: str) -> Path:
    run_ffmpeg(*PICTURE, "-f", "lavfi", "-i", sound, "-t", "10", *H264, "-c:a", "flac", *options, path)
    return path


def loudness_of(clip: Path) -> tuple[float, float]:
    """Integrated loudness in LUFS and true peak in dB, as ffmpeg's `ebur128` measures them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", clip, "-vn", "-af", "ebur128=peak=true"]
    said = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=True).stderr
    summary = said[said.rindex("Summary:") :]
    loud, peak = re.search(r"I: +(\S+) LUFS", summary), re.search(r"Peak: +(\S+) dBFS", summary)
    assert loud
    assert peak
    return float(loud[1]), float(peak[1])


@pytest.mark.parametrize(
    "sound",
    [
        f"{PINK}:amplitude=0.2",
        f"{PINK}:amplitude=1",
        f"{PINK}:amplitude=0.2,pan=mono|c0=c0",
        f"{PINK}:amplitude=0.2,pan=5.1|FC=c0|FL=0.5*c0|FR=0.5*c0|BL=0.3*c0|BR=0.3*c0",
        f"{PINK}:amplitude=0.12,volume='if(lt(mod(t,1),0.02),8,1)':eval=frame",  # peaks that allow no gain
    ],
    ids=["quiet", "loud", "mono", "surround", "clicks"],
)
def test_clips_are_as_loud_as_platforms_play_them(sound: str, tmp_path: Path) -> None:
    source = with_sound(tmp_path / "v.mkv", sound)
    loud, peak = loudness_of(cut_here(source, CUT, loudness=True))
    assert loud == pytest.approx(-14, abs=0.7)
    assert peak < -1


def test_loudness_is_left_alone_unless_it_is_wanted(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "v.mkv", f"{PINK}:amplitude=0.2")
    assert loudness_of(cut_here(source, CUT))[0] < -25


def test_silence_and_noise_are_not_made_loud(tmp_path: Path) -> None:
    silent = with_sound(tmp_path / "s.mkv", "anullsrc=r=48000:cl=stereo")
    assert loudness_of(cut_here(silent, CUT, loudness=True))[0] == -70
    noise = with_sound(tmp_path / "n.mkv", f"{PINK}:amplitude=0.005")
    before, after = loudness_of(cut_here(noise, CUT))[0], loudness_of(cut_here(noise, CUT, loudness=True))[0]
    assert after - before == pytest.approx(20, abs=0.7)


def test_the_sound_stays_in_step(tmp_path: Path) -> None:
    clip = cut_here(plain(tmp_path), Cut(13.4, 18.6, 15.0), loudness=True)
    found = [at for at in beeps_of(clip) if at > 0.2]
    assert found == pytest.approx([0.6, 1.6, 2.6, 3.6, 4.6], abs=1 / 25)
