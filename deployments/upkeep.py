"""The flow of the deployment `upkeep`: a Prefect server forgets the runs that ended long ago."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from pydantic import Field

from hookline.history import KEEP_DAYS, remove_old_runs


@flow(name="remove-history")
def remove_history(
    keep_days: Annotated[
        int,
        Field(ge=1, title="Keep days", description="How long the history of a run is kept after its end."),
    ] = KEEP_DAYS,
) -> None:
    """Remove the history of Hookline's runs that ended before. What they published is not touched."""
    removed = asyncio.run(_removed(datetime.now(UTC) - timedelta(days=keep_days)))
    get_run_logger().info("%s runs removed that ended more than %s days ago", removed, keep_days)


async def _removed(before: datetime) -> int:
    async with get_client() as client:
        return await remove_old_runs(client, before=before)
