"""Local files of rows that need not fit into memory, read and written some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.tables.parquet_options import ROW_GROUP_ROWS, write_options


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """The rows of a file from the start, whenever it is called: in tables of a row group at the most.

    The next table is read by a thread of its own meanwhile.
    """

    path: Path

    def __call__(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        tables = _tables(self.path, columns)
        with ThreadPoolExecutor(1, thread_name_prefix="read rows") as reader:
            coming = reader.submit(next, tables, None)
            while (table := coming.result()) is not None:
                coming = reader.submit(next, tables, None)
                yield table


class RowsByVideo:
    """The rows of videos, kept in a file as they come; read, they come by URI, a video at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._order: list[str] = []

    def add(self, uri: str, rows: pa.Table) -> None:
        """Keep the rows of one more video; all have one schema."""
        if len(rows):
            self._writer = self._writer or pa.ipc.new_file(str(self._path), rows.schema)
            self._writer.write_table(rows.combine_chunks(), max_chunksize=len(rows))
            self._order.append(uri)

    def close(self) -> None:
        """No more is kept."""
        if self._writer:
            self._writer.close()

    def __call__(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows from the start; all columns if none are named."""
        if self._order:
            with pa.memory_map(str(self._path)) as file:
                batches = pa.ipc.open_file(file)
                for place in sorted(range(len(self._order)), key=self._order.__getitem__):
                    table = pa.Table.from_batches([batches.get_batch(place)])
                    yield table if columns is None else table.select(columns)


def write_tables(path: Path, tables: Iterable[pa.Table], schema: pa.Schema, *, rows: int) -> int:
    """Write each table as a row group; returns the number of rows. About so many `rows` are expected."""
    options = write_options(schema.empty_table(), rows=rows)
    row_group_size = options.pop("row_group_size")
    count = 0
    with pq.ParquetWriter(path, schema, **options) as writer:
        for table in filter(len, tables):
            writer.write_table(table, row_group_size=row_group_size)
            count += len(table)
        if not count:
            writer.write_table(schema.empty_table())
    return count


def _tables(path: Path, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    # Reading with Arrow's own threads now and then aborts the process as it exits (pyarrow 26).
    with pq.ParquetFile(path, pre_buffer=False) as parquet:
        for group in range(parquet.num_row_groups):
            if parquet.metadata.row_group(group).num_rows <= ROW_GROUP_ROWS:
                yield parquet.read_row_group(group, columns=columns, use_threads=False)
                continue
            some = {"row_groups": [group], "columns": columns, "use_threads": False}
            for batch in parquet.iter_batches(ROW_GROUP_ROWS, **some):
                yield pa.Table.from_batches([batch])
