"""What is heard in videos, kept under the output: no later run opens one for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.record_cache import RecordCache, StoreValues
from tasks.adapters.video.sound.weights import vad_identity
from tasks.core.records import Timeline, VideoRef
from tasks.core.scoring.analyses import video_identity
from tasks.core.speech.heard import Heard, Transcript, heard_json, heard_key, read_heard
from tasks.core.speech.transcripts import added
from tasks.work.spec import RunSpec


def keep_heard(timeline: Timeline, spec: RunSpec) -> Timeline:
    """Keep what is heard in a video that was just opened, unless an earlier run has.

    The same video, with what that run knew beyond it: what is said.
    """
    if timeline.heard is None:
        return timeline
    records, key = _records(spec), key_of(timeline.video, spec)
    known = records.get(key)
    if known and known.untranscribed == timeline.heard:
        return replace(timeline, heard=known)
    records.put(key, timeline.heard)
    return timeline


def keep_transcript(timeline: Timeline, new: Transcript, spec: RunSpec) -> Timeline:
    """Keep what is said in some chunks of a video, beside what is known of others; the same video with it."""
    # Another run may have written down other chunks since the video was opened.
    if (heard := newest(timeline, spec).heard) is None:
        return timeline
    known, own = heard.transcript, timeline.heard and timeline.heard.transcript
    if own and own.model == new.model:  # that run may have kept those of another model instead
        known = added(known, own)
    heard = replace(heard, transcript=added(known, new))
    _records(spec).put(key_of(timeline.video, spec), heard)
    return replace(timeline, heard=heard)


def newest(timeline: Timeline, spec: RunSpec) -> Timeline:
    """The same video with what is kept of it by now, if that is of the same sound."""
    heard = timeline.heard
    now = heard and _records(spec).get(key_of(timeline.video, spec))
    if heard and now and now.untranscribed == heard.untranscribed:
        return replace(timeline, heard=now)
    return timeline


def recall_heard(videos: Sequence[VideoRef], spec: RunSpec) -> dict[VideoRef, Heard]:
    """What earlier runs have heard in these videos, as far as it is known.

    Raises:
        StorageError: the output cannot be reached.
    """
    if not spec.settings.speech.enabled:
        return {}
    keys = {video: key_of(video, spec) for video in videos}
    known = _records(spec).read_many(list(keys.values()))
    return {video: known[key] for video, key in keys.items() if key in known}


def heard_before(video: VideoRef, output: Store, threshold: float) -> Heard | None:
    """What earlier runs have heard in a video with this threshold of speech; None if it is not known.

    Raises:
        StorageError: the output cannot be reached.
    """
    key = heard_key(video_identity(video), vad=vad_identity(), threshold=threshold)
    return _records_under(output).read_many([key]).get(key)


def key_of(video: VideoRef, spec: RunSpec) -> str:
    """The key of what a run hears in a video."""
    threshold = spec.settings.speech.threshold
    return heard_key(video_identity(video), vad=vad_identity(), threshold=threshold)


def _records(spec: RunSpec) -> RecordCache[Heard]:
    return _records_of_run(spec.library or spec.settings.output, spec.run_id)


@lru_cache(maxsize=4)
def _records_of_run(output: str, run_id: str) -> RecordCache[Heard]:
    """One for each run, because a run stops using a cache that fails."""
    return _records_under(open_store(output))


def _records_under(output: Store) -> RecordCache[Heard]:
    return RecordCache(StoreValues(output, "speech"), "speech record", read=read_heard, written=heard_json)
