"""Homes of Prefect in which a server starts at once: the database is migrated once, then copied."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hookline.server import EmbeddedServer


def environment_of_a_user(home: Path) -> dict[str, str]:
    """This process's environment as a user would have it: nothing of Prefect is set or switched off."""
    ours = ("DO_NOT_TRACK", "CI")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and k not in ours}
    return kept | {"PREFECT_HOME": str(home)}


def new_home(folder: Path) -> Path:
    """Make `folder` a home like one that a server has already run in."""
    shutil.copytree(_template(), folder, dirs_exist_ok=True)
    return folder


def _template() -> Path:
    """What the first server of this version has left; kept in the virtual environment."""
    template = Path(sys.prefix) / f"prefect-home-{version('prefect')}"
    with Path(f"{template}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the tests need it, too
        if not template.exists():
            with TemporaryDirectory(dir=sys.prefix) as folder:
                first = Path(folder) / "home"
                with patch.dict(os.environ, PREFECT_HOME=str(first)):
                    _start_once()
                first.rename(template)
    return template


def _start_once() -> None:
    server = EmbeddedServer()
    server.launch()
    try:
        server.wait()
    finally:
        server.stop()
