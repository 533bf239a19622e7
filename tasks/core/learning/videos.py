"""What the nights know of one video: its windows, their scores, and what the deep model said of some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records import WindowFeatures
from tasks.core.scoring.fast_scores import salience

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEEDED = ("video_uri", "video_etag", "start", "end", "videomae_score", "fast_kind", "is_candidate", "score")
SINCE_4 = ("deep_expected_score", "pack_rank", "audited", "audit_probability")
FEATURES = ("embedding", "change")
NUMBERS = ("start", "end", "videomae_score", "score", "deep_expected_score", "pack_rank", "audit_probability")


@dataclass(frozen=True, slots=True)
class ScoredVideoRows:
    """The windows of one version of a video, as a run left them, by start.

    `deep` is the judge's expected score, NaN where it was not asked or gave no answer; `combined` the score
    that ranks, NaN of windows that are no candidates; `top_n` of them are ranked. `probability` is how likely
    a window was to be judged: 1 of candidates, NaN of those that nobody drew. `in_packing` are the windows
    that would be candidates if there were enough of them. `salience` is the fast score without a head, None
    where nobody can tell; `features` are there where they were asked for, and stored.
    """

    uri: str
    etag: str
    run_id: str
    top_n: int
    fast_kind: str
    start: Floats
    end: Floats
    fast: Floats
    deep: Floats
    combined: Floats
    is_candidate: Flags
    in_packing: Flags
    audited: Flags
    probability: Floats
    salience: Floats | None = None
    features: WindowFeatures | None = None

    @property
    def judged(self) -> Flags:
        """The windows that the deep model answered about."""
        return ~np.isnan(self.deep)

    @property
    def is_cut(self) -> bool:
        """Whether the fast score kept any window from the deep model."""
        return self.others > 0

    @property
    def others(self) -> int:
        """How many windows the fast score kept from the deep model: what is audited is drawn from them."""
        return int((self.in_packing & ~self.is_candidate).sum())

    def weights(self) -> Floats:
        """For how many windows of the packing each judged one stands; NaN of the others."""
        return np.where(self.judged, 1 / self.probability, np.nan)


def rows_by_video(table: pa.Table, *, run_id: str, top_n: int) -> Iterator[ScoredVideoRows]:
    """The videos of a part of a `windows` table, where the rows of a video lie together."""
    numbers = {name: _numbers(table, name) for name in NUMBERS}
    flags = {name: _flags(table, name) for name in ("is_candidate", "audited")}
    ends = pc.run_end_encode(table["video_uri"].combine_chunks()).run_ends.to_pylist()
    for begin, end in zip([0, *ends], ends, strict=False):
        yield _rows(table, slice(begin, end), numbers, flags, run_id=run_id, top_n=top_n)


def _rows(
    table: pa.Table,
    which: slice,
    numbers: Mapping[str, Floats],
    flags: Mapping[str, Flags],
    *,
    run_id: str,
    top_n: int,
) -> ScoredVideoRows:
    first, fast_kind = which.start, table["fast_kind"][which.start].as_py()
    features = features_of(table.slice(first, which.stop - first))
    fast = numbers["videomae_score"][which]
    known = fast if fast_kind == "salience" else None
    if known is None and features is not None:
        known = np.array(salience(features), float)
    return ScoredVideoRows(
        uri=table["video_uri"][first].as_py(),
        etag=table["video_etag"][first].as_py(),
        run_id=run_id,
        top_n=top_n,
        fast_kind=fast_kind,
        start=numbers["start"][which],
        end=numbers["end"][which],
        fast=fast,
        deep=numbers["deep_expected_score"][which],
        combined=numbers["score"][which],
        is_candidate=flags["is_candidate"][which],
        in_packing=~np.isnan(numbers["pack_rank"][which]),
        audited=flags["audited"][which],
        probability=numbers["audit_probability"][which],
        salience=known,
        features=features,
    )


def _numbers(table: pa.Table, name: str) -> Floats:
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    return np.asarray(table[name].cast(pa.float64()).fill_null(np.nan).to_numpy())


def _flags(table: pa.Table, name: str) -> Flags:
    if name not in table.column_names:
        return np.zeros(len(table), bool)
    return np.asarray(table[name].fill_null(False).to_numpy())


def features_of(table: pa.Table) -> WindowFeatures | None:
    """What the fast model saw in the windows of a table; None where it is not stored."""
    if not {*FEATURES} <= {*table.column_names} or table["change"].null_count:
        return None
    embedding = table["embedding"].combine_chunks()
    values = embedding.flatten().to_numpy().reshape(len(embedding), -1)
    return WindowFeatures(values.astype(np.float32), table["change"].to_numpy().astype(np.float32))
