"""What another video shows too is found as by a comparison of every pair, whatever nights it came in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.tables import duplicates
from tasks.core.tables.duplicates import (
    DECIMALS,
    Duplicates,
    dependents,
    numbers_in,
    parted,
    with_dropped,
    with_sketches,
)
from tasks.core.tables.schemas import RANKINGS, fingerprints_schema, windows_schema
from tests.comparisons import counted

NUMBERS = 768
NULLABLE = pa.schema([field.with_nullable(True) for field in RANKINGS])
Segment = tuple[str, float, Any]
"""Video, start, embedding."""


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "KNOWN_AT_ONCE", 3)
        patch.setattr(duplicates, "NEW_AT_ONCE", 2)
        yield


def segments(*rows: Segment, etag: str = "") -> pa.Table:
    named = {
        "video_uri": pa.array([uri for uri, _, _ in rows], pa.string()),
        "video_etag": pa.array([etag or uri for uri, _, _ in rows], pa.string()),
        "start": pa.array([start for _, start, _ in rows], pa.float64()),
        "end": pa.array([start + 59 for _, start, _ in rows], pa.float64()),
    }
    embeddings = np.array([vector for _, _, vector in rows], np.float16)
    return with_sketches(pa.table(named), embeddings.reshape(-1, NUMBERS))


def vectors(count: int, *, away: float, seed: int) -> Any:
    """Around a few places, so that many are alike, with cosines on both sides of any bar."""
    draw = np.random.default_rng(seed)
    places = draw.standard_normal((3, NUMBERS))
    noise = draw.standard_normal((count, NUMBERS)) * draw.uniform(0, away, (count, 1))
    return (places[draw.integers(0, 3, count)] + noise).astype(np.float16)


def compared(rows: Sequence[Segment], least: float) -> list[tuple[str, float] | None]:
    """Row by row, each with every original before it: the most similar one from `least` on."""
    found: list[tuple[str, float] | None] = []
    for uri, _, vector in rows:
        best, original = -1.0, None
        for (other, start, theirs), is_copy in zip(rows, found, strict=False):
            if other == uri or is_copy:
                continue
            one, two = (each.astype(np.float64) for each in (vector, theirs))
            cosine = round(float(one @ two / np.linalg.norm(one) / np.linalg.norm(two)), DECIMALS)
            if cosine >= least and cosine > best:
                best, original = cosine, (other, start)
        found.append(original)
    return found


def originals_of(found: Duplicates, new: pa.Table) -> list[tuple[str, float] | None]:
    made = pa.Table.from_pylist(new.select(["video_uri", "start", "end"]).to_pylist(), schema=NULLABLE)
    rows = found.marked(made)["duplicate_of"].to_pylist()
    return [row and (row["video_uri"], row["start"]) for row in rows]


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    nights=st.lists(st.integers(0, 8), max_size=3),
    least=st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]),
)
def test_nights_find_what_a_comparison_of_every_pair_finds(
    seed: int, lengths: list[int], nights: list[int], least: float
) -> None:
    """Night by night against what earlier nights have published, and all in one."""
    every = vectors(sum(lengths), away=2 * (1 - least + 10**-DECIMALS) ** 0.5, seed=seed)
    uris = [f"video {number}" for number, length in enumerate(lengths) for _ in range(length)]
    rows = [(uri, 3.0 * n, vector) for n, (uri, vector) in enumerate(zip(uris, every, strict=True))]
    ends = [sum(lengths[:night]) for night in sorted(min(each, len(lengths)) for each in nights)]
    published: list[pa.Table] = []
    found: list[tuple[str, float] | None] = []
    for begin, end in zip([0, *ends], [*ends, len(rows)], strict=True):
        new = segments(*rows[begin:end])
        night = Duplicates(new, least=least)
        for table in published:
            known = table.filter(table["is_original"])
            night.compare_with(known.drop_columns("fingerprint"), lambda known=known: known)
        night.compare_new()
        published.append(night.table(fingerprints_schema(NUMBERS), "run"))
        found += originals_of(night, new)
    assert found == compared(rows, least)


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 4), min_size=2, max_size=8),
    night=st.integers(1, 8),
    bars=st.sampled_from([(0.9, 0.9), (0.9, 0.99), (0.99, 0.999)]),
    data=st.data(),
)
def test_what_nights_have_compared_need_not_be_compared_again(
    seed: int, lengths: list[int], night: int, bars: tuple[float, float], data: st.DataObject
) -> None:
    """Where all is ranked anew, in another order: some segments are gone, some come for the first time."""
    before, now = bars
    every = vectors(sum(lengths), away=2 * (1 - now) ** 0.5, seed=seed)
    uris = [f"video {number}" for number, length in enumerate(lengths) for _ in range(length)]
    rows = [(uri, 3.0 * n, vector) for n, (uri, vector) in enumerate(zip(uris, every, strict=True))]
    known = data.draw(st.integers(0, len(rows)))
    some = data.draw(st.permutations(rows))[: data.draw(st.integers(1, len(rows)))]
    again = Duplicates(segments(*some), least=now)
    published: list[pa.Table] = []
    for begin, end in ((0, min(night, known)), (min(night, known), known)):
        earlier = Duplicates(segments(*rows[begin:end]), least=before)
        for table in published:
            earlier.compare_with(table, lambda table=table: table)
        earlier.compare_new()
        table = earlier.table(fingerprints_schema(NUMBERS), "run")
        published.append(table.filter(table["is_original"]))
    for table in published:
        again.note_apart(table)
    again.compare_new()
    assert originals_of(again, again.new) == compared(some, now)


def test_originals_are_compared_with_what_is_new_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"{n}", 0.0, vector) for n, vector in enumerate(np.eye(9, NUMBERS))]
    compared = counted(monkeypatch)
    for known, pairs in ((0, 2 * 2 + 2 * 4 + 2 * 6 + 8), (9, 0), (8, 8)):
        again = Duplicates(segments(*rows), least=0.999)
        again.note_apart(segments(*rows[:known]))
        changed = segments(*((uri, start, vector[::-1]) for uri, start, vector in rows))
        again.note_apart(changed)  # of other embeddings nothing is known
        compared.clear()
        again.compare_new()
        assert sum(compared) == pairs


def test_fingerprints_are_read_only_where_something_may_be_alike() -> None:
    one, other = np.random.default_rng(1).standard_normal((2, NUMBERS))
    read: list[pa.Table] = []

    def whole() -> pa.Table:
        read.append(known)
        return known

    known = segments(("a", 0.0, one))
    for vector, times in ((other, 0), (one + 0.3 * other, 0), (one + 0.001 * other, 1)):
        night = Duplicates(segments(("b", 0.0, vector)), least=0.999)
        night.compare_with(known.drop_columns("fingerprint"), whole)
        assert len(read) == times
    assert night.are_duplicates.all()


def test_whoever_compares_many_new_segments_is_asked_again_and_again() -> None:
    new = segments(*((f"{n}", 0.0, vector) for n, vector in enumerate(vectors(5, away=1, seed=1))))
    asked: list[int] = []
    Duplicates(new, least=0.999).compare_new(asked.append)
    assert asked == [0, 2, 4]


def test_a_cosine_that_is_rounded_to_the_bar_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.NUMBERS", 48)  # of so few the sketch is as far apart as they are
    one, other = np.random.default_rng(1).standard_normal((2, 48))
    known = segments(("a", 0.0, one))
    night = Duplicates(segments(("b", 0.0, one + 0.0028 * other)), least=1.0)
    night.compare_with(known, lambda: known)
    assert night.are_duplicates.all()


@pytest.mark.parametrize("numbers", [48, 64, 100, 768])
def test_sketches_are_never_further_apart_than_what_they_are_of(numbers: int) -> None:
    draw = np.random.default_rng(numbers)
    embeddings = (draw.standard_normal((40, numbers)) + draw.standard_normal(numbers)).astype(np.float16)
    table = with_sketches(pa.table({"n": range(40)}), embeddings)
    assert np.array_equal(numbers_in(table["fingerprint"]), embeddings)
    unit = embeddings.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    short = numbers_in(table["sketch"]).astype(np.float32)
    assert short.shape == (40, min(numbers, 64))
    apart = [np.linalg.norm(each[:, None] - each, axis=2) for each in (unit, short)]
    assert (apart[1] <= apart[0] + duplicates.SLACK).all()


def ranked(*rows: tuple[str, str, float, str | None]) -> pa.Table:
    """Rows of video, ETag, start, and the video of which they are duplicates."""
    return pa.Table.from_pylist(
        [
            {
                **{"video_uri": uri, "video_etag": etag, "start": start, "end": start + 59, "rank": n + 1},
                "duplicate_of": original and {"video_uri": original, "start": 9.0, "end": 68.0},
                "duplicate_similarity": original and 0.75,
            }
            for n, (uri, etag, start, original) in enumerate(rows)
        ],
        schema=NULLABLE,
    )


def test_the_same_file_under_another_name_is_known_by_its_etag() -> None:
    """Also where no fingerprints of it are left; a copy of a copy is one of its original."""
    nothing = np.zeros(NUMBERS)
    new = segments(("new", 0.0, nothing), ("new", 3.0, nothing), ("new", 6.0, nothing), etag="same")
    night = Duplicates(new, least=0.999)
    before = ranked(("a", "same", 0.0, None), ("a", "same", 3.0, "b"), ("c", "other", 6.0, None))
    night.compare_with_copies([before.slice(0, 1), before.slice(1)])
    night.compare_new()
    assert originals_of(night, new) == [("a", 0.0), ("b", 9.0), None]
    made = ranked(*(("new", "same", start, None) for start in (6.0, 3.0, 0.0)))
    assert night.marked(made)["duplicate_similarity"].to_pylist() == [None, 0.75, 1.0]


@pytest.mark.parametrize(
    ("gone", "found"),
    [(["a"], ["b", "c", "d"]), (["b"], ["c", "d"]), (["a", "c"], ["b", "d"]), (["z"], []), ([], [])],
)
def test_what_depends_on_a_video_that_is_gone(gone: list[str], found: list[str]) -> None:
    """By way of others, which are ranked anew with it, and in a circle."""
    pairs = [("b", "a"), ("c", "b"), ("d", "c"), ("c", "d"), ("e", "f"), ("a", None), ("b", None)]
    table = ranked(*((uri, uri, 3.0 * n, original) for n, (uri, original) in enumerate(pairs)))

    rows = (table.slice(n, 2) for n in range(0, len(table), 2))
    assert dependents(rows, pa.array(gone, pa.string())).to_pylist() == found


def test_duplicates_that_are_dropped_say_so_among_the_windows() -> None:
    made = ranked(("b", "b", 0.0, "a"), ("b", "b", 3.0, "a"), ("b", "b", 6.0, None))
    kept, dropped = parted(made)
    assert kept["start"].to_pylist() == [0.0, 6.0]  # the best of its video stays
    windows = pa.Table.from_pylist(
        [
            {"video_uri": "b", "start": 3.0 * n, "end": 3.0 * n + 59, "reason": "overlap" if n == 3 else None}
            for n in range(4)
        ],
        schema=pa.schema(
            [
                windows_schema(1).field(name).with_nullable(True)
                for name in ("video_uri", "start", "end", "reason")
            ]
        ),
    )
    assert with_dropped(windows, dropped)["reason"].to_pylist() == [None, "duplicate", None, "overlap"]
    assert with_dropped(windows, dropped.slice(1)) is windows
