"""The ranking of a run: new rows among those of the run before, and what only all rows together say.

That is the rank in the run, the percentile, the chance to be published, and the ranks in the run before. Rows
of the run before are never held: they are read first to count scores, then to be merged with the new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.learning.calibration import Platt, platt
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.renames import etags, new_names, under_new_names
from tasks.core.tables.schemas import RANKINGS, upgraded
from tasks.core.tables.sorted_rows import Order, Tables, is_sorted, merged, regrouped

BEST_FIRST: Order = (
    ("score", "descending"),
    ("videollama3.expected_score", "descending"),
    ("videomae_score", "descending"),
    ("video_uri", "ascending"),
    ("rank", "ascending"),
)
"""The order of the whole run: total, and of nothing but the rows, so that it does not matter which run they
were made in."""

RANK_COLUMNS = ("video_uri", "video_etag", "start", "end", "rank", "run_rank")
"""The columns of `rankings` that say which segment had which rank."""

MAX_SCORE = 100

MIN_OF_VERDICT = 20
"""Ranked segments that editors have published, and rejected, at least, before a chance is told."""

SEARCHED_ROWS = 16 * ROW_GROUP_ROWS
"""Rows in which some videos are looked for at once: for each search a table of their names is made."""


@dataclass(frozen=True, slots=True)
class PreviousRanking:
    """The ranking of the run before, best first, of any schema version.

    `gone` are the URIs of the videos whose rows are not carried over; None: no rows are.
    """

    run_id: str
    rows: Tables
    gone: pa.Array | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What must be known of all rows before the first can be written.

    `scores` counts the rows of each score, `kept` says of every row of the run before whether it is carried
    over, `ranks` has the `RANK_COLUMNS` of the videos that have new rows, under their names of now.
    """

    scores: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]
    ranks: pa.Table

    @property
    def rows(self) -> int:
        return int(self.scores.sum())

    @property
    def percentiles(self) -> npt.NDArray[np.float64]:
        """Of each score: the share of rows that is lower, and half of what is equal, times 100."""
        upto = np.cumsum(self.scores)
        return np.asarray(50 * (upto - self.scores + upto) / max(self.rows, 1))


def survey(made: pa.Table, previous: PreviousRanking | None) -> Survey:
    """Look through the run before. `made` are the new rows."""
    scores = _count_scores(made)
    kept: list[npt.NDArray[np.bool_]] = []
    found: list[pa.Table] = [_NO_RANKS]
    now = etags(made)
    uris, versions = (pa.array(list(each), pa.string()) for each in (now, set(now.values())))
    for table in _surveyed(previous, ranks_too=len(made) > 0):
        carried = _carried(table, previous)
        scores += _count_scores(table.filter(carried))
        kept.append(carried)
        if len(made):
            same = pc.or_(pc.is_in(table["video_uri"], uris), pc.is_in(table["video_etag"], versions))
            found.append(table.filter(same).select(RANK_COLUMNS).cast(_NO_RANKS.schema))
            now |= etags(table.filter(pc.and_(same, pa.array(carried))))
    ranks = pa.concat_tables(found)
    ranks = under_new_names(ranks, new_names(etags(ranks), now), kept=now)
    return Survey(scores, np.concatenate([np.empty(0, np.bool_), *kept]), ranks)


def run_ranking(
    made: pa.Table,
    previous: PreviousRanking | None,
    known: Survey,
    *,
    run_id: str,
    chance: Platt | None = None,
) -> Iterator[pa.Table]:
    """All rows of the run, best first, in tables of as many rows as a row group has.

    `made` are the new rows, best first; `known` comes from `survey`, `chance` from `publish_chance`.
    """
    new = with_previous_ranks(made, known.ranks, previous)
    count = 0
    rows = merged(_carried_rows(previous, known.kept), new, BEST_FIRST)
    for table in regrouped(rows, ROW_GROUP_ROWS):
        run_ranks = np.arange(count + 1, count + len(table) + 1, dtype=np.int32)
        percentiles = known.percentiles[table["score"].to_numpy()]
        table = with_column(table, "run_id", pa.repeat(run_id, len(table)))
        table = with_column(table, "run_rank", pa.array(run_ranks))
        table = with_column(table, "library_percentile", pa.array(percentiles))
        table = with_column(table, "publish_probability", _chances(table, chance))
        yield table
        count += len(table)


def publish_chance(made: pa.Table, previous: PreviousRanking | None, labels: pa.Table) -> Platt | None:
    """The chance that editors publish what the deep model gives a score, told by the labelled segments of a
    ranking: `made` are its new rows. None if fewer than `MIN_OF_VERDICT` were published, or rejected.
    """
    verdicts = {
        (row["video_etag"], row["start"], row["end"]): row["verdict"] == "published"
        for row in labels.sort_by("imported_at").to_pylist()
        if row["scored_in"]
    }
    if not _are_enough(verdicts.values()):
        return None
    versions = pa.array({etag for etag, _, _ in verdicts}, pa.string())
    scores: dict[tuple[str, float, float], float] = {}
    for table in _with_answers(made, previous):
        some = table.filter(pc.is_in(table["video_etag"], versions))
        segments = zip(*(some[name].to_pylist() for name in ("video_etag", "start", "end")), strict=True)
        expected = pc.struct_field(some["videollama3"], "expected_score").to_pylist()
        scores |= {
            segment: score
            for segment, score in zip(segments, expected, strict=True)
            if score is not None and segment in verdicts
        }
    published = [verdicts[segment] for segment in scores]
    return platt(np.array([*scores.values()]), np.array(published)) if _are_enough(published) else None


