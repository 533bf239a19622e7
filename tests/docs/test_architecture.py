"""The architecture page is what the code is."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests import ROOT
from tests.docs.floors import drawn

PAGE = (ROOT / "docs" / "architecture.md").read_text()
TABLE = PAGE[PAGE.index("## Where do I change") :]
CHANGES = re.findall(r"^\| ([^|]+) \| (`.+) \|$", TABLE, flags=re.MULTILINE)


def test_the_floors_are_those_of_the_imports() -> None:
    """If this fails: python -m tests.docs.floors"""
    assert drawn() in PAGE


def test_everyday_changes_are_listed() -> None:
    assert len(CHANGES) >= 15


@pytest.mark.parametrize(("change", "files"), CHANGES, ids=[change for change, _ in CHANGES])
def test_a_change_names_files_that_are_there(change: str, files: str) -> None:
    named = re.findall(r"`([\w/.-]+)`", files)
    assert 1 <= len(named) <= 2, change
    assert [file for file in named if not (ROOT / file).is_file()] == []


def test_every_path_on_the_page_exists() -> None:
    paths = re.findall(r"`((?:tasks|flows|hookline|tests|docs)/[\w/.-]*)`", PAGE)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_rooms_of_the_pipeline_stay_small() -> None:
    """Fifteen modules a folder, 350 lines a module: what no longer fits wants a room of its own."""
    modules = [path for path in (ROOT / "tasks").rglob("*.py") if path.name != "__init__.py"]
    in_folder = Counter(path.parent for path in modules)
    assert {folder.name: count for folder, count in in_folder.items() if count > 15} == {}
    assert [path.name for path in modules if len(path.read_text().splitlines()) > 350] == []
