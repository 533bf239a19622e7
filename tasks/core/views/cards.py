"""The card of a ranked segment, in the report and on the page of the service: its row, where to watch it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from tasks.core.views.clock import clock, watched
from tasks.core.views.edit_list import pictures_of
from tasks.core.views.timecode import frames_of, rate_near, timecode

TO_OUTPUT = "../.."
"""From the page's folder to the output."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet, and how many pictures lie side by side on it."""

    image: bytes
    pictures: int


@dataclass(slots=True, eq=False)
class Card:
    """One ranked segment: its row, where to watch it, and its contact sheet, if there is room for it.

    Without a sheet, `picture` is the one picture that is shown. `source` is where a browser finds the whole
    video, `fps` how many pictures a second that has, `timecode` that of its first picture; None where nobody
    knows. `copy_of` names the video that shows the same.
    """

    row: Mapping[str, Any]
    clip: str | None = None
    thumbnail: str | None = None
    source: str | None = None
    fps: float | None = None
    timecode: str | None = None
    sheet: Sheet | None = None
    picture: bytes | None = None
    copy_of: str | None = None

    @property
    def anchor(self) -> str:
        return f"{anchor(self.row['video_uri'])}-{self.row['rank']}"

    @property
    def answer(self) -> Mapping[str, Any] | None:
        answer: Mapping[str, Any] | None = self.row["videollama3"]
        return answer

    @property
    def why_not(self) -> str:
        """Why there is no answer, as a sentence fragment."""
        return f"not analysed: {self.row['deep_reason'] or self.row['deep_status']}"

    @property
    def start_s(self) -> float:
        return watched(self.row)[0]

    @property
    def end_s(self) -> float:
        return watched(self.row)[1]

    @property
    def begins_s(self) -> float:
        """With which second of the video what is played begins: that of the clip, else the video's first."""
        if not self.clip:
            return 0.0
        begins: float | None = self.row.get("clip_start")  # clips of earlier versions begin with the cut
        return self.start_s if begins is None else begins

    @property
    def played(self) -> str | None:
        """What a browser plays: the clip, else the video, from the start of the segment to its end."""
        return self.clip or (f"{self.source}#t={self.start_s:g},{self.end_s:g}" if self.source else None)

    @property
    def poster(self) -> str | None:
        """What is shown before anything is played."""
        return f"{self.clip.removesuffix('.mp4')}.jpg" if self.clip else self.thumbnail

    @property
    def captions(self) -> dict[str, str]:
        """The files of captions beside the clip, by their endings."""
        if not self.clip or self.row.get("clip_captions") != "files":
            return {}
        return {ending: f"{self.clip.removesuffix('mp4')}{ending}" for ending in ("srt", "vtt")}

    def watch(self, at_s: float) -> str | None:
        """A link to this second of the video: into the clip, or where a browser finds the video."""
        media = self.clip or self.source
        return f"{media}#t={max(0.0, at_s - self.begins_s):g}" if media else None

    @property
    def span(self) -> str:
        """From when to when, as it is copied: what the clip shows, if there is one, as a timeline has it."""
        start_s, end_s = self.row.get("clip_start"), self.row.get("clip_end")
        if start_s is None or end_s is None:
            start_s, end_s = self.start_s, self.end_s
        if not self.fps:
            return f"{clock(start_s)}-{clock(end_s)}"
        first, count = pictures_of(start_s, end_s, self._rate)
        return f"{self._timecode(first)}-{self._timecode(first + count)}"

    def stamp(self, at_s: float) -> str:
        """A time as it is copied: the timecode of the picture on screen, where the video's rate is known."""
        return self._timecode(pictures_of(at_s, at_s, self._rate)[0]) if self.fps else clock(at_s)

    @property
    def _rate(self) -> Fraction:
        return rate_near(self.fps or 0.0, self.timecode or "")

    def _timecode(self, number: int) -> str:
        start, is_drop = frames_of(self.timecode or "", self._rate) or (0, False)
        return timecode(start + number, self._rate, is_drop=is_drop)


@dataclass(slots=True)
class ShownMoment:
    """The best segment of a moment, and the other segments that show the same, by rank."""

    best: Card
    alternatives: list[Card] = field(default_factory=list)


def moments_of(cards: Sequence[Card]) -> list[ShownMoment]:
    """Cards by rank, sorted into moments. Earlier versions knew none: a card of theirs is one of its own."""
    moments: dict[object, ShownMoment] = {}
    for card in cards:
        key = card.row["moment"] or card
        if key in moments:
            moments[key].alternatives.append(card)
        else:
            moments[key] = ShownMoment(card)
    return list(moments.values())


def anchor(uri: str) -> str:
    """The anchor of a video in a page: the same in every report."""
    return "v" + hashlib.sha256(uri.encode()).hexdigest()[:10]


def in_output(name: str | None) -> str | None:
    """A link from the report to a file under the output."""
    return f"{TO_OUTPUT}/{quote(name)}" if name else None


def source_link(uri: str, *, source: str, media_base: str) -> str | None:
    """Where a browser finds a video: under `publish.media_base`, else as the file it is; None for neither.

    >>> source_link("s3://b/2026/a 1.mp4", source="s3://b", media_base="https://host/v/")
    'https://host/v/2026/a%201.mp4'
    >>> source_link("file:///v/a.mp4", source="file:///v/tonight.txt", media_base="")
    'file:///v/a.mp4'
    """
    folder = source.rstrip("/") + "/"
    if not uri.startswith(folder):  # a list, or a single video: names are those beside it
        folder = source.rpartition("/")[0] + "/"
    if media_base and uri.startswith(folder) and folder.count("/") > 2:
        return f"{media_base.rstrip('/')}/{quote(uri.removeprefix(folder))}"
    return f"file://{quote(uri.removeprefix('file://'))}" if uri.startswith("file://") else None
