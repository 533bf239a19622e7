"""The main job: list, recall, open, score, transcribe, analyse, rank, render, compare, publish, show."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.analyse import analyse_video, load_deep_model
from tasks.compare import compare
from tasks.core.learning.audit import judged
from tasks.core.records import Failure, Timeline
from tasks.core.settings import Settings
from tasks.estimate import dry_run, expected_of
from tasks.list import list_videos
from tasks.open import closing_video, open_timelines
from tasks.publish import publish
from tasks.rank import rank_video
from tasks.recall import recall
from tasks.render import render_media
from tasks.run.concurrency import run_concurrently
from tasks.run.labels import note_failure
from tasks.run.ledger import Ledger
from tasks.run.outcome import conclude, final_state, without_videos
from tasks.run.progress_artifact import progress_on_the_page
from tasks.run.run import Run, start_run
from tasks.run.settings import checking_settings, run_name
from tasks.run.suspension import announce_end, result_of
from tasks.score import draw_audit, load_fast_model, score_batches, score_video, window_batches
from tasks.show import show_results
from tasks.transcribe import transcribe_candidates


@flow(name="rank-videos", flow_run_name=run_name, validate_parameters=False, on_failure=[note_failure])
@checking_settings
def rank_videos(settings: Settings) -> State[Any]:
    """Rank the moments of all videos of a source, and publish the rankings.

    Only new and changed videos are opened; the others are ranked from what earlier runs stored.

    Ends as `Completed`, as `CompletedWithFailures` when some videos could not be used (each is a row
    in `failures`), or as `Failed` when nothing could be ranked.
    """
    listing = list_videos(settings)
    if not listing.listed:
        return without_videos(listing, settings)
    if settings.dry_run:
        return dry_run(listing, settings)

    with announce_end(), progress_on_the_page(), start_run(settings) as run:
        known = recall(listing, run)
        ledger = Ledger(listing, known, run_id=run.spec.run_id, expected=expected_of(known, listing, run))
        audited = draw_audit(known.to_open, run)
        if known.to_open:
            result_of(load_fast_model.submit(run))
            load_deep_model.submit(run)  # while the first videos are decoded
        with closing(open_timelines(known.to_open, run)) as opened:  # the next ones are opened meanwhile
            rank = partial(rank_opened, run=run, ledger=ledger, audited=audited)
            run_concurrently(rank, opened, at_once=run.ranked_at_once)
        copies = compare(ledger, run)
        manifest = publish(ledger, run, final_state(ledger, settings), copies)
        return conclude(show_results(manifest, ledger, run))


def rank_opened(opened: Timeline | Failure, *, run: Run, ledger: Ledger, audited: frozenset[str]) -> None:
    """One video: score its windows, write down what is said in the candidates, analyse them, rank, render."""
    if isinstance(opened, Failure):
        ledger.refuse(opened)
        return
    with ledger.account_for(opened), closing_video(opened, run):
        analysed = ledger.known.analysed.get(opened.video, frozenset())
        batches = window_batches(opened, run.spec.settings.windows)
        features = score_batches(batches, opened, run)
        scored = score_video(opened, batches, features, run.spec, audited=audited, analysed=analysed)
        scored = transcribe_candidates(scored, run)
        analyses = analyse_video(judged(scored), scored.timeline, run)
        ranked = rank_video(scored, analyses, run.spec.settings.ranking)
        ledger.rank(render_media(ranked, run))
