"""What a source holds: its videos, and what else lies there and is not ranked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from tasks.core.patterns import pattern_regex
from tasks.core.records import VideoRef
from tasks.core.uris import name_in

_RUN = r"\d{8}T\d{6}Z-[0-9a-f]{6}"
_WRITTEN_BY_HOOKLINE = re.compile(
    rf"(?:^|/)(?:(?:clips|reports)/{_RUN}/.+"
    rf"|runs/{_RUN}\.json"
    rf"|[a-z]+/(?:run_date=[\d-]+/)?{_RUN}\.parquet"
    r"|thumbnails/[0-9a-f]{16}/\d+\.jpg"
    r"|analyses/[0-9a-f]{2}/[0-9a-f]+\.json"
    r"|\.hookline)\Z",
    re.DOTALL,
)


class LeftOut(BaseModel, frozen=True):
    """Files of a source that are not ranked. `own` counts those that Hookline itself has written."""

    own: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The videos of a source by URI, and what is left out."""

    videos: Sequence[VideoRef]
    left_out: LeftOut = field(default_factory=LeftOut)


class Sieve:
    """Sorts the files of a source, one at a time, into videos and others.

    What Hookline wrote is no video, whatever `pattern` says: `output` is where this run writes; what other
    outputs hold is known by its names. A source that is one single file is a video.
    """

    def __init__(self, source: str, pattern: str, *, output: str = "") -> None:
        self._source, self._output = source, output
        self._matches = pattern_regex(pattern).fullmatch
        self._videos: list[VideoRef] = []
        self._own = 0

    def add(self, file: VideoRef) -> None:
        """Sort one more file."""
        if self.is_own(file.uri):
            self._own += 1
        elif file.uri == self._source or self._matches(name_in(file.uri, self._source)):
            self._videos.append(file)

    def is_own(self, uri: str) -> bool:
        """Whether Hookline wrote this file."""
        if self._output and uri.startswith(self._output + "/"):
            name = name_in(uri, self._output)
            return name == "latest.json" or is_own_name(name)
        return uri != self._source and is_own_name(name_in(uri, self._source))

    def listing(self, *, limit: int = 0) -> Listing:
        """All that was sorted; of the videos at most the first `limit` by URI, 0 = all."""
        videos = sorted(self._videos, key=lambda video: video.uri)
        return Listing(videos[:limit] if limit else videos, LeftOut(own=self._own))


def is_own_name(name: str) -> bool:
    """Whether a name ends as those do that Hookline gives to its files.

    >>> is_own_name("out/clips/20261122T020000Z-0a1b2c/cat-12345678/0001_0m00s-0m59s.mp4")
    True
    >>> is_own_name("out/clips/cat.mp4")
    False
    """
    return _WRITTEN_BY_HOOKLINE.search(name) is not None
