"""List the videos of the source."""

from __future__ import annotations

from tasks.adapters.storage import open_store
from tasks.core.listing import Listing
from tasks.core.settings import Settings
from tasks.run.retries import retried


@retried("list videos")
def list_videos(settings: Settings) -> Listing:
    """Every video of the source that the settings select, by URI, and what else is there.

    Raises:
        StorageError: the source cannot be listed.
    """
    select, output = settings.select, open_store(settings.output).uri
    return open_store(settings.source).listing(select.pattern, limit=select.limit, output=output)
