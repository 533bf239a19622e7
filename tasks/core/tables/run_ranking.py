"""The columns of a ranking that need all rows: the rank in the run, the percentile, the previous ranks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.scoring.fast_scores import mid_ranks
from tasks.core.tables.renames import etags, new_names, under_new_names
from tasks.core.tables.reuse import PreviousRun

RANK_COLUMNS = ("video_uri", "video_etag", "start", "end", "rank", "run_rank")
"""The columns of `rankings` that say which segment had which rank."""


def best_first(rankings: pa.Table) -> pa.Table:
    """Rows in the order of the whole run, with their `run_rank` from 1.

    By score, expected deep score, fast score, video and rank in the video: a total order that needs
    nothing but the rows, so that it does not matter which run they were made in.
    """
    keys = {
        "score": (rankings["score"], "descending"),
        "expected": (pc.struct_field(rankings["videollama3"], "expected_score"), "descending"),
        "fast": (rankings["videomae_score"], "descending"),
        "video": (rankings["video_uri"], "ascending"),
        "rank": (rankings["rank"], "ascending"),
    }
    order = pc.sort_indices(
        pa.table({name: column for name, (column, _) in keys.items()}),
        sort_keys=[(name, direction) for name, (_, direction) in keys.items()],
    )
    positions = np.arange(len(rankings), dtype=np.int32)
    if not np.array_equal(order, positions):  # a night with nothing new has them in order
        rankings = rankings.take(order)
    return with_column(rankings, "run_rank", pa.array(positions + 1))


def with_library_percentiles(rankings: pa.Table) -> pa.Table:
    """Rows with the percentile of their score among all of the run."""
    scores = rankings["score"].to_numpy()
    return with_column(rankings, "library_percentile", pa.array(mid_ranks(scores, among=scores)))


def with_previous_ranks(rankings: pa.Table, previous: PreviousRun | None) -> pa.Table:
    """Rows with the ranks they had in the run before.

    Segments with equal video, start and end are the same, also where the video has a new name. Without a
    run before, all three columns are null; for a segment that it did not rank, only the ranks are.
    """
    if previous is None:
        for name in ("previous_run_id", "previous_rank", "previous_run_rank"):
            rankings = with_column(rankings, name, pa.nulls(len(rankings), rankings.schema.field(name).type))
        return rankings
    now, ranks = etags(rankings), previous.ranks
    ranks = under_new_names(ranks, new_names(etags(ranks), now), kept=now)
    before = pc.index_in(segment_keys(rankings), value_set=segment_keys(ranks))
    rankings = with_column(rankings, "previous_run_id", pa.repeat(previous.run_id, len(rankings)))
    for name in ("rank", "run_rank"):
        rankings = with_column(rankings, f"previous_{name}", ranks[name].take(before))
    return rankings


def segment_keys(table: pa.Table) -> pa.Array:
    """A text for each row: equal for rows with equal video, start and end."""
    times = [table[name].cast(pa.string()) for name in ("start", "end")]
    keys = pc.binary_join_element_wise(*times, table["video_uri"], " ")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def with_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with other values in one of its columns."""
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
