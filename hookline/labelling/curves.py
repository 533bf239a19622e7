"""Curves over the length of a video, such as how many still watch: what they say of each window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.core.tables.labels import Span, nearest_to
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.schemas import CURVES

MIN_COVERED = 0.5
"""How much of a window a curve must cover to say something of it."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Stretches of a video from `start` to `end`, in seconds and in order of time, and the `value` of each.

    `video` is its URI, or what the file calls it, where no video is called so.
    """

    video: str
    start: Floats
    end: Floats
    value: Floats

    def __post_init__(self) -> None:
        """Check that it makes sense.

        Raises:
            ValueError: a value is no number, a stretch ends before it starts, or two overlap.
        """
        for name in ("start", "end", "value"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"a {name} is no number")
        if (self.end < self.start).any() or (self.start[1:] < self.end[:-1]).any():
            at = np.flatnonzero(np.append(self.start[1:] < self.end[:-1], False) | (self.end < self.start))[0]
            raise ValueError(f"what follows {self.start[at]:g} s does not follow it in time")

    def means(self, windows: Sequence[Span]) -> Floats:
        """The mean over each window; NaN where the curve covers too little of it.

        >>> curve = Curve("a", np.array([0.0, 2]), np.array([2.0, 4]), np.array([1.0, 3]))
        >>> curve.means([(0, 4), (1, 3), (3, 9)])
        array([ 2.,  2., nan])
        """
        at = np.stack([self.start, self.end], axis=1).ravel()
        lasts = np.stack([np.zeros(len(self.start)), self.end - self.start], axis=1)
        covered, summed = (np.cumsum(each) for each in (lasts, lasts * self.value[:, None]))
        ends = np.asarray(windows, float).reshape(-1, 2).T
        seconds, total = (np.diff(np.interp(ends, at, each), axis=0)[0] for each in (covered, summed))
        enough = (seconds > 0) & (seconds >= MIN_COVERED * (ends[1] - ends[0]))
        return np.where(enough, total / np.where(enough, seconds, 1), np.nan)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a curve says of the windows of its video: their spans, and a value each.

    Without any, `why` says what is missing, and `nearest` is the window that comes nearest to the curve.
    """

    video: str
    etag: str
    scored_in: str | None
    values: Mapping[Span, float]
    why: str = ""
    nearest: Span | None = None


def over_windows(
    curves: Iterable[Curve], entries: Mapping[str, LibraryEntry], windows: Mapping[str, Sequence[Span]]
) -> Iterator[Drawn]:
    """The mean of each curve over each window of its video."""
    for curve in curves:
        entry, spans = entries.get(curve.video), windows.get(curve.video, ())
        if entry is None or entry.timeline is None:
            yield Drawn(curve.video, "", None, {}, "no run has ranked this video, or several are called so")
            continue
        means = curve.means(spans)
        values = {span: float(mean) for span, mean in zip(spans, means, strict=True) if not np.isnan(mean)}
        nearest = None
        if not values and len(curve.start):
            nearest = nearest_to((float(curve.start[0]), float(curve.end[-1])), spans)
        why = "" if values else "it covers half of no window"
        yield Drawn(curve.video, entry.video.etag, entry.scored_in, values, why, nearest)


def curves_table(drawn: Iterable[Drawn], *, kind: str, imported_at: datetime) -> pa.Table:
    """One row a window, by video and start."""
    rows = [
        {
            "video_uri": each.video,
            "video_etag": each.etag,
            "start": span[0],
            "end": span[1],
            "value": value,
            "kind": kind,
            "scored_in": each.scored_in,
            "imported_at": imported_at,
        }
        for each in sorted(drawn, key=lambda each: each.video)
        for span, value in sorted(each.values.items())
    ]
    return pa.Table.from_pylist(rows, schema=CURVES)
