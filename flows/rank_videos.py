"""The main job: list, recall, open, score windows, choose, analyse, rank, publish."""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import flow, unmapped
from prefect.client.schemas.objects import State

from tasks.artifacts import show_results
from tasks.core.records import Failure, Timeline
from tasks.core.settings import Settings
from tasks.deep import analyse_candidates
from tasks.fast import load_fast_model, score_video, score_windows, window_batches
from tasks.library import recall
from tasks.listing import list_videos
from tasks.publishing import publish
from tasks.ranking import rank_video
from tasks.render import render_media
from tasks.run.concurrency import run_concurrently
from tasks.run.ledger import Ledger
from tasks.run.outcome import conclude, conclude_without_run, final_state
from tasks.run.progress_artifact import progress_on_the_page
from tasks.run.run import Run, start_run
from tasks.timelines import closing_video, open_timelines
from tasks.work.opening import ranked_at_once


@flow(name="rank-videos", flow_run_name="rank {settings.source}")
def rank_videos(settings: Settings) -> State[Any]:
    """Rank the moments of all videos of a source, and publish the rankings.

    Only new and changed videos are opened; the others are ranked by what earlier runs stored.

    Ends as `Completed`, as `CompletedWithFailures` when some videos could not be used (each is a row
    in `failures`), or as `Failed` when nothing could be ranked.
    """
    videos = list_videos(settings)
    if settings.dry_run or not videos:
        return conclude_without_run(videos, settings)

    with start_run(settings) as run, progress_on_the_page():
        known = recall(videos, run)  # by earlier runs: it is not found out again
        ledger = Ledger(videos, known, run_id=run.run_id)
        if known.to_open:
            load_fast_model(run)
        opened = open_timelines(known.to_open, run)  # the next videos are fetched and decoded meanwhile
        run_concurrently(
            partial(rank_opened, run=run, ledger=ledger), opened, at_once=partial(ranked_at_once, run)
        )
        manifest = publish(ledger, run, final_state(ledger, settings))
        return conclude(show_results(manifest, ledger, run))


def rank_opened(opened: Timeline | Failure, *, run: Run, ledger: Ledger) -> None:
    """One video: score its windows, choose, analyse, rank, render_media."""
    if isinstance(opened, Failure):
        ledger.refuse(opened)
        return
    with ledger.account_for(opened), closing_video(opened, run):
        batches = window_batches(opened, run)
        features = score_windows.map(batches, unmapped(opened), unmapped(run))
        scored = score_video(opened, batches, features.result(), run)
        analyses = analyse_candidates.submit(scored.candidates, opened, run)
        ledger.rank(render_media(rank_video(scored, analyses.result(), run), run))
