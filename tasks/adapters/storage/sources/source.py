"""The videos of a source, wherever their names come from: the source itself, a list, or an inventory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tasks.adapters.storage import Store, open_store, store_of
from tasks.adapters.storage.sources.inventory import find_manifest, read_inventory
from tasks.adapters.storage.sources.uri_list import ENDINGS, is_uri_list, looked_up, videos_of_list
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError
from tasks.core.findings import Finding
from tasks.core.listing import Listing, Sieve
from tasks.core.records import Failure, VideoRef
from tasks.core.records.listed import ListedVideos
from tasks.core.settings.select import LIVE, Select

FILES_LOOKED_AT = 1000
"""Files of a source that are listed: S3 gives as many with one answer."""

NAMES_LOOKED_AT = 20
"""Videos of a list, or without an ETag in an inventory, that are looked up, with a request each."""


def list_source(source: Store, select: Select, *, output: str = "", first: bool = False) -> Listing:
    """The videos of a source that `select` takes, by URI, and what is left out.

    What this run's `output` holds of Hookline's own is left out. `first`: only some are looked at.

    Raises:
        SettingsError: the source, or what `select.listing` names, is a list or inventory that cannot be used.
        StorageError: the source cannot be listed.
    """
    if is_uri_list(source):
        if select.listing != LIVE:
            raise SettingsError(
                f"select.listing is {select.listing!r}, and the source {source.uri} is a list itself: name "
                "the folder or bucket as source, or leave select.listing out."
            )
        return _of_list(source, select, output=output, first=first)
    if select.listing.lower().endswith(ENDINGS):
        return _of_list(open_store(select.listing), select, output=output, first=first, folder=source.uri)
    looked_at = FILES_LOOKED_AT if first else None
    if select.listing == LIVE:
        return source.listing(select.pattern, limit=select.limit, output=output, first=looked_at)
    return _of_inventory(find_manifest(select.listing), source, select, output=output, first=first)


def _of_inventory(manifest: Store, source: Store, select: Select, *, output: str, first: bool) -> Listing:
    """What an inventory lists. Where it lacks the ETag of a video, the bucket is asked for that one."""
    sieve = Sieve(source.uri, select.pattern, output=output)
    inventory, objects = read_inventory(manifest, source)
    unknown, refused = list[str](), list[Failure]()

    def found() -> Iterator[VideoRef]:
        for video in filter(sieve.takes, islice(objects, FILES_LOOKED_AT if first else None)):
            if video.etag:
                yield video
            else:
                unknown.append(video.uri)
        del unknown[NAMES_LOOKED_AT if first else len(unknown) :]
        yield from looked_up(unknown, refused, folder=source.uri, source=manifest.uri)

    videos = ListedVideos.of(found())
    inventory = inventory.model_copy(update={"looked_up": len(unknown)})
    return Listing(videos[: select.limit or None], sieve.left_out, refused, inventory)


def _of_list(names: Store, select: Select, *, output: str, first: bool, folder: str = "") -> Listing:
    looked_at = NAMES_LOOKED_AT if first else None
    return videos_of_list(names, folder=folder, limit=select.limit, output=output, first=looked_at)


def check_source(uri: str, select: Select, *, output: str = "") -> Finding:
    """Whether videos can be listed, and one of them read.

    Raises:
        StorageError: they cannot.
        SettingsError: there is a list or an inventory that cannot be used.
    """
    source = open_store(uri)
    listing = list_source(source, select, output=output, first=True)
    # What an inventory lists may have been removed since.
    gone = [each for each in listing.refused if listing.inventory and each.reason == "not_found"]
    if unusable := [each for each in listing.refused if each not in gone]:
        first = f"{len(unusable)} of its first names cannot be used, such as {unusable[0].detail}"
        return Finding("Source", "wrong", f"{source.uri}: {first}")
    if not listing.videos:
        left_out = listing.left_out.sentence
        what = "no video among the files that were looked at" if gone or left_out else "no file"
        what += f". {left_out}" * bool(left_out)
        fix = "Check the folder and select.pattern."
        return Finding("Source", "wrong", f"{source.uri} can be listed, but has {what}. {fix}")
    with store_of(listing.videos[0]).opened(listing.videos[0].uri) as stream:
        stream.read(1)
    seen = number_of(len(listing.videos), "video")
    by = f" ({listing.inventory.sentence})" if listing.inventory else ""
    return Finding("Source", "ok", f"{source.uri} can be listed and read: {seen} at a first look{by}")
