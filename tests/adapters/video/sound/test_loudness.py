"""Loudness is that of EBU R128: the signals of its compliance test read what they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.adapters.video.sound.loudness import momentary_loudness
from tests.adapters.video.sound.voice import RATE


def tone(seconds: float, *, dbfs: float) -> np.ndarray:
    times = np.arange(int(seconds * RATE)) / RATE
    return (32767 * 10 ** (dbfs / 20) * np.sin(2 * np.pi * 1000 * times)).astype(np.int16)


@pytest.mark.parametrize("dbfs", [-23, -33])
def test_a_tone_in_both_loudspeakers_reads_as_its_level(dbfs: float, tmp_path: Path) -> None:
    """EBU Tech 3341, minimum requirements, signals 1 and 2."""
    tone(2, dbfs=dbfs).tofile(tmp_path / "s")
    loudness = momentary_loudness(tmp_path / "s")
    assert len(loudness) == 20
    assert loudness[3:] == pytest.approx([dbfs] * 17, abs=0.1)


def test_each_number_is_of_the_400_ms_before(tmp_path: Path) -> None:
    np.concatenate([np.zeros(RATE, np.int16), tone(1, dbfs=-23), np.zeros(RATE, np.int16)]).tofile(
        tmp_path / "s"
    )
    loudness = momentary_loudness(tmp_path / "s")
    assert loudness[:10] == [-70] * 10
    assert loudness[10:14] == pytest.approx([-29, -26, -24.2, -23], abs=0.2)
    assert loudness[20] == pytest.approx(-24.2, abs=0.2)
    assert loudness[24:] == [-70] * 6
