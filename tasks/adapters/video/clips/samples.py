"""Two pictures of each second of a clip, looked at small, and where shots change."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.adapters.video.clips.faces import FindFaces, face_finder
from tasks.adapters.video.clips.places import Row, Sample
from tasks.adapters.video.clips.program import pictures_from, quiet
from tasks.adapters.video.clips.shots import CHANGE_SCORE
from tasks.adapters.video.clips.source import SourceInfo
from tasks.core.views.pictures import Cut

PER_S = 2
LONG_SIDE = 640
"""In pixels. YuNet finds faces of ten and more."""
MIN_SHOT_S = 0.5
"""What is shown for less belongs to the shot before: the crop does not jump for a flash."""
SMALL = 64
"""Columns and rows in which is looked for what moves and stands out."""
SPREAD = 2.5
"""Of what stands out, in columns."""


def look_through(
    source: Path, cut: Cut, info: SourceInfo, *, count: int, folder: Path
) -> tuple[list[Sample], list[int]]:
    """The samples of a cut of `count` pictures, and which pictures begin another shot.

    Raises `DecodeFailed` if it cannot be decoded, or what finds faces is not installed.
    """
    shrunk = min(1.0, LONG_SIDE / max(info.size))
    width, height = (max(2, round(side * shrunk / 2) * 2) for side in info.size)
    find_faces = face_finder(width, height)
    step, changes = max(1, round(info.rate / PER_S)), folder / "changes.txt"
    picture = info.upright(info.pictures(info.opened(source, start_s=cut.start_s), start_s=cut.start_s))
    picture = picture.filter("scale", width, height, flags="bilinear").filter("trim", end_frame=count)
    picture = picture.filter("scdet", threshold=CHANGE_SCORE)
    picture = picture.filter("metadata", mode="print", key="lavfi.scd.time", file=str(changes))
    picture = picture.filter("select", f"not(mod(n,{step}))")
    output = ffmpeg.output(picture, "pipe:1", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough")
    samples: list[Sample] = []
    before = None
    for number, shown in enumerate(pictures_from(quiet(output), (height, width, 3))):
        grey = np.asarray(
            Image.fromarray(shown).convert("L").resize((SMALL, SMALL), Image.Resampling.BOX), float
        )
        motion = None if before is None else np.abs(grey - before).mean(axis=0)
        samples.append(Sample(number * step, _faces(shown, find_faces), motion, saliency(grey)))
        before = grey
    return samples, _long_enough(changes, count=count, least=round(MIN_SHOT_S * info.rate))


def saliency(grey: Row) -> Row:
    """How much each column of a small picture stands out: its spectral residual (Hou and Zhang 2007)."""
    spectrum = np.fft.fft2(grey)
    amplitude = np.log(np.abs(spectrum) + 1e-9)
    around = [np.roll(amplitude, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    residual = amplitude - np.mean(around, axis=0)
    columns = (np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2).mean(axis=0)
    at = np.arange(-3 * SPREAD, 3 * SPREAD + 1)
    weights = np.exp(-((at / SPREAD) ** 2) / 2)
    spread: Row = np.convolve(columns, weights / weights.sum(), mode="same")
    return spread


def _faces(shown: npt.NDArray[np.uint8], find_faces: FindFaces) -> npt.NDArray[np.float32]:
    """A row a face: its left and right edge as shares of the width, and its area."""
    boxes = find_faces(np.ascontiguousarray(shown[..., ::-1]))
    left, width, height = boxes[:, 0], boxes[:, 2], boxes[:, 3]
    return np.stack([left / shown.shape[1], (left + width) / shown.shape[1], width * height], axis=1)


def _long_enough(changes: Path, *, count: int, least: int) -> list[int]:
    """The pictures that begin another shot, of those that `scdet` names in a file, without short shots."""
    named = [
        int(line.split()[0][6:]) for line in changes.read_text().splitlines() if line.startswith("frame:")
    ]
    found: list[int] = []
    for number, following in pairwise([*named, count]):
        if number - (found[-1] if found else 0) >= least and following - number >= least:
            found.append(number)
    return found
