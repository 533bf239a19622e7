"""Which pictures represent a ranked segment, and the names of pictures and clips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.records import Segment, Timeline, VideoRef, Window
from tasks.core.scoring.window_cuts import seconds_of, ticks_of
from tasks.core.speech.spans import Span

SHEET_FRAMES = 6
"""Pictures on a contact sheet, evenly spread over the segment."""

NAME_LENGTH = 60
"""Characters of a video's name that the folder of its clips keeps."""

MAX_FLASH_MS = 500
"""A shot that is seen for less at an end of a clip is a flash. No end moves further for one, and none by more
than a quarter of the clip."""

VAD_FRAME_MS = 32
"""So exactly is known when speech begins and ends: that much of it may go with a flash."""

Crop = tuple[int, int]
"""Width to height of a picture, as `9:16`."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of a video in seconds on its own clock; its poster is the last picture before `poster_s`.

    Its start may come up to `start_room_s` later, its end up to `end_room_s` earlier, where the picture there
    is a flash of another shot.
    """

    start_s: float
    end_s: float
    poster_s: float
    start_room_s: float = 0.0
    end_room_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Framing:
    """From `start_s` of a video on, the middle of a crop lies at `crop_x` of the width, from 0 (left) to 1.

    `found` says why: `faces`, `motion` (what moves and stands out), `centre`, or `given` by an editor.
    """

    start_s: float
    crop_x: float
    found: str = "given"


def strongest_tick(segment: Segment, timeline: Timeline) -> int:
    """The tick of the first moment the model named, else the middle of what the segment shows."""
    shown, answer = ticks_of(segment, timeline), segment.analysis.answer
    for moment in answer.viral_moments if answer else ():
        if shown.start <= (tick := int(moment.timestamp_s * timeline.fps)) < shown.end:
            return tick
    return (shown.start + shown.end) // 2


def sheet_ticks(window: Window) -> list[int]:
    """Which of the ticks that a segment shows are on its contact sheet: the middles of `SHEET_FRAMES` parts.

    >>> sheet_ticks(Window(0, 60))
    [5, 15, 25, 35, 45, 55]
    >>> sheet_ticks(Window(7, 9))
    [7, 8]
    """
    count = min(SHEET_FRAMES, window.length)
    return [window.start + (2 * part + 1) * window.length // (2 * count) for part in range(count)]


def cut_of(segment: Segment, timeline: Timeline) -> Cut:
    """The stretch that is watched of a ranked segment."""
    start_s, end_s = seconds_of(segment, timeline)
    poster_s = min(timeline.seconds(strongest_tick(segment, timeline) + 1), end_s)
    speech = timeline.heard.speech if timeline.heard else ()
    start_room, end_room = _rooms(round(start_s * 1000), round(end_s * 1000), speech)
    return Cut(start_s, end_s, poster_s, start_room / 1000, end_room / 1000)


def _rooms(start_ms: int, end_ms: int, speech: Sequence[Span]) -> tuple[int, int]:
    """How far the start and the end of a cut may move inward.

    One that lies in a pause leaves it by no more than `VAD_FRAME_MS`.

    >>> _rooms(1000, 9000, [(1200, 3000), (4000, 8900)]), _rooms(1000, 9000, [(900, 9100)])
    ((232, 132), (500, 500))
    """
    most = min(MAX_FLASH_MS, (end_ms - start_ms) // 4)
    begins = [begin - start_ms for begin, _ in speech if start_ms <= begin and _is_pause(start_ms, speech)]
    ends = [end_ms - end for _, end in speech if end <= end_ms and _is_pause(end_ms, speech)]
    start_room, end_room = (VAD_FRAME_MS + min(found, default=most) for found in (begins, ends))
    return min(most, start_room), min(most, end_room)


def _is_pause(at_ms: int, speech: Sequence[Span]) -> bool:
    return not any(begin < at_ms < end for begin, end in speech)


def thumbnail_name(video: VideoRef, tick: int, fps: int) -> str:
    """Where the picture of a tick of a video lies under the output: the same in every run.

    Its number is the end of the tick in milliseconds, before which it is the last picture.

    >>> thumbnail_name(VideoRef("file:///a.mp4", "1", 1), 74, 2)
    'thumbnails/c556c2e7639ebbe4/000037500.jpg'
    """
    return f"{thumbnail_folder(video)}/{(tick + 1) * 1000 // fps:09}.jpg"


def thumbnail_folder(video: VideoRef) -> str:
    """Where the pictures of one version of a video lie under the output."""
    return f"thumbnails/{video.key[:16]}"


def clip_name(video: VideoRef, cut: Cut, *, run_id: str, rank: int | None = None) -> str:
    """Where a clip lies under the output; names sort by rank, 1000 of them at the most.

    Without a rank it is what an editor has asked for.
    """
    first = "cut" if rank is None else f"{rank:04}"
    span = f"{_stamp(cut.start_s)}-{_stamp(cut.end_s)}"
    return f"clips/{run_id}/{_stem(video)}-{video.key[:8]}/{first}_{span}.mp4"


def edit_list_name(video: VideoRef, kind: str, *, run_id: str) -> str:
    """Where the timeline of a video for editing programs lies under the output: beside its clips.

    >>> edit_list_name(VideoRef("file:///a.mp4", "1", 1), "edl", run_id="run")
    'clips/run/a-c556c2e7/a.edl'
    """
    return f"clips/{run_id}/{_stem(video)}-{video.key[:8]}/{_stem(video) or 'video'}.{kind}"


def sheet_name(video: VideoRef, window: Window) -> str:
    """What the contact sheet of a segment is called on scratch."""
    return f"{video.key[:16]}-{window.start}-{window.end}.webp"


def crop_ratio(crop: str) -> Crop | None:
    """The ratio that `publish.crop` sets; None for no crop.

    >>> crop_ratio("9:16"), crop_ratio("none")
    ((9, 16), None)
    """
    if crop == "none":
        return None
    width, _, height = crop.partition(":")
    return int(width), int(height)


def _stem(video: VideoRef) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", video.name.rpartition(".")[0] or video.name)
    return stem.strip("._")[:NAME_LENGTH]


def _stamp(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    shown = f"{rest:06.3f}".rstrip("0").rstrip(".")
    return f"{minutes:.0f}m{shown}s"
