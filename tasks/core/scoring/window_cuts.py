"""From the windows of a video to its cuts in milliseconds, and back to the ticks that these show.

A window stays what it is: the key of its scores and labels. Its cut is what people watch and the deep model
judges. Where nobody knows who speaks, there is none, and the window is all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tasks.core.records import ScoredWindow, Segment, Timeline, Window
from tasks.core.speech.cuts import Cut, Cutter, max_shift
from tasks.core.speech.heard import Word
from tasks.core.speech.spans import Span


def scored_windows(
    windows: Iterable[Window],
    scores: Iterable[int],
    timeline: Timeline,
    *,
    analysed: Collection[Window] = (),
) -> list[ScoredWindow]:
    """The windows of a video with their fast scores, and with their cuts where these are known.

    `analysed` are those that were `analysed_before`.
    """
    cutter = cutter_of(timeline)
    return [
        ScoredWindow(
            window,
            score,
            cut=cut_of(window, timeline, cutter) if cutter else None,
            analysed_before=window in analysed,
        )
        for window, score in zip(windows, scores, strict=True)
    ]


def cutter_of(timeline: Timeline) -> Cutter | None:
    """What finds the cuts of a video; None where nobody knows who speaks."""
    heard = timeline.heard
    # A record of another length is of another reading of the file.
    if heard is None or heard.status == "failed" or heard.end_ms != _milliseconds(timeline.n_ticks, timeline):
        return None
    return Cutter(heard.speech, end_ms=heard.end_ms)


def cut_of(window: Window, timeline: Timeline, cutter: Cutter, words: Sequence[Word] = ()) -> Cut:
    """The best cut near a window, by these words as well."""
    return cutter.cut(*_span(window, timeline), words)


def reach_of(window: Window, timeline: Timeline) -> Span:
    """From when to when the cut of a window may go."""
    start_ms, end_ms = _span(window, timeline)
    shift = max_shift(end_ms - start_ms)
    return start_ms - shift, end_ms + shift


def stretch_of(item: ScoredWindow | Segment) -> Span:
    """From when to when it goes, in one unit for all of a video: that of its cut, else ticks."""
    cut, window = item.cut, item.window
    return (cut.start_ms, cut.end_ms) if cut else (window.start, window.end)


def seconds_of(item: ScoredWindow | Segment, timeline: Timeline) -> tuple[float, float]:
    """From when to when it is watched: its cut, else its window."""
    cut, window = item.cut, item.window
    if cut:
        return cut.start_ms / 1000, cut.end_ms / 1000
    return timeline.seconds(window.start), timeline.seconds(window.end)


def ticks_of(item: ScoredWindow | Segment, timeline: Timeline) -> Window:
    """The ticks whose pictures lie in its cut: at least one, at most as many as its window has."""
    cut, window, fps = item.cut, item.window, timeline.fps
    if cut is None:
        return window
    # The picture of a tick is the last one before its end.
    first, end = cut.start_ms * fps // 1000, cut.end_ms * fps // 1000
    if cut.end_ms == _milliseconds(timeline.n_ticks, timeline):
        end = timeline.n_ticks
    return Window(first, max(first + 1, min(end, first + window.length)))


def _span(window: Window, timeline: Timeline) -> Span:
    return _milliseconds(window.start, timeline), _milliseconds(window.end, timeline)


def _milliseconds(tick: int, timeline: Timeline) -> int:
    """The time of a tick, not before it; the last one ends with the video."""
    return min(-(-tick * 1000 // timeline.fps), int(timeline.duration_s * 1000))
