"""Where the window of a crop lies in each shot of a clip: on faces, or else on what moves and stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float64]

GRID = 201
"""Places that are tried for the window, from the left to the right."""
MIN_FACES = 0.2
"""Of the samples of a shot: faces in fewer are taken for mistakes."""
FACE_MARGIN = 0.25
"""What belongs to a face on each side of its box, in widths of it: hair and ears."""
MIDDLE_SD = 0.2
"""Of the width: who films has what matters near the middle, so that what lies elsewhere counts for less."""
MIN_GAIN = 1.3
"""Without faces, the window leaves the middle for a place where so many times more moves and stands out."""
MIN_STEP = 0.04
"""Of the width: by less the window does not move at a change of shot."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen in picture `number` of a clip.

    `faces` has a row a face: its left and right edge as shares of the width, and its area. `motion` is how
    much each column differs from the sample before, None for the first; `saliency` how much it stands out.
    """

    number: int
    faces: npt.NDArray[np.float32]
    motion: Row | None
    saliency: Row


@dataclass(frozen=True, slots=True)
class Place:
    """Where the middle of the window lies from a picture on, from 0 (left) to 1, and what it is there for."""

    first: int
    x: float
    found: str


def places(samples: Sequence[Sample], changes: Sequence[int], *, count: int, share: float) -> list[Place]:
    """The place of a window that has this `share` of the width, for each shot of `count` pictures.

    `changes` are the pictures that begin another shot.
    """
    made: list[Place] = []
    for first, end in pairwise([0, *changes, count]):
        seen = [sample for sample in samples if first <= sample.number < end]
        x, found = _place(seen, share) if seen else (0.5, "centre")
        if made and (not seen or abs(x - made[-1].x) < MIN_STEP):
            x = made[-1].x
        made.append(Place(first, round(x, 3), found))
    return made


def _place(seen: Sequence[Sample], share: float) -> tuple[float, str]:
    middles = np.linspace(share / 2, 1 - share / 2, GRID)
    with_faces = [sample.faces for sample in seen if len(sample.faces)]
    if len(with_faces) >= MIN_FACES * len(seen):
        return _on_faces(with_faces, middles, share), "faces"
    held = _held(seen, middles, share)
    best, middle = int(held.argmax()), GRID // 2
    return (float(middles[best]), "motion") if held[best] > MIN_GAIN * held[middle] else (0.5, "centre")


def _on_faces(faces: Sequence[npt.NDArray[np.float32]], middles: Row, share: float) -> float:
    """The place that holds most of the faces over all samples; a larger face of a sample counts for more."""
    held, main = np.zeros(len(middles)), []
    for left, right, area in (np.asarray(each, np.float64).T for each in faces):
        margin = FACE_MARGIN * (right - left)
        left, right = left - margin, right + margin
        inside = np.minimum(right, middles[:, None] + share / 2) - np.maximum(
            left, middles[:, None] - share / 2
        )
        held += (np.clip(inside, 0, None) / (right - left)) @ (area / area.max())
        main.append((left + right)[area.argmax()] / 2)
    # Of places that hold as much, the one that has the main faces in its middle.
    near = np.abs(middles - np.median(main))
    return float(middles[np.lexsort((near, -held.round(3)))[0]])


def _held(seen: Sequence[Sample], middles: Row, share: float) -> Row:
    """How much of what moves and stands out each place holds, both alike, near the middle more."""
    kinds = [[each.saliency for each in seen], [each.motion for each in seen[1:] if each.motion is not None]]
    held = np.zeros(len(middles))
    for rows in kinds:
        # A camera that moves changes all columns: what is less than the half of them have does not count.
        row = np.mean(rows, axis=0) if rows else np.zeros(1)
        row = np.clip(row - np.median(row), 0, None)
        if total := row.sum():
            edges = np.concatenate([[0], row.cumsum()]) / total
            at = np.linspace(0, 1, len(edges))
            held += np.interp(middles + share / 2, at, edges) - np.interp(middles - share / 2, at, edges)
    return held * np.exp(-(((middles - 0.5) / MIDDLE_SD) ** 2) / 2)
