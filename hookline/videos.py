"""The videos that somebody means by a part of their name."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from tasks.adapters.storage import Store
from tasks.adapters.storage.published import read_in_parts, read_rows_of, read_table
from tasks.core.errors import SettingsError
from tasks.core.manifest import Manifest
from tasks.core.names import caseless
from tasks.core.records import VideoRef
from tasks.core.tables.library import LibraryEntry, of_gone, of_listed, read_library

MAX_NAMED = 5
"""Videos that an error names, where one was meant."""

MAX_COMPARED = 50_000
"""Names of which the nearest is looked for: of a million, that takes minutes."""


def video_called(store: Store, run: Manifest, part: str) -> LibraryEntry:
    """The one ranked video of a run with this in its URI; the whole name goes before a part of it.

    Raises:
        SettingsError: there is no such video, or several.
    """
    wanted = caseless(part)
    found = [uri for uri in ranked_uris(store, run) if wanted in caseless(uri)]
    named = [uri for uri in found if part in (uri, _name(uri))]
    if not found:
        none = f"{part}: no ranked video of run {run.run_id} has this in its URI"
        if refused := of_videos(read_table(store, "failures", run), part).to_pylist():
            raise SettingsError(f"{none}; {refused[0]['video_uri']} is not ranked: {refused[0]['detail']}")
        if seen := last_seen(store, run, part):
            raise SettingsError(f"{none}; {seen}")
        some = list(islice(ranked_uris(store, run), MAX_COMPARED + 1))
        names = {caseless(_name(uri)): uri for uri in some} if len(some) <= MAX_COMPARED else {}
        nearest = [names[name] for name in get_close_matches(wanted, names, n=1)]
        hint = f": {nearest[0]} is nearest to it" if nearest else ""
        raise SettingsError(f"{none}{hint}")
    if len(named or found) > 1:
        names_of_some = ", ".join((named or found)[:MAX_NAMED])
        raise SettingsError(
            f"{part}: {len(named or found)} videos have this in their URI, such as {names_of_some}: "
            "write more of it"
        )
    (uri,) = named or found
    rows = read_rows_of(store, "library", None, video=uri, run_date=run.run_date, run_id=run.run_id)
    return read_library(rows)[uri]


def ranked_uris(store: Store, run: Manifest) -> Iterator[str]:
    """The URIs of the ranked videos of a run, as they come from its library; not of those that are gone."""
    for table in read_in_parts(store, "library", run, ["video_uri", "status"], optional=["listed"]):
        listed = of_listed(table)
        yield from listed.filter(pc.equal(listed["status"], "ranked"))["video_uri"].to_pylist()


def last_seen(store: Store, run: Manifest, part: str) -> str:
    """When a video that a run knows, and did not list, was listed last; where its ranks are; or nothing."""
    columns, optional = ["video_uri", "last_listed"], ["listed", "ranked_in"]
    for table in read_in_parts(store, "library", run, columns, optional=optional):
        for row in of_videos(of_gone(table), part).slice(0, 1).to_pylist():
            where = f": add --run {row['ranked_in']}" if row["ranked_in"] else ""
            return f"{row['video_uri']} was listed last on {row['last_listed']}{where}"
    return ""


def of_videos(table: pa.Table, part: str) -> pa.Table:
    """The rows of videos that have `part` in their URI, in whatever letter case and Unicode form."""
    wanted = [uri for uri in pc.unique(table["video_uri"]).to_pylist() if caseless(part) in caseless(uri)]
    return table.filter(pc.is_in(table["video_uri"], pa.array(wanted, pa.string())))


def _name(uri: str) -> str:
    return VideoRef(uri, "", 0).name
