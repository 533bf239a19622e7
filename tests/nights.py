"""Runs under one output that need no video and no model; what is recalled, compared and published is real."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.compare import find_duplicates
from tasks.core.listing import Listing
from tasks.core.records import (
    Analysis,
    Failure,
    FailureKind,
    RankedVideo,
    Stage,
    Timeline,
    VideoRef,
    Window,
    WindowFeatures,
)
from tasks.core.tables.reuse import Reuse
from tasks.publish import publish
from tasks.rank import rank_video
from tasks.recall import plan_reuse, read_previous_run
from tasks.run.ledger import Ledger
from tasks.run.run import Run
from tasks.score import score_video
from tasks.work.analyses import Analyses
from tests.library import read_table
from tests.spec import make_spec

WINDOWS = [Window(start, start + 5) for start in (0, 2, 4)]
Shows = int | tuple[int, int, int] | None
"""A number for the whole video, or for each of its windows; None: it is broken."""
BEGAN = datetime(2026, 11, 22, tzinfo=UTC)
SKIPPED = Analysis.skipped("disabled")


class Nights:
    """Runs under one output, over videos that are told apart by what they show, as numbers."""

    def __init__(self, folder: Path, fast: Checkpoint) -> None:
        self.folder, self.fast, self.count = folder, fast, 0
        self.opened: list[str] = []
        self.written: dict[str, datetime] = {}

    def run(
        self, shows: Mapping[str, Shows], *, etag: str = "", refused: Collection[str] = (), **ranking: Any
    ) -> dict[str, list[str | None]]:
        """The videos of which the segments of each are copies, by rank. `etag` is that of all videos.

        A list names the `refused` ones too, and they are not there.
        """
        self.count += 1
        began = BEGAN + timedelta(days=self.count)
        groups = {"ranking": {"top_n": 2} | ranking, "windows": {"window_seconds": [5], "stride_seconds": 2}}
        groups |= {"speech": {"enabled": False}, "publish": {"report": False, "thumbnails": False}}
        spec = make_spec("s3://b", self.folder / "out", fast=self.fast, **groups)
        spec = replace(spec, run_id=f"{began:%Y%m%dT%H%M%SZ}-{self.count:06x}", started_at=began)
        (scratch := self.folder / f"scratch-{self.count}").mkdir()
        run = Run(spec, scratch)
        refs = []
        for name, each in shows.items():
            written = self.written.setdefault(name, BEGAN + timedelta(days=self.count))
            refs.append(VideoRef(f"s3://b/{name}", etag or f"{name} {each}", 1, written))
        lost = [VideoRef(f"s3://b/{name}", "", 0) for name in refused]
        listing = Listing(refs, refused=[refusal(video, "not_found") for video in lost])
        previous = read_previous_run.fn(run)
        ledger = Ledger(listing, plan_reuse(listing, previous, run) if previous else Reuse(refs))
        self.opened = [video.name for video in ledger.known.to_open]
        for video in ledger.known.to_open:
            if (shown := shows[video.name]) is not None:
                ledger.rank(ranked(video, shown, run))
            else:
                ledger.refuse(refusal(video, "empty"))
        looks = ledger.ranked_now and spec.settings.ranking.duplicates != "keep"
        copies = find_duplicates.fn(ledger, run) if looks else None
        publish.fn(ledger, run, "Completed", copies)
        self.rows = read_table(self.folder / "out", "rankings", spec.run_id).to_pylist()
        found: dict[str, list[str | None]] = {name: [] for name in shows}
        for row in sorted(self.rows, key=lambda row: int(row["rank"])):
            original = row["duplicate_of"]
            found[row["video_uri"][7:]].append(original and original["video_uri"][7:])
        return found


def refusal(video: VideoRef, reason: str) -> Failure:
    return Failure(video, Stage.PROBE, FailureKind.REJECTED, reason, "It cannot be used.")


def ranked(video: VideoRef, shows: int | tuple[int, int, int], run: Run) -> RankedVideo:
    """Videos that show the same number have nearly the same embeddings, as have windows that do."""
    noise = np.random.default_rng(list(video.uri.encode())).standard_normal((3, 48)) * 3e-3
    every = (shows,) * 3 if isinstance(shows, int) else shows
    shown = [np.random.default_rng(number).standard_normal((3, 48))[n] for n, number in enumerate(every)]
    embeddings = (np.array(shown) + noise).astype(np.float32)
    timeline = Timeline(video, "", 9, 1, 28, 28, 9.0, "pyav")
    features = WindowFeatures(embeddings, np.array([0.1, 0.3, 0.2], np.float32))
    scored = score_video(timeline, [WINDOWS], [features], run.spec)
    analyses = Analyses({item.window: SKIPPED for item in scored.candidates})
    return rank_video(scored, analyses, run.spec.settings.ranking)
