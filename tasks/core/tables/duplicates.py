"""Segments that show what a segment of another video shows: re-uploads, trailers, one clip under two names.

A segment is compared with the originals before it: those of earlier nights, and of this night those whose
video was written earlier, or has a name that comes first. It is a duplicate of the most similar one from a
cosine on, and an original otherwise. So no chain of duplicates forms, and what was an original stays one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.tables.nearest import unit_vectors
from tasks.core.tables.run_ranking import segment_keys, with_column
from tasks.core.tables.schemas import SEGMENT, SKETCH_NUMBERS

KNOWN_AT_ONCE, NEW_AT_ONCE = 8192, 1024
"""Rows that are compared with each other at once: a table of 32 MB."""

DECIMALS = 5
"""To which cosines are rounded. They are worked out in float64: in which order numbers are added up does not
matter then."""

SLACK = 0.001
"""How far half precision may move a sketch, at the most."""

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]


def with_sketches(segments: pa.Table, embeddings: Halves) -> pa.Table:
    """Segments with a `fingerprint`, their embedding, and a `sketch` of it, which is shorter."""
    sketches = (_unit(embeddings) @ _projection(embeddings.shape[1])).astype(np.float16)
    for name, numbers in (("fingerprint", embeddings), ("sketch", sketches)):
        segments = segments.append_column(name, _in_bytes(numbers))
    return segments


class Duplicates:
    """Which of the `new` segments are duplicates: those that come first as originals come first.

    They have a `video_uri`, `video_etag`, `start`, `end`, `fingerprint` and `sketch`. `compared_with_all`:
    nothing that they should have been compared with was out of reach.
    """

    def __init__(self, new: pa.Table, *, least: float) -> None:
        self.new, self.least = new, least
        self.compared_with_all = True
        self._halves = numbers_in(new["fingerprint"])
        self._sketches = numbers_in(new["sketch"]).astype(np.float32)
        self._videos = new["video_uri"].combine_chunks().dictionary_encode().indices.to_numpy()
        self._similarity = np.full(len(new), -1, np.float32)
        self._originals: list[dict[str, object] | None] = [None] * len(new)
        self._are_apart = np.zeros(len(new), np.bool_)

    def note_apart(self, originals: pa.Table) -> None:
        """Note which new segments are among these: no two of them need to be compared.

        Earlier runs did that, and found all of them to be originals, by this `least` or a lower one.
        """
        places = pc.index_in(self._keys, value_set=segment_keys(originals))
        rows = np.flatnonzero(places.is_valid())
        theirs = originals["fingerprint"].take(places.drop_null())
        same = pc.equal(self.new["fingerprint"].take(pa.array(rows)), theirs)
        self._are_apart[rows[same.to_numpy()]] = True

    def compare_with_copies(self, carried: Iterable[pa.Table]) -> None:
        """Find segments of the same version of a video under another name among rows of `rankings`.

        Where that is a duplicate itself, so are they, of the same.
        """
        places: dict[tuple[object, ...], list[int]] = {}
        columns = ("video_etag", "start", "end")
        for row, key in enumerate(zip(*(self.new[name].to_pylist() for name in columns), strict=True)):
            places.setdefault(key, []).append(row)
        versions = pc.unique(self.new["video_etag"])
        for table in carried:
            for each in table.filter(pc.is_in(table["video_etag"], versions)).to_pylist():
                original = each["duplicate_of"] or {name: each[name] for name in SEGMENT.names}
                for row in places.get(tuple(each[name] for name in columns), ()):
                    self._take(row, each["duplicate_similarity"] or 1.0, original)

    def compare_with(self, originals: pa.Table, whole: Callable[[], pa.Table]) -> None:
        """Compare with originals of other videos, by their `sketch`.

        `whole` gives their `fingerprint`, and is asked only where sketches are near.
        """
        theirs = numbers_in(originals["sketch"]).astype(np.float32)
        halves: Halves | None = None
        for start in range(0, len(theirs), KNOWN_AT_ONCE):
            some = theirs[start : start + KNOWN_AT_ONCE]
            for first in range(0, len(self.new), NEW_AT_ONCE):
                rows, places = self._near(self._sketches[first : first + NEW_AT_ONCE], some)
                if not len(rows):
                    continue
                halves = numbers_in(whole()["fingerprint"]) if halves is None else halves
                cosines = _cosines(self._halves[first + rows], halves[start + places])
                self._take_best(first + rows, cosines, originals, start + places)

    def compare_new(self, after: Callable[[int], None] = lambda rows: None) -> None:
        """Compare with each other, after all others: what is no duplicate by now is an original.

        `after` so many rows it is called, which takes a while where they are many.
        """
        for first in range(0, len(self.new), NEW_AT_ONCE):
            after(first)
            before = np.flatnonzero(~self.are_duplicates[:first])
            some = np.arange(first, min(first + NEW_AT_ONCE, len(self.new)))
            are_apart = self._are_apart[some]
            self._compare_with_before(some[~are_apart], before)
            self._compare_with_before(some[are_apart], before[~self._are_apart[before]])
            if not are_apart.all():
                self._compare_in_turn(some)

    def _compare_with_before(self, some: Rows, before: Rows) -> None:
        """Compare rows with originals that all come before them."""
        for start in range(0, len(before) if len(some) else 0, KNOWN_AT_ONCE):
            others = before[start : start + KNOWN_AT_ONCE]
            rows, places = self._near(self._sketches[some], self._sketches[others])
            if len(rows):
                cosines = self._across(some[rows], others[places])
                self._take_best(some[rows], cosines, self.new, others[places])

    def _compare_in_turn(self, rows: Rows) -> None:
        """Compare rows with those before each of them: which are originals is only known then."""
        cosines = self._across(rows, rows)
        cosines[np.triu_indices(len(rows))] = -1
        for place in np.flatnonzero(cosines.max(axis=1) >= self.least):
            cosines[place, self._similarity[rows] >= self.least] = -1
            self._take_best(rows[place : place + 1], cosines[place : place + 1], self.new, rows)

    def _near(self, ours: Floats, theirs: Floats) -> tuple[Rows, Rows]:
        """The rows of both that may be as similar as is asked for to one of the other.

        A sketch is an orthogonal projection: no two are further from each other than what they are of.
        """
        least = self.least - 0.5 * 10**-DECIMALS  # which is rounded to it
        farthest = math.sqrt(max(0, 2 * (1 - least))) + SLACK
        lengths = np.einsum("ij,ij->i", ours, ours)[:, None] + np.einsum("ij,ij->i", theirs, theirs)
        are_near = lengths - 2 * (ours @ theirs.T) <= farthest * farthest
        return np.flatnonzero(are_near.any(axis=1)), np.flatnonzero(are_near.any(axis=0))

    def _across(self, rows: Rows, others: Rows) -> Doubles:
        """The cosines of new rows and of others of them; those of one video are out of question."""
        cosines = _cosines(self._halves[rows], self._halves[others])
        cosines[self._videos[rows][:, None] == self._videos[others]] = -1
        return cosines

    def _take_best(self, rows: Rows, cosines: Doubles, originals: pa.Table, places: Rows) -> None:
        best = cosines.argmax(axis=1)
        for row, cosine, place in zip(rows, cosines.max(axis=1), places[best], strict=True):
            if cosine >= self.least:
                (original,) = originals.slice(int(place), 1).select(SEGMENT.names).to_pylist()
                self._take(int(row), float(cosine), original)

    def _take(self, row: int, cosine: float, original: dict[str, object]) -> None:
        if np.float32(cosine) > self._similarity[row]:
            self._similarity[row], self._originals[row] = cosine, original

    @cached_property
    def _keys(self) -> pa.Array:
        return segment_keys(self.new)

    @property
    def are_duplicates(self) -> npt.NDArray[np.bool_]:
        return self._similarity >= 0

    def marked(self, made: pa.Table) -> pa.Table:
        """Rows of `rankings` with what is known of them."""
        place = pc.index_in(segment_keys(made), value_set=self._keys)
        originals = pa.array(self._originals, SEGMENT)
        similarity = pa.array(self._similarity, mask=~self.are_duplicates)
        made = with_column(made, "duplicate_of", originals.take(place))
        return with_column(made, "duplicate_similarity", similarity.take(place))

    def table(self, schema: pa.Schema, run_id: str) -> pa.Table:
        """The table `fingerprints`, by video and start."""
        new = self.new.append_column("run_id", pa.repeat(run_id, len(self.new)))
        new = new.append_column("is_original", pa.array(~self.are_duplicates))
        new = new.append_column("duplicate_of", pa.array(self._originals, SEGMENT))
        new = new.append_column("compared_with_all", pa.repeat(self.compared_with_all, len(new)))
        order = [("video_uri", "ascending"), ("start", "ascending"), ("end", "ascending")]
        return new.select(schema.names).cast(schema).sort_by(order)


def dependents(marked: Iterable[pa.Table], gone: pa.Array) -> pa.Array:
    """The videos with duplicates of those that are gone, and of these, and so on; sorted.

    `marked` are rows of `rankings` or `fingerprints`, with `video_uri` and `duplicate_of`.
    """
    pairs = [pa.table({name: pa.array([], pa.string()) for name in ("video_uri", "original")})]
    for table in marked:
        original = pc.struct_field(table["duplicate_of"], "video_uri")
        some = pa.table({"video_uri": table["video_uri"], "original": original}).filter(pc.is_valid(original))
        pairs.append(some.group_by(["video_uri", "original"]).aggregate([]))
    edges, found, lost = pa.concat_tables(pairs), gone, gone
    while len(lost):
        uris = pc.unique(edges["video_uri"].filter(pc.is_in(edges["original"], lost)))
        lost = uris.filter(pc.invert(pc.is_in(uris, found)))
        found = pa.concat_arrays([found, lost])
    return found[len(gone) :].sort()


def parted(made: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows of `rankings` that stay, and the duplicates among the others; the best of each video stays."""
    stay = pc.or_(pc.is_null(made["duplicate_of"]), pc.equal(made["rank"], 1))
    return made.filter(stay), made.filter(pc.invert(stay))


