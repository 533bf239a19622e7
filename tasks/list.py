"""List the videos of the source."""

from __future__ import annotations

from tasks.adapters.storage import open_store
from tasks.adapters.storage.sources.source import list_source
from tasks.core.listing import Listing
from tasks.core.settings import Settings
from tasks.run.retries import retried


@retried("list videos")
def list_videos(settings: Settings) -> Listing:
    """Every video of the source that the settings select, by URI, and what else is there.

    A list of videos names them itself: `select.pattern` does not matter then.

    Raises:
        StorageError: the source cannot be listed.
        SettingsError: there is a list or an inventory that cannot be used.
    """
    return list_source(open_store(settings.source), settings.select, output=open_store(settings.output).uri)
