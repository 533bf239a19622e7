"""Videos that have another name than in an earlier run: the same version by its ETag, renamed or copied."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa


def etags(rankings: pa.Table) -> dict[str, str]:
    """The ETag of each video of a ranking, by URI."""
    return dict(zip(rankings["video_uri"].to_pylist(), rankings["video_etag"].to_pylist(), strict=True))


def new_names(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The old name of each video that has a new one: equal ETags, and no such name before.

    Of several old names it is the first one that is gone, or else the first.

    >>> new_names({"a": "1", "b": "2"}, {"a": "1", "c": "2", "copy of a": "1"})
    {'c': 'b', 'copy of a': 'a'}
    """
    names: dict[str, str] = {}
    for uri, etag in sorted(before.items(), key=lambda item: (item[0] in after, item[0])):
        names.setdefault(etag, uri)
    return {uri: names[etag] for uri, etag in after.items() if uri not in before and etag in names}


def under_new_names(table: pa.Table, names: Mapping[str, str], *, kept: Collection[str]) -> pa.Table:
    """The rows of an earlier run as if its videos had had their new names then.

    `names` has the old name of each new one. Rows of old names stay as they are where these are `kept`, or
    have no new name.
    """
    if not names:
        return table
    uris = table["video_uri"].to_pylist()
    rows: dict[str, list[int]] = {name: [] for name in names.values()}
    for row, uri in enumerate(uris):
        if uri in rows:
            rows[uri].append(row)
    stay = [row for row, uri in enumerate(uris) if uri not in rows or uri in kept]
    moved = [(new, row) for new, old in names.items() for row in rows[old]]
    found = table.take(pa.array([*stay, *(row for _, row in moved)], pa.int64()))
    renamed = [*(uris[row] for row in stay), *(new for new, _ in moved)]
    place = table.schema.get_field_index("video_uri")
    return found.set_column(place, table.schema.field("video_uri"), pa.array(renamed, pa.string()))
