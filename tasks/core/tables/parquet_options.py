"""How a table lies in its Parquet file, so that a question reads little of it.

Rows are sorted: a ranking from the best down, the others by video. With the smallest and the largest
value of each row group in the file's footer, readers skip the row groups a question is not about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

ROW_GROUP_ROWS = 32_768
"""Rows that are read or skipped together: 50 MB of embeddings, less than 1 MB of most other columns."""

FALSE_POSITIVES = 0.01
"""How often a Bloom filter has a row group read in vain."""


NUMBERS = ("embedding", "fingerprint", "sketch")
"""Columns of numbers that are all different."""


def write_options(table: pa.Table, *, rows: int | None = None) -> dict[str, Any]:
    """Options for `pyarrow.parquet.write_table`; `rows` is the number of rows where not all are in `table`.

    A dictionary of `NUMBERS` is built for nothing, and their smallest and largest help nobody. A ranking has
    its videos all over the file, so that only a Bloom filter can tell a row group without a video from one
    with it.
    """
    columns = [path for field in table.schema for path in leaves(field) if not path.startswith(NUMBERS)]
    options = {
        "compression": "zstd",
        "row_group_size": ROW_GROUP_ROWS,
        "use_dictionary": columns,
        "write_statistics": columns,
    }
    rows = len(table) if rows is None else rows
    if "run_rank" in table.column_names and rows:
        distinct = min(rows, ROW_GROUP_ROWS)
        options["bloom_filter_options"] = {"video_uri": {"ndv": distinct, "fpp": FALSE_POSITIVES}}
    return options


def leaves(field: pa.Field, path: str = "") -> Iterator[str]:
    """The names under which Parquet has the values of a column.

    >>> list(leaves(pa.field("a", pa.list_(pa.struct([("b", pa.int32()), ("c", pa.string())])))))
    ['a.list.element.b', 'a.list.element.c']
    """
    path += field.name
    if pa.types.is_struct(field.type):
        for child in field.type:
            yield from leaves(child, f"{path}.")
    elif pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
        yield from leaves(field.type.value_field.with_name("element"), f"{path}.list.")
    else:
        yield path
