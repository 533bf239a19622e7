"""The table of words: what is said in the videos that a run opened, and when."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import pyarrow as pa

from tasks.core.records import Timeline
from tasks.core.speech.chunks import chunks
from tasks.core.tables.schemas import WORDS


def words_table(timelines: Iterable[Timeline], *, run_id: str) -> pa.Table:
    """One row a word, by video and start. Of a video all that is known is written, whichever run heard it."""
    in_order = sorted(timelines, key=lambda timeline: timeline.video.uri)
    return pa.concat_tables([WORDS.empty_table(), *(_words(each, run_id) for each in in_order)])


def _words(timeline: Timeline, run_id: str) -> pa.Table:
    heard = timeline.heard
    words = heard.transcript.words if heard and heard.transcript else ()
    starts = [start for start, _ in chunks(heard.speech, end_ms=heard.end_ms)] if heard else []
    columns = {
        "run_id": [run_id] * len(words),
        "video_uri": [timeline.video.label] * len(words),
        "video_etag": [timeline.video.etag] * len(words),
        "start": [word.start_ms / 1000 for word in words],
        "end": [word.end_ms / 1000 for word in words],
        "word": [word.word.strip() for word in words],
        "probability": [word.probability for word in words],
        "segment": [bisect_right(starts, (word.start_ms + word.end_ms) // 2) - 1 for word in words],
    }
    return pa.Table.from_pydict(columns, schema=WORDS)
