"""The videos that a source lists, by URI: a million of them take some 200 MB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records.videos import VideoRef

SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("etag", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_at", pa.timestamp("us", "UTC")),
    ]
)

CHUNK_ROWS = 32_768


class ListedVideos(Sequence[VideoRef]):
    """Videos by URI, each once. A `VideoRef` is made when it is asked for.

    `table` has their columns. Those whose URI is no valid text are `odd`: no table can hold them, and they
    come last.
    """

    def __init__(self, table: pa.Table, odd: Sequence[VideoRef] = ()) -> None:
        self.table, self.odd = table, odd

    @classmethod
    def of(cls, videos: Iterable[VideoRef]) -> ListedVideos:
        """All of these, in whatever order they come; they are kept in little memory as they pass."""
        waiting, odd = iter(videos), dict[str, VideoRef]()
        batches = list[pa.RecordBatch]()
        while some := list(islice(waiting, CHUNK_ROWS)):
            odd |= {video.uri: video for video in some if video.label != video.uri}
            batches.append(_batch([video for video in some if video.uri not in odd]))
        columns = [
            pa.chunked_array([batch.column(n) for batch in batches], field.type)
            for n, field in enumerate(SCHEMA)
        ]
        batches.clear()  # a column at a time is sorted, and its unsorted one given back
        table = _each_once(columns)
        return cls(table, [odd[uri] for uri in sorted(odd)])

    def __len__(self) -> int:
        return len(self.table) + len(self.odd)

    def __iter__(self) -> Iterator[VideoRef]:
        for batch in self.table.to_batches(CHUNK_ROWS):
            yield from map(VideoRef, *(column.to_pylist() for column in batch.columns))
        yield from self.odd

    @overload
    def __getitem__(self, at: int) -> VideoRef: ...
    @overload
    def __getitem__(self, at: slice) -> ListedVideos: ...
    def __getitem__(self, at: int | slice) -> VideoRef | ListedVideos:
        rows = range(len(self))[at]
        if isinstance(rows, int):
            return next(iter(self[rows : rows + 1]))
        if rows.step != 1:
            return ListedVideos.of([self[row] for row in rows])
        in_table, whole = rows[: max(len(self.table) - rows.start, 0)], len(self.table)
        odd = self.odd[max(rows.start - whole, 0) : max(rows.stop - whole, 0)]
        return ListedVideos(self.table.slice(rows.start, len(in_table)), odd)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


def _batch(videos: Sequence[VideoRef]) -> pa.RecordBatch:
    columns = (
        [video.uri for video in videos],
        [video.etag for video in videos],
        [video.size_bytes for video in videos],
        [video.modified_at for video in videos],
    )
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def _each_once(columns: list[pa.ChunkedArray]) -> pa.Table:
    """The rows by URI; of several with the same, one. The columns are taken over."""
    if len(columns[0]) > 1 and not pc.all(pc.less(columns[0][:-1], columns[0][1:])).as_py():
        order = pc.sort_indices(columns[0])
        uris = columns[0].take(order)
        another = pc.not_equal(uris[:-1], uris[1:]).combine_chunks()
        order = order.filter(pa.concat_arrays([pa.array([True]), another]))
        del uris
        for n in range(len(columns)):
            columns[n] = pa.chunked_array([columns[n].take(order).combine_chunks()])
        pa.default_memory_pool().release_unused()
    return pa.table(columns, SCHEMA)
