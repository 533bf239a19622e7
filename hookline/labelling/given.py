"""What is in a file of labels, and which videos it is about."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hookline.labelling.curves import Curve
from tasks.core.names import composed
from tasks.core.tables.library import LibraryEntry

IN_BRACKETS = re.compile(r"\[([\w-]{11})\]\Z")
"""The id of a video at the end of its name, where yt-dlp puts it."""


@dataclass(frozen=True, slots=True)
class Given:
    """Rows of labels, and curves."""

    rows: Sequence[Mapping[str, Any]] = ()
    curves: Sequence[Curve] = ()


class Videos:
    """The ranked videos of a library, by what files may call them, and how long each is.

    A video is called by its URI; one of those that are `listed` also by the name of its file with or without
    the ending, or by its id on YouTube at the end of that name in brackets.
    """

    def __init__(self, entries: Mapping[str, LibraryEntry], listed: Collection[str]) -> None:
        timelines = {uri: entry.timeline for uri, entry in entries.items() if entry.timeline}
        self.duration_s = {uri: timeline.duration_s for uri, timeline in timelines.items()}
        self._called: dict[str, set[str]] = {}
        for uri in timelines.keys() & listed:
            file = uri.rpartition("/")[2]
            stem = file.rpartition(".")[0] or file
            for name in (file, stem, *IN_BRACKETS.findall(stem)):
                self._called.setdefault(composed(name), set()).add(uri)

    def __contains__(self, name: str) -> bool:
        return self.uri(name) in self.duration_s

    def uri(self, name: str) -> str:
        """The URI of a video; the name itself where none, or several, are called so."""
        found = self._called.get(composed(name.strip()), set())
        return next(iter(found)) if len(found) == 1 and name not in self.duration_s else name
