"""Speech is found where it is, by the very numbers of Silero's own code, and torch keeps its threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.adapters.video.sound.vad import BLOCK_FRAMES, FRAME_MS, FRAME_SAMPLES, speech_probabilities
from tasks.core.speech.spans import speech_spans
from tasks.core.views.pictures import VAD_FRAME_MS
from tests.adapters.video.sound.voice import RATE, voice


@pytest.fixture
def two_threads() -> Iterator[None]:
    """What imports the package of Silero sets them to one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def file_of(sound: np.ndarray, folder: Path) -> Path:
    path = folder / "sound.s16"
    sound.tofile(path)
    return path


def test_speech_is_found_where_somebody_speaks(tmp_path: Path) -> None:
    sound = np.zeros(9 * RATE, np.int16)
    sound[3 * RATE : 6 * RATE] = voice(3)
    probabilities = speech_probabilities(file_of(sound, tmp_path))
    spans = speech_spans(probabilities.tolist(), frame_ms=FRAME_MS, end_ms=9000, threshold=0.4)
    assert [spans[0][0], spans[-1][1]] == pytest.approx([3000, 6000], abs=150)


def test_a_frame_is_as_long_as_the_ends_of_clips_take_it_to_be() -> None:
    assert FRAME_MS == 1000 * FRAME_SAMPLES // RATE == VAD_FRAME_MS


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "clicks"])
def test_what_is_no_speech_is_none(kind: str, tmp_path: Path) -> None:
    times = np.arange(20 * RATE) / RATE
    sounds = {
        "silence": np.zeros(len(times)),
        "noise": np.random.default_rng(0).normal(0, 3000, len(times)),
        "tone": 9000 * np.sin(2 * np.pi * 440 * times),
        "clicks": 20_000.0 * (np.arange(len(times)) % 8000 == 0),
    }
    assert speech_probabilities(file_of(sounds[kind].astype(np.int16), tmp_path)).max() < 0.4


def test_its_numbers_are_those_of_the_package_over_several_blocks(tmp_path: Path, two_threads: None) -> None:
    import silero_vad

    sound = np.concatenate([voice(4), np.zeros(BLOCK_FRAMES * FRAME_SAMPLES, np.int16), voice(3)])[:-100]
    theirs = silero_vad.load_silero_vad(sequence=True).audio_forward(sound.astype(np.float32) / 32768)
    assert np.array_equal(speech_probabilities(file_of(sound, tmp_path)), theirs)


def test_threads_of_torch_stay_as_they_are(tmp_path: Path, two_threads: None) -> None:
    imported = set(sys.modules)
    speech_probabilities(file_of(voice(1), tmp_path))
    assert torch.get_num_threads() == 2
    assert "silero_vad" not in set(sys.modules) - imported


def test_two_threads_hear_what_one_does(tmp_path: Path, two_threads: None) -> None:
    """Silero's other model keeps a state, which two threads mix up."""
    sounds = [voice(3), np.concatenate([np.zeros(RATE, np.int16), voice(2)])]
    for number, sound in enumerate(sounds):
        sound.tofile(tmp_path / str(number))
    files = [tmp_path / str(number) for number in (0, 1)] * 3
    alone = [speech_probabilities(file) for file in files[:2]] * 3
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(speech_probabilities, files))
    assert all(map(np.array_equal, together, alone))
