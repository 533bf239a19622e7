"""What a source holds: its videos, and what else lies there and is not ranked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import BaseModel

from tasks.core.amounts import number_of
from tasks.core.names import composed, legible
from tasks.core.patterns import pattern_regex
from tasks.core.records import Failure, VideoRef
from tasks.core.uris import name_in

MAX_NAMED = 1000
"""Names of what is passed over that are kept."""

MAX_ENDINGS = 8
"""Endings that a sentence names."""

LATE_AFTER = timedelta(hours=48)
"""A daily inventory is there a day after what it describes."""

_RUN = r"\d{8}T\d{6}Z-[0-9a-f]{6}"
_WRITTEN_BY_HOOKLINE = re.compile(
    rf"(?:^|/)(?:(?:clips|reports)/{_RUN}/.+"
    rf"|runs/{_RUN}\.json"
    rf"|heads/(?:latest\.json|{_RUN}/(?:head\.safetensors|head\.json|card\.md))"
    r"|adapters/(?:unfinished/[0-9a-f]+\.safetensors"
    rf"|{_RUN}/(?:adapter_model\.safetensors|adapter_config\.json|tuning\.json|card\.md))"
    rf"|[a-z]+/(?:run_date=[\d-]+/)?{_RUN}\.parquet"
    r"|thumbnails/[0-9a-f]{16}/\d+\.jpg"
    r"|(?:analyses|speech)/[0-9a-f]{2}/[0-9a-f]+\.json"
    r"|\.hookline)\Z",
    re.DOTALL,
)
_SYSTEM = (
    "@eaDir|#recycle|@Recycle|#snapshot|@Recently-Snapshot|~snapshot"  # network drives
    r"|\$RECYCLE\.BIN|System Volume Information|Thumbs\.db|desktop\.ini"
    r"|__MACOSX|lost\+found"
)
# A bucket's names may have parts `.` and `..`, which hide nothing.
_HIDDEN = re.compile(rf"(?:.*?/)??(?:\.(?!\.?(?:/|\Z))[^/]*|{_SYSTEM})(?:/|\Z)", re.DOTALL | re.IGNORECASE)
_ENDING = re.compile(r"[^/]\.([a-z0-9_+-]{1,10})\Z")


class LeftOut(BaseModel, frozen=True):
    """What of a source is not ranked, and why not.

    `by_ending` counts what the pattern does not take, `passed_over` hidden files and folders, those of
    the system, markers and links to folders, of which `named` are the first; `own` what Hookline itself
    has written.
    """

    by_ending: dict[str, int] = {}
    passed_over: int = 0
    named: list[str] = []
    own: int = 0

    @property
    def sentence(self) -> str:
        """All of it in a sentence; empty if nothing is left out.

        >>> LeftOut(by_ending={"jpg": 1200, "": 2}).sentence
        'Left out: 1,202 files that select.pattern does not take (1,200 .jpg, 2 without an ending)'
        """
        parts = []
        if self.by_ending:
            files = number_of(sum(self.by_ending.values()), "file")
            parts.append(f"{files} that select.pattern does not take ({self._endings()})")
        if self.passed_over:
            words = ("hidden file, marker or link", "hidden files, markers or links")
            parts.append(number_of(self.passed_over, *words))
        parts += [f"{self.own:,} that Hookline wrote"] * bool(self.own)
        return f"Left out: {', '.join(parts)}" if parts else ""

    def _endings(self) -> str:
        most = sorted(self.by_ending.items(), key=lambda item: (-item[1], item[0]))
        named = [f"{count:,} .{end}" if end else f"{count:,} without an ending" for end, count in most]
        if rest := sum(count for _, count in most[MAX_ENDINGS:]):
            named[MAX_ENDINGS:] = [f"{rest:,} with others"]
        return ", ".join(named)


class Inventory(BaseModel, frozen=True):
    """The list of a bucket that its store has written: where it lies, and what time it describes.

    Of videos whose ETag it lacks the bucket was asked: `looked_up` says of how many.
    """

    uri: str
    written_at: datetime
    looked_up: int = 0

    @property
    def sentence(self) -> str:
        """Where the videos were read, and since when nothing is seen.

        >>> Inventory(uri="s3://lists/manifest.json", written_at="2026-11-25T01:00Z").sentence
        'Listed by the inventory s3://lists/manifest.json of 2026-11-25 01:00 UTC; nothing later is seen'
        """
        written = f"{self.written_at:%Y-%m-%d %H:%M} UTC"
        unknown = number_of(self.looked_up, "video") + " without an ETag there"
        asked = f"; looked up in the bucket: {unknown}" if self.looked_up else ""
        return f"Listed by the inventory {self.uri} of {written}; nothing later is seen{asked}"

    def is_late(self, now: datetime) -> bool:
        """Whether a newer one should be there, if there is one every day."""
        return now - self.written_at > LATE_AFTER


@dataclass(frozen=True, slots=True)
class Listing:
    """The videos of a source by URI, what is left out, and what a list names that cannot be used.

    `inventory` is where they were read, if that was not the source itself.
    """

    videos: Sequence[VideoRef]
    left_out: LeftOut = field(default_factory=LeftOut)
    refused: Sequence[Failure] = ()
    inventory: Inventory | None = None

    @property
    def listed(self) -> int:
        """How many videos a run accounts for."""
        return len(self.videos) + len(self.refused)


class Sieve:
    """Sorts the files of a source, one at a time, into videos and others.

    What Hookline wrote is no video, whatever `pattern` says: `output` is where this run writes; what other
    outputs hold is known by its names. Hidden files are none either, nor what systems keep for themselves,
    nor empty objects that stand for a folder. A source that is one single file is a video.
    """

    def __init__(self, source: str, pattern: str, *, output: str = "") -> None:
        self._source, self._output = source, output
        self._matches = pattern_regex(pattern).fullmatch
        self._endings: Counter[str] = Counter()
        self._passed_over: set[str] = set()
        self._own = 0

    def takes(self, file: VideoRef) -> bool:
        """Whether one more file is a video; if it is not, it is left out."""
        name = name_in(file.uri, self._source)
        if is_own(file.uri, self._output) or (name and file.uri != self._source and is_own_name(name)):
            self._own += 1
        elif file.uri == self._source:
            return True
        elif not self.enters(file.uri):
            return False
        elif is_marker(name, file.size_bytes):
            self.pass_over(file.uri)
        elif self._matches(composed(name)):
            return True
        else:
            self._endings[ending(name)] += 1
        return False

    def enters(self, uri: str) -> bool:
        """Whether a file or folder is neither hidden nor of the system; if it is, it is passed over."""
        name = name_in(uri, self._source)
        if hidden := _HIDDEN.match(name):
            self.pass_over(uri.removesuffix(name) + hidden[0])
        return not hidden

    def pass_over(self, uri: str) -> None:
        """Leave something out that is not for ranking."""
        self._passed_over.add(uri)

    @property
    def left_out(self) -> LeftOut:
        """What was no video so far."""
        return LeftOut(
            by_ending=dict(self._endings),
            passed_over=len(self._passed_over),
            named=[legible(uri) for uri in sorted(self._passed_over)[:MAX_NAMED]],
            own=self._own,
        )


def is_own(uri: str, output: str) -> bool:
    """Whether Hookline wrote this file under this output; empty = under none."""
    if not output or not uri.startswith(f"{output}/"):
        return False
    name = name_in(uri, output)
    return name == "latest.json" or is_own_name(name)


def is_own_name(name: str) -> bool:
    """Whether a name ends as those do that Hookline gives to its files.

    >>> is_own_name("out/clips/20261122T020000Z-0a1b2c/cat-12345678/0001_0m00s-0m59s.mp4")
    True
    >>> is_own_name("out/clips/cat.mp4")
    False
    """
    return _WRITTEN_BY_HOOKLINE.search(name) is not None


def is_marker(name: str, size_bytes: int) -> bool:
    """Whether an object only says that there is a folder, or that something is done: it is no file.

    >>> is_marker("2026/", 0), is_marker("2026_$folder$", 0), is_marker("_SUCCESS", 0), is_marker("a.mp4", 0)
    (True, True, True, False)
    """
    return name.endswith("/") or (not size_bytes and (not ending(name) or name.endswith("_$folder$")))


def ending(name: str) -> str:
    """The ending of a name in small letters; empty where there is none.

    >>> ending("2026.11/CAT.MP4"), ending("2026.11/cat"), ending("is this one?.no, it is not")
    ('mp4', '', '')
    """
    found = _ENDING.search(name.lower())
    return found[1] if found else ""
