"""Whatever night it is: its tables are the same, however few rows of them are in memory at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks import publish
from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.storage import parquet_files, previous_tables
from tasks.core.tables import duplicates, run_ranking
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tests.nights import Nights, Shows

pytestmark = [pytest.mark.usefixtures("prefect", "without_a_run")]

LIBRARY: Mapping[str, Shows] = {f"{n:02}": None if n % 7 == 3 else n % 12 for n in range(20)}
CHANGED = {**LIBRARY, "04": 40, "05": None, "10": 3, "new": 41, "newer": 5, "torn": None}
LATER = {name: shows for name, shows in CHANGED.items() if name not in ("00", "08", "12", "17", "new")}
WEIGHTS = {"deep_weight": "0.5", "fast_weight": "0.5"}
NIGHTS: list[tuple[Mapping[str, Shows], dict[str, Any]]] = [
    (LIBRARY, {}),
    (LIBRARY, {}),  # nothing new
    (LATER, {}),  # changed, new, broken and gone
    (LATER, WEIGHTS),  # all is ranked anew
    (CHANGED, {}),  # again, and some are back
    (LIBRARY, {"duplicates": "drop"}),
    (LATER, {"duplicates": "drop"}),
]


def published(folder: Path, fast: Checkpoint, *, rows: int, patch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The tables of all nights by name, of which so many rows are in memory at once."""
    folder.mkdir()
    for module in (publish, parquet_files, previous_tables, run_ranking):
        patch.setattr(module, "ROW_GROUP_ROWS", rows)
    patch.setattr(run_ranking, "SEARCHED_ROWS", 2 * rows)
    patch.setattr(duplicates, "NEW_AT_ONCE", rows)
    patch.setattr(duplicates, "KNOWN_AT_ONCE", rows + 1)
    nights = Nights(folder, fast)
    for shows, ranking in NIGHTS:
        nights.run(shows, **ranking)
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*/run_date=*/*.parquet"))}


def test_tables_are_the_same_however_few_rows_are_in_memory(
    demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = resolve_checkpoint(str(demo_models / "videomae"))
    whole = published(tmp_path / "whole", fast, rows=ROW_GROUP_ROWS, patch=monkeypatch)
    few = published(tmp_path / "few", fast, rows=3, patch=monkeypatch)
    assert list(few) == list(whole)
    for name, path in few.items():
        streamed, one = pq.ParquetFile(path), pq.ParquetFile(whole[name])
        assert one.num_row_groups == 1
        kind = name.split("/")[1]
        if kind in ("rankings", "library"):
            assert streamed.num_row_groups > 5
        if kind == "fingerprints":
            assert streamed.num_row_groups > 1
        assert streamed.read().equals(one.read()), name
