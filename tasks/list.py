"""List the videos of the source."""

from __future__ import annotations

from tasks.adapters.storage import open_store
from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.run.retries import retried


@retried("list videos")
def list_videos(settings: Settings) -> list[VideoRef]:
    """Every video of the source that the pattern selects, by URI.

    Raises:
        StorageError: the source cannot be listed.
    """
    return open_store(settings.source).videos(settings.select.pattern, limit=settings.select.limit)
