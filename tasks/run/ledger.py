"""The account of a run: every listed video is entered once, as ranked, unchanged, rejected or failed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from tasks.core.amounts import number_of
from tasks.core.listing import Listing
from tasks.core.manifest import Estimate
from tasks.core.records import Failure, FailureKind, RankedVideo, Stage, Timeline
from tasks.core.tables.reuse import Reuse
from tasks.run.logs import log_event
from tasks.run.progress import current_progress


class Ledger:
    """The outcome of each video so far."""

    def __init__(
        self,
        listing: Listing,
        known: Reuse | None = None,
        *,
        run_id: str = "",
        expected: Estimate | None = None,
    ) -> None:
        self.run_id, self.expected = run_id, expected
        self.listed, self.left_out, self.inventory = listing.listed, listing.left_out, listing.inventory
        self.known = known or Reuse(listing.videos)
        self.ranked: list[RankedVideo] = []
        self.refused: list[Failure] = list(self.known.refused)
        if inventory := self.inventory:
            late = logging.WARNING if inventory.is_late(datetime.now(UTC)) else logging.INFO
            log_event(run_id, "list", inventory.sentence, level=late)
        if self.left_out.sentence:
            log_event(run_id, "list", self.left_out.sentence)
        current_progress.get().expect("videos", len(self.known.to_open) + len(listing.refused))
        for failure in listing.refused:
            self.refuse(failure)

    def rank(self, video: RankedVideo) -> None:
        """Enter a video that was ranked."""
        self.ranked.append(video)
        best = max((segment.score for segment in video.segments), default=None)
        ref, segments = video.timeline.video, len(video.segments)
        log_event(self.run_id, "rank", "ranked", video=ref, segments=segments, best_score=best)
        current_progress.get().advance("videos", name=ref.label)

    def refuse(self, failure: Failure) -> None:
        """Enter a video that was not ranked, and why."""
        log_event(
            self.run_id,
            failure.stage.value,
            f"{failure.kind.value}: {failure.detail}",
            video=failure.video,
            level=logging.WARNING,
            reason=failure.reason,
        )
        self.refused.append(failure)
        current_progress.get().advance("videos", name=failure.video.label)

    @contextmanager
    def account_for(self, timeline: Timeline) -> Iterator[None]:
        """An error in the block is a failure of this video; the others go on."""
        try:
            yield
        except Exception as error:
            self.refuse(Failure.from_error(timeline.video, Stage.FAST, error))

    @property
    def failures(self) -> list[Failure]:
        """All rows of `failures`: refused videos, and what went wrong with ranked ones."""
        in_ranked = [failure for video in self.ranked_now for failure in video.failures]
        return [*self.refused, *in_ranked, *self.known.damage]

    @property
    def ranked_now(self) -> list[RankedVideo]:
        """The videos whose rows this run makes: those it opened, and those it ranked from stored scores."""
        return [*self.ranked, *self.known.reranked]

    @property
    def summary(self) -> str:
        """The counts in a sentence; some are left out if they are 0."""
        counts = self.counts
        parts = [f"{counts['ranked']:,} of {number_of(counts['listed'], 'video')} ranked"]
        if reopened := counts["reopened"]:
            parts.append(f"{reopened:,} opened again for another head")
        notes = {
            "scored by another head from what is stored": counts["rescored"],
            "with the ranks of an earlier head until they are opened": counts["waiting"],
        }
        if unchanged := counts["unchanged"]:
            which = ", ".join(f"{count:,} {note}" for note, count in notes.items() if count)
            parts.append(f"{unchanged:,} unchanged" + f" ({which})" * bool(which))
        parts += [f"{counts['rejected']:,} rejected", f"{counts['failed']:,} failed"]
        if damaged := counts["truncated"]:
            parts.append(f"{damaged:,} ranked only in part")
        if unheard := counts["unheard"]:
            parts.append(f"{unheard:,} with broken sound")
        if unanswered := counts["unanswered"]:
            parts.append(f"{number_of(unanswered, 'candidate')} without an answer")
        return ", ".join(parts)

    @property
    def counts(self) -> dict[str, int]:
        """Videos by outcome: ranked, unchanged, rejected and failed add up to `listed`.

        Of the unchanged, `rescored` have the scores of another head, and `waiting` will have once they are
        opened; `reopened` counts those that were to be opened for it.
        `truncated` counts the ranked and unchanged videos of whose file a part is missing or not used,
        `unheard` those whose sound is broken,
        `windows` those scored in this run, `candidates` and `audited` those to be analysed, `cached` those of
        both with an analysis in the cache, and `unanswered` the candidates without an answer. `untranscribed`
        are the videos in which nobody knows what is said, because it could not be written down.
        """
        ranked = self.ranked
        timelines = [video.timeline for video in ranked] + self.known.timelines
        kinds = [failure.kind for failure in self.refused]
        return {
            "listed": self.listed,
            "ranked": len(ranked),
            "unchanged": self.known.unchanged,
            "rescored": self.known.rescored,
            "waiting": self.known.waiting,
            "reopened": self.known.reopened,
            "rejected": kinds.count(FailureKind.REJECTED),
            "failed": kinds.count(FailureKind.FAILED),
            "truncated": sum(bool(timeline.damage or timeline.unused) for timeline in timelines),
            "unheard": sum(bool(timeline.sound_damage) for timeline in timelines),
            "windows": sum(len(video.scored.windows) for video in ranked),
            "candidates": sum(len(video.analyses) for video in self.ranked_now),
            "audited": sum(len(video.audits) for video in self.ranked_now),
            "cached": sum(video.cached for video in self.ranked_now),
            "unanswered": sum(video.unanswered for video in self.ranked_now),
            "untranscribed": sum(bool(video.scored.failures) for video in self.ranked_now),
        }
