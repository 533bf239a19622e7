"""The windows nearest to one by the cosine of their embeddings, found while rows pass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Float = TypeVar("Float", np.float32, np.float64)

NEEDED = ("video_uri", "start", "end", "videomae_score", "embedding")
"""The columns of `windows` that are needed."""

SAME_MOMENT = 0.5
"""Windows of a video that share more than this part of the shorter one show the same moment."""

DECIMALS = 6
"""To which cosines are rounded: in which order numbers are added up does not matter then."""


@dataclass(frozen=True, slots=True)
class NearMoment:
    """A window, and the cosine of its embedding and the one that is searched for."""

    similarity: float
    video_uri: str
    start: float
    end: float
    videomae_score: int

    def shows_what(self, other: NearMoment) -> bool:
        """Whether both show the same moment of the same video."""
        shared = min(self.end, other.end) - max(self.start, other.start)
        shorter = min(self.end - self.start, other.end - other.start)
        return self.video_uri == other.video_uri and shared > SAME_MOMENT * shorter


class Nearest:
    """The moments nearest to a window, the nearest first: of windows that show the same moment one."""

    def __init__(self, window: pa.Table, *, count: int) -> None:
        """`window` is one row with the columns that are `NEEDED`."""
        (self._vector,) = unit_vectors(embeddings_of(window))
        (self.window,) = moments(window, np.array([math.inf]))
        self._count = count
        self.found: list[NearMoment] = []

    def add(self, windows: pa.Table) -> None:
        """Look at more windows: all of each video at once."""
        if not len(windows):
            return
        similarity = np.round(unit_vectors(embeddings_of(windows)) @ self._vector, DECIMALS)
        full = len(self.found) == self._count
        near = similarity >= (self.found[-1].similarity if full else -math.inf)
        more = moments(windows.select(NEEDED[:-1]).filter(pa.array(near)), similarity[near])
        order = sorted(
            [*self.found, *more], key=lambda each: (-each.similarity, each.video_uri, each.start, each.end)
        )
        self.found = apart([self.window, *order])[1 : self._count + 1]


def apart(moments: Iterable[NearMoment]) -> list[NearMoment]:
    """Those that show no moment which one before them shows."""
    kept: dict[str, list[NearMoment]] = {}
    found = []
    for each in moments:
        of_video = kept.setdefault(each.video_uri, [])
        if not any(each.shows_what(other) for other in of_video):
            of_video.append(each)
            found.append(each)
    return found


def unit_vectors(vectors: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Vectors, a row each, at length 1, in their precision; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), vectors.dtype)


def embeddings_of(windows: pa.Table) -> npt.NDArray[np.float32]:
    """The embeddings of some windows, a row each; there is at least one."""
    values = pc.list_flatten(windows["embedding"]).to_numpy()
    return np.asarray(values.reshape(len(windows), -1), np.float32)


def moments(windows: pa.Table, similarity: npt.NDArray[np.floating]) -> list[NearMoment]:
    """Some windows, each with its similarity."""
    rows = windows.select(NEEDED[:-1]).to_pylist()
    return [NearMoment(float(cosine), **row) for cosine, row in zip(similarity, rows, strict=True)]