def with_previous_ranks(made: pa.Table, ranks: pa.Table, previous: PreviousRanking | None) -> pa.Table:
    """New rows with the ranks they had in the run before.

    Segments with equal video, start and end are the same, also where the video has a new name: `ranks` has
    them under it. Without a run before, all three columns are null; for a segment that it did not rank, only
    the ranks are.
    """
    before = pc.index_in(segment_keys(made), value_set=segment_keys(ranks))
    run_id = pa.repeat(pa.scalar(previous.run_id if previous else None, pa.string()), len(made))
    made = with_column(made, "previous_run_id", run_id)
    for name in ("rank", "run_rank"):
        made = with_column(made, f"previous_{name}", ranks[name].take(before))
    return made


def ranked_videos(rows: Iterable[pa.Table]) -> pa.Array | None:
    """The URIs of the videos of a ranking, sorted; None if its rows are not in their order.

    Raises:
        ValueError: there is a score that cannot be.
    """
    best: list[pa.ChunkedArray] = []
    last = None
    for table in rows:
        if not is_sorted(table, BEST_FIRST, after=last):
            return None
        low, high = pc.min_max(table["score"]).as_py().values()
        if len(table) and not 0 <= low <= high <= MAX_SCORE:
            raise ValueError(f"scores from {low} to {high} are not within 0 and {MAX_SCORE}")
        best.append(table["video_uri"].filter(pc.equal(table["rank"], 1)))
        last = table
    chunks = [chunk for column in best for chunk in column.chunks]
    uris = pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())
    return uris.sort()


EXAMINED = tuple(name for name, _ in BEST_FIRST)
"""The columns that `ranked_videos` needs."""

_NO_RANKS = pa.Table.from_batches([], pa.schema([RANKINGS.field(name) for name in RANK_COLUMNS]))


def segment_keys(table: pa.Table) -> pa.Array:
    """A text for each row: equal for rows with equal video, start and end."""
    times = [table[name].cast(pa.string()) for name in ("start", "end")]
    keys = pc.binary_join_element_wise(*times, table["video_uri"], " ")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def with_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with other values in one of its columns."""
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _surveyed(previous: PreviousRanking | None, *, ranks_too: bool) -> Iterator[pa.Table]:
    if previous is None:
        return
    columns: Sequence[str] = ["score"]
    if ranks_too:
        columns = [*RANK_COLUMNS, "score"]
    elif previous.gone is None:
        return
    elif len(previous.gone):
        columns = ["video_uri", "score"]
    yield from regrouped(previous.rows(columns), SEARCHED_ROWS)


def _carried(table: pa.Table, previous: PreviousRanking | None) -> npt.NDArray[np.bool_]:
    """Which rows of the run before are carried over."""
    if previous is None or previous.gone is None:
        return np.zeros(len(table), np.bool_)
    if not len(previous.gone):
        return np.ones(len(table), np.bool_)
    is_gone: npt.NDArray[np.bool_] = pc.is_in(table["video_uri"], previous.gone).to_numpy()
    return ~is_gone


def _carried_rows(previous: PreviousRanking | None, kept: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    """The rows that are carried over, with the ranks they had in the run before."""
    if previous is None or not kept.any():
        return
    at = 0
    for table in previous.rows(None):
        carried = kept[at : at + len(table)]
        at += len(table)
        table = upgraded(table, RANKINGS)
        if not carried.all():
            table = table.filter(pa.array(carried))
        run_id = pa.repeat(previous.run_id, len(table))
        table = with_column(table, "previous_run_id", run_id)
        for name in ("rank", "run_rank"):
            table = with_column(table, f"previous_{name}", table[name])
        yield table


def _with_answers(made: pa.Table, previous: PreviousRanking | None) -> Iterator[pa.Table]:
    """All rows of the run, some at a time and in any order, with what the deep model expects of them."""
    yield made
    if previous is not None and previous.gone is not None:
        columns = ["video_uri", "video_etag", "start", "end", "videollama3.expected_score"]
        for table in previous.rows(columns):
            yield table.filter(pa.array(_carried(table, previous)))


def _are_enough(published: Collection[bool]) -> bool:
    count = sum(published)
    return min(count, len(published) - count) >= MIN_OF_VERDICT


def _chances(table: pa.Table, chance: Platt | None) -> pa.Array:
    if chance is None:
        return pa.nulls(len(table), pa.float64())
    expected = pc.struct_field(table["videollama3"], "expected_score").cast(pa.float64())
    chances = chance(expected.fill_null(np.nan).to_numpy())
    return pa.array(chances, pa.float64(), from_pandas=True)


def _count_scores(table: pa.Table) -> npt.NDArray[np.int64]:
    return np.bincount(table["score"].to_numpy(), minlength=MAX_SCORE + 1).astype(np.int64)
