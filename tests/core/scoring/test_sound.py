"""What is heard in a window: loudness with its gates, bursts and the silence before them, share of speech."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.core.scoring.sound import SoundMeter


def heard(*levels: tuple[float, float], speech: tuple[tuple[int, int], ...] = ()) -> SoundMeter:
    """A sound of pairs: how many seconds it has which loudness."""
    steps = [level for seconds, level in levels for _ in range(round(seconds * 10))]
    return SoundMeter(speech, np.array(steps, np.float32))


def test_the_loudness_of_a_window_is_its_own() -> None:
    sound = heard((10, -20), (10, -30))
    assert sound.between(0, 10).loudness == -20
    assert sound.between(10.4, 20).loudness == -30
    assert sound.between(10.4, 20).loudness_peak == -30
    assert sound.between(5, 15).loudness_peak == -20


def test_pauses_do_not_make_a_talk_less_loud() -> None:
    """EBU Tech 3341, signal 3: 10 s of -36 LUFS, 60 s of -23, 10 s of -36 are -23 together."""
    assert heard((10, -36), (60, -23), (10, -36)).between(0, 80).loudness == pytest.approx(-23, abs=0.1)


def test_silence_is_minus_70() -> None:
    silence = heard((10, -70)).between(0, 10)
    assert (silence.loudness, silence.loudness_peak, silence.bursts) == (-70, -70, 0)
    assert silence.silence_before_burst is None


@pytest.mark.parametrize(
    ("levels", "bursts", "silence"),
    [
        ([(5, -30), (5, -19)], 1, 0.0),
        ([(5, -30), (5, -21)], 0, None),  # less than 10 LU louder
        ([(5, -70), (5, -41)], 0, None),  # hardly audible
        ([(4, -70), (6, -20)], 1, 4.3),
        ([(4, -20), (2, -70), (4, -20)], 1, 2.3),  # 20 silent blocks of 400 ms
        ([(4, -20), (0.8, -70), (4, -20), (3, -70), (4, -20)], 1, 3.3),  # first a pause in a sentence
        ([(3, -70), (0.4, -20), (6, -70), (0.4, -20), (3, -70)], 2, 6.3),
        ([(10, -20)], 0, None),  # loud from the first picture on
    ],
)
def test_bursts_and_the_silence_before_them(
    levels: list[tuple[float, float]], bursts: int, silence: float | None
) -> None:
    found = heard(*levels).between(0, sum(seconds for seconds, _ in levels))
    assert (found.bursts, found.silence_before_burst) == (bursts, silence)


def test_a_burst_counts_in_the_windows_that_hear_it_set_in() -> None:
    sound = heard((5, -70), (10, -20))
    assert [sound.between(start, start + 3).bursts for start in (0, 2, 3, 5, 6)] == [0, 0, 1, 1, 0]


def test_speech_counts_as_far_as_it_lies_in_the_window() -> None:
    sound = heard((20, -30), speech=((1000, 3000), (4500, 9000), (19_000, 20_000)))
    assert sound.between(0, 10).speech_ratio == 0.65
    assert sound.between(2, 5).speech_ratio == 0.5
    assert sound.between(10, 19).speech_ratio == 0
    assert heard((9, -30)).between(0, 9).speech_ratio == 0
