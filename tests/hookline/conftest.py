"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prefect_home import new_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Prefect for runs in processes of their own."""
    return new_home(tmp_path_factory.mktemp("prefect"))
