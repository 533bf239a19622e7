"""Where the code of the flows lies on this machine: in a clone of the repository, or in an image."""

from __future__ import annotations

from pathlib import Path

CLONE = Path(__file__).parents[1]


def work_in_it() -> dict[str, str]:
    """A run starts in the worker's own clone: Prefect's pull step of `prefect.yaml`.

    Without it a run would look for the clone of whoever deployed, at the same path. Relative paths in the
    settings of a run count from here.
    """
    return {"directory": str(CLONE)}
