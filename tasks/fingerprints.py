"""The tables `fingerprints` of earlier nights: which of them still count, and what they say was dropped."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from tasks.adapters.storage.published import row_groups
from tasks.core.errors import StorageError
from tasks.core.tables.sorted_rows import Tables
from tasks.run.retries import go_on_without, retried
from tasks.run.run import Run

Videos = Mapping[str, pa.Array]
"""The URIs of videos, sorted, by the run that ranked them."""


def videos_by_run(library: Tables, ranked: pa.Array) -> Videos:
    """The videos of a library that are among these, which are in a ranking; sorted."""
    found: dict[str, list[pa.Array]] = {}
    for table in library(["video_uri", "ranked_in"]):
        kept = table.filter(are_among(table["video_uri"], ranked))
        for run_id in pc.unique(kept["ranked_in"]).drop_null().to_pylist():
            of_run = kept["video_uri"].filter(pc.equal(kept["ranked_in"], run_id))
            found.setdefault(run_id, []).extend(of_run.chunks)
    return {run_id: pa.concat_arrays(uris) for run_id, uris in found.items()}


def for_each_run(videos: Videos, run: Run, look: Callable[[str, pa.Array], None], *, lost: str) -> bool:
    """Look into the table `fingerprints` of each run, by its name, for its videos; whether all can be read.

    What is `lost` with a table that cannot is logged.

    Raises:
        StorageError: the output cannot be reached.
    """
    names = {PurePosixPath(name).stem: name for name in run.spec.output.names("fingerprints")}
    seen = 0
    for run_id in sorted(videos):
        run.raise_if_stopped()
        with go_on_without("compare", f"{len(videos[run_id])} {lost}.", run_id=run.spec.run_id):
            if run_id not in names:
                raise StorageError.not_found(f"There are no fingerprints of run {run_id}.")
            look(names[run_id], videos[run_id])
            seen += 1
    return seen == len(videos)


@retried("find dropped duplicates")
def dropped_duplicates(videos: Videos, run: Run) -> list[pa.Table]:
    """Which of these videos have duplicates of which, as `fingerprints` have it: those that were dropped too.

    Raises:
        StorageError: the output cannot be reached.
    """
    found: list[pa.Table] = []

    def look(name: str, wanted: pa.Array) -> None:
        for rows in row_groups(run.spec.output, name, ["video_uri"], optional=["duplicate_of"]):
            if "duplicate_of" in rows.column_names:  # earlier versions did not keep it
                mask = pc.and_(pc.is_valid(rows["duplicate_of"]), are_among(rows["video_uri"], wanted))
                found.append(rows.filter(mask))

    for_each_run(videos, run, look, lost="videos may keep a segment dropped whose original is gone")
    return found


def are_among(uris: pa.ChunkedArray, videos: pa.Array) -> pa.ChunkedArray:
    """Which of some sorted URIs are among many, which are sorted too."""
    if not len(uris):
        return pc.is_in(uris, videos)
    low, high = (
        search(videos, uris[row].as_py(), key=lambda uri: str(uri.as_py()))
        for search, row in ((bisect_left, 0), (bisect_right, -1))
    )
    return pc.is_in(uris, videos[low:high])


def without(table: pa.Table, videos: pa.Array | None) -> pa.Table:
    """The rows of other videos than these."""
    return table.filter(pc.invert(pc.is_in(table["video_uri"], videos))) if videos else table
