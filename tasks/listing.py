"""Which videos there are."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.adapters.storage import open_store
from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.run.retries import retry_if_transient


@task(
    name="list videos",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def list_videos(settings: Settings) -> list[VideoRef]:
    """Every video of the source that the pattern selects, by URI.

    Raises:
        StorageError: the source cannot be listed.
    """
    return open_store(settings.source).videos(settings.select.pattern, limit=settings.select.limit)
