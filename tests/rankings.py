"""The whole ranking of a few videos in memory."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from tasks.core.records import RankedVideo
from tasks.core.tables.rows import RunStamp, made_rankings
from tasks.core.tables.run_ranking import PreviousRanking, run_ranking, survey
from tasks.core.tables.schemas import RANKINGS


def rankings_table(
    videos: Iterable[RankedVideo], stamp: RunStamp, *, previous: PreviousRanking | None = None
) -> pa.Table:
    """What a run publishes that has ranked these videos, after a run before."""
    made = made_rankings(videos, stamp)
    rows = run_ranking(made, previous, survey(made, previous), run_id=stamp.run_id)
    return pa.concat_tables([RANKINGS.empty_table(), *rows])
