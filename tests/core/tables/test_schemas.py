"""What earlier versions published is read as if it had the columns that came later."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.tables.schemas import FAILURES, LIBRARY, RANKINGS, SCHEMA_VERSION, upgraded, windows_schema
from tests import FIXTURES

PUBLISHED = sorted(FIXTURES.glob("published-schema-*"))
"""A run of each released layout, as its code wrote it."""

SCHEMAS = {"rankings": RANKINGS, "failures": FAILURES, "library": LIBRARY, "windows": windows_schema(48)}


@pytest.mark.parametrize("kind", SCHEMAS)
@pytest.mark.parametrize("output", PUBLISHED, ids=lambda path: path.name)
def test_tables_of_every_released_layout_are_read(output: Path, kind: str) -> None:
    (path,) = output.glob(f"{kind}/*/*.parquet")
    written = pq.ParquetFile(path).read()
    assert written.schema.metadata[b"hookline.schema_version"].decode() < SCHEMA_VERSION
    read = upgraded(written, SCHEMAS[kind])
    assert read.schema.equals(SCHEMAS[kind])
    assert read.select(written.column_names).to_pylist() == written.to_pylist()
    for name in {*read.column_names} - {*written.column_names}:
        assert read.column(name).null_count == len(written) > 0


@pytest.mark.parametrize("kind", SCHEMAS)
@pytest.mark.parametrize("output", PUBLISHED, ids=lambda path: path.name)
def test_columns_are_only_ever_added_and_keep_their_types(output: Path, kind: str) -> None:
    (path,) = output.glob(f"{kind}/*/*.parquet")
    before, now = pq.read_schema(path).remove_metadata(), SCHEMAS[kind]
    types = [(now.field(name).type, now.field(name).nullable) for name in before.names]
    kept = [(field.type, field.nullable) for field in before]
    if kind == "windows":  # the one exception, of which docs/data.md says why
        place = before.names.index("embedding")
        assert (types.pop(place)[0], kept.pop(place)[0]) == (
            pa.list_(pa.float32(), 48),
            pa.list_(pa.float16(), 48),
        )
    assert types == kept
    assert now.names[: len(before.names)] == before.names
    assert all(field.nullable for field in list(now)[len(before.names) :])


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(KeyError):
        upgraded(pa.table({"video_uri": ["a"]}), RANKINGS)
    with pytest.raises(pa.ArrowException):
        upgraded(FAILURES.empty_table().drop_columns("start").append_column("start", [["x"]]), FAILURES)
