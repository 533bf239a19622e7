"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.demo_models import write_demo_models


@pytest.fixture(scope="session")
def demo_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small untrained checkpoints: `videomae` and `videollama3`."""
    folder = tmp_path_factory.mktemp("demo-models")
    write_demo_models(folder)
    return folder
