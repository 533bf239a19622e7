"""A voice without words, made of harmonics that move through the formants of five vowels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.media import run_ffmpeg

RATE = 16_000
VOWELS = np.array(
    [(730, 1090, 2440), (300, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
)
"""The first three formants in Hz, of an adult man (Peterson and Barney, 1952)."""
WIDTHS, STRENGTHS = (70, 90, 120), (1, 0.6, 0.3)


def voice(seconds: float) -> npt.NDArray[np.int16]:
    """Somebody babbles: mono, 16 kHz. Silero's model takes all of it for speech."""
    times = np.arange(int(seconds * RATE)) / RATE
    pitch = 130 + 25 * np.sin(2 * np.pi * 0.6 * times) + 6 * np.sin(2 * np.pi * 2.1 * times)
    turns = np.cumsum(pitch) / RATE
    knots = np.arange(0, seconds + 0.2, 0.15)
    spoken = VOWELS[np.arange(len(knots)) * 3 % len(VOWELS)]
    formants = [np.interp(times, knots, spoken[:, number]) for number in range(3)]
    sound = np.zeros(len(times))
    for harmonic in range(1, 30):
        gain = sum(
            strength / (1 + ((harmonic * pitch - formant) / width) ** 2)
            for formant, width, strength in zip(formants, WIDTHS, STRENGTHS, strict=True)
        )
        sound += gain / harmonic**0.5 * np.sin(2 * np.pi * harmonic * turns)
    syllables = np.clip(np.sin(2 * np.pi * 3.7 * times) + 0.75, 0, 1) ** 0.7
    hiss = np.diff(np.random.default_rng(0).normal(0, 1, len(times)), prepend=0)
    sound = sound * syllables + 0.04 * np.abs(sound).max() * hiss * (1 - syllables)
    return (sound / np.abs(sound).max() * 12_000).astype(np.int16)


def dubbed(video: Path, *talk: tuple[float, float]) -> Path:
    """The same file, in which somebody babbles from and to these seconds, up to the last of them."""
    sound = np.zeros(int(talk[-1][1] * RATE), np.int16)
    for start, end in talk:
        part = sound[int(start * RATE) : int(end * RATE)]
        part[:] = voice(end - start + 0.1)[: len(part)]
    whole = video.with_name(f"dubbed-{video.name}")
    raw = ("-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "-")
    run_ffmpeg("-i", video, *raw, "-c:v", "copy", "-c:a", "aac", whole, stdin=sound.tobytes())
    return whole.replace(video)
