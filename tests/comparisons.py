"""How many pairs of segments are compared with each other."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.tables.duplicates import Duplicates


def counted(patch: pytest.MonkeyPatch) -> list[int]:
    """The pairs of each comparison from here on, but for those within one block of new segments."""
    pairs: list[int] = []
    near = Duplicates._near

    def counting(self: Duplicates, ours: Any, theirs: Any) -> Any:
        pairs.append(len(ours) * len(theirs))
        return near(self, ours, theirs)

    patch.setattr(Duplicates, "_near", counting)
    return pairs
