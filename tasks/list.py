"""List the videos of the source."""

from __future__ import annotations

from tasks.adapters.storage import open_store
from tasks.adapters.storage.uri_list import is_uri_list, videos_of_list
from tasks.core.listing import Listing
from tasks.core.settings import Settings
from tasks.run.retries import retried


@retried("list videos")
def list_videos(settings: Settings) -> Listing:
    """Every video of the source that the settings select, by URI, and what else is there.

    A list of videos names them itself: `select.pattern` does not matter then.

    Raises:
        StorageError: the source cannot be listed.
        SettingsError: the source is a list that cannot be used.
    """
    select, source, output = settings.select, open_store(settings.source), open_store(settings.output).uri
    if is_uri_list(source):
        return videos_of_list(source, limit=select.limit, output=output)
    return source.listing(select.pattern, limit=select.limit, output=output)
