"""Sorted rows that need not fit into memory: they come as tables of some rows each, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Order = Sequence[tuple[str, Literal["ascending", "descending"]]]
"""The columns by which rows are sorted, the most important first; `struct.field` is one field of a struct.

Nulls come last, NaN before them.
"""

Tables = Callable[[Sequence[str] | None], Iterable[pa.Table]]
"""Gives the rows of one table from the start, whenever it is called; of these columns, None = all."""


def no_rows(columns: Sequence[str] | None = None) -> Iterable[pa.Table]:
    """The rows of a table that has none."""
    return ()


BY_VIDEO: Order = (("video_uri", "ascending"),)


def indices_in_order(table: pa.Table, order: Order) -> pa.Array:
    """The numbers of the rows in the order in which they should be; equal rows stay as they are."""
    keys = pa.table({name: _values(table, name) for name, _ in order})
    return pc.sort_indices(keys, sort_keys=list(order))


def in_order(table: pa.Table, order: Order) -> pa.Table:
    """The rows sorted."""
    indices = indices_in_order(table, order)
    return table if _is_sorted(indices) else table.take(indices)


def is_sorted(table: pa.Table, order: Order, *, after: pa.Table | None = None) -> bool:
    """Whether the rows are sorted, and none belongs before the last one of `after`."""
    follows = True
    if after is not None and len(after) and len(table):
        follows = not _precedes(table.slice(0, 1), after.slice(len(after) - 1), order)
    return follows and _is_sorted(indices_in_order(table, order))


def merged(tables: Iterable[pa.Table], new: pa.Table, order: Order) -> Iterator[pa.Table]:
    """The rows of `tables` and `new`, which are both sorted, in one order."""
    keys = new.select(dict.fromkeys(name.split(".")[0] for name, _ in order))
    for table in tables:
        if len(new) and len(table):
            before = _count_before(table.slice(len(table) - 1), keys, order)
            if before:
                table = in_order(pa.concat_tables([new.slice(0, before), table]), order)
                new, keys = new.slice(before), keys.slice(before)
        yield table
    if len(new):
        yield new


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many; the last one may have fewer.

    Each is one piece in memory: where pieces of a column end decides about the bytes of its file.
    """
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += len(table)
        while count >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows).combine_chunks()
            held, count = [whole.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held).combine_chunks()


def _count_before(row: pa.Table, rows: pa.Table, order: Order) -> int:
    """How many of the sorted `rows` belong before this one row."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if _precedes(rows.slice(middle, 1), row, order):
            low = middle + 1
        else:
            high = middle
    return low


def _precedes(one: pa.Table, other: pa.Table, order: Order) -> bool:
    """Whether one row belongs before another; of equal ones, it does not."""
    names = list(dict.fromkeys(name.split(".")[0] for name, _ in order))
    both = pa.concat_tables([other.select(names), one.select(names)])
    return bool(indices_in_order(both, order)[0].as_py() == 1)


def _values(table: pa.Table, name: str) -> pa.ChunkedArray:
    column, _, field = name.partition(".")
    return pc.struct_field(table[column], field) if field else table[column]


def _is_sorted(indices: pa.Array) -> bool:
    return np.array_equal(indices, np.arange(len(indices)))
