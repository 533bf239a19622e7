"""Homes of Prefect: none of a user's own is touched."""

from __future__ import annotations

import os
from pathlib import Path

from hookline.database import needs_no_migration


def environment_of_a_user(home: Path) -> dict[str, str]:
    """This process's environment as a user would have it: nothing of Prefect is set or switched off."""
    ours = ("DO_NOT_TRACK", "CI")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and k not in ours}
    return kept | {"PREFECT_HOME": str(home)}


def new_home(folder: Path) -> Path:
    """Make `folder` a home with a database, which `prefect server start` would take seconds to make."""
    assert needs_no_migration(f"sqlite+aiosqlite:///{folder.resolve()}/prefect.db")
    return folder