def with_dropped(windows: pa.Table, dropped: pa.Table) -> pa.Table:
    """The table `windows` with the reason for which some are not ranked."""
    if not len(dropped):
        return windows
    are_dropped = pc.is_in(segment_keys(windows), value_set=segment_keys(dropped))
    return with_column(windows, "reason", pc.if_else(are_dropped, "duplicate", windows["reason"]))


def numbers_in(column: pa.ChunkedArray | pa.Array) -> Halves:
    """The numbers of a `fingerprint` or `sketch`, a row each."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    width = column.type.byte_width
    found = [
        np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * width, chunk.offset * width)
        for chunk in chunks
        if len(chunk)
    ]
    numbers = found[0] if len(found) == 1 else np.concatenate([np.empty(0, np.uint8), *found])
    return numbers.view("<f2").reshape(-1, width // 2)


def _in_bytes(numbers: Halves) -> pa.Array:
    data = np.ascontiguousarray(numbers, "<f2")
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2 * data.shape[1]), len(data), [None, pa.py_buffer(data)]
    )


def _projection(dimensions: int) -> Floats:
    """Orthogonal: every number goes into one sum, with a sign that is drawn once and for all."""
    sums = min(dimensions, SKETCH_NUMBERS)
    group = np.arange(dimensions) % sums
    signs = np.random.default_rng(0).choice([-1.0, 1.0], dimensions)
    projection = np.zeros((dimensions, sums), np.float32)
    projection[np.arange(dimensions), group] = signs / np.sqrt(np.bincount(group)[group])
    return projection


def _cosines(some: Halves, others: Halves) -> Doubles:
    return np.asarray(np.round(_unit(some) @ _unit(others).T, DECIMALS))


def _unit(halves: Halves) -> Doubles:
    return unit_vectors(halves.astype(np.float64))
