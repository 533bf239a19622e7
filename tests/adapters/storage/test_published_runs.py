"""Runs are found by their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.published import manifest_before, manifest_of, run_ids
from tasks.core.errors import StorageError

RUNS = {
    "20261122T010000Z-aaaaaa": "Completed",
    "20261123T010000Z-bbbbbb": "Failed",
    "20261123T020000Z-cccccc": "CompletedWithFailures",
    "20261124T010000Z-dddddd": "Completed",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "runs").mkdir()
    for run_id, state in RUNS.items():
        manifest = {"run_id": run_id, "run_date": "2026-11-24", "state": state}
        (tmp_path / "runs" / f"{run_id}.json").write_text(json.dumps(manifest))
    return open_store(str(tmp_path))


def test_the_oldest_run_comes_first(store: Store) -> None:
    assert run_ids(store) == list(RUNS)


@pytest.mark.parametrize(
    ("named", "found"), [("20261122", 0), ("20261123T02", 2), ("20261124T010000Z-dddddd", 3)]
)
def test_a_run_is_found_by_the_beginning_of_its_id(store: Store, named: str, found: int) -> None:
    assert manifest_of(store, named).run_id == list(RUNS)[found]


@pytest.mark.parametrize(("named", "says"), [("20261123", "are 2 run"), ("2027", "is no run '2027'")])
def test_a_run_that_is_not_named_clearly_is_refused(store: Store, named: str, says: str) -> None:
    with pytest.raises(StorageError, match=says) as refused:
        manifest_of(store, named)
    assert "20261124T010000Z-dddddd" in str(refused.value)


def test_where_nothing_was_ranked_no_run_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="run `hookline rank"):
        manifest_of(open_store(str(tmp_path / "nowhere")), "2026")


def test_the_run_before_is_the_newest_that_did_not_fail(store: Store) -> None:
    first, _, third, fourth = RUNS
    assert manifest_before(store, fourth).run_id == third
    assert manifest_before(store, third).run_id == first
    with pytest.raises(StorageError, match="no run before"):
        manifest_before(store, first)


@pytest.mark.parametrize("content", ["garbage", "[]", "{}"])
def test_what_is_no_manifest_is_refused(store: Store, tmp_path: Path, content: str) -> None:
    (tmp_path / "runs" / "2027.json").write_text(content)
    with pytest.raises(StorageError, match="is no manifest"):
        manifest_of(store, "2027")
