"""Estimate what a run will take; and the dry run, which says that and does nothing."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.adapters.models.checkpoints import is_here, resolve_checkpoint
from tasks.adapters.models.head import find_head
from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.parquet_files import ParquetRows
from tasks.adapters.storage.previous_tables import fetch_library
from tasks.adapters.storage.published import manifests, newest_manifest, read_table
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError, StorageError
from tasks.core.listing import Listing
from tasks.core.manifest import Estimate, Manifest
from tasks.core.planning.estimate import PastRun, Work, disk, estimate, is_alike
from tasks.core.planning.plan import MAX_NAMED, Plan, PlannedVideo, UnusableVideo, counted, why_opened
from tasks.core.planning.remembered import Remembered, remember, work_of
from tasks.core.planning.words import plan_lines, plan_sentence
from tasks.core.records import FailureKind, VideoRef
from tasks.core.settings import Settings
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import read_library
from tasks.core.tables.matching import Matches, match_videos
from tasks.core.tables.reuse import PreviousRun, Reuse
from tasks.core.tables.rows import read_failures
from tasks.core.tables.sorted_rows import Tables, no_rows
from tasks.run.logs import log_event
from tasks.run.outcome import DRY_RUN, FAILED
from tasks.run.run import Run, find_deep
from tasks.work.spec import RunSpec

NOT_READ = (StorageError, pa.ArrowException, KeyError, TypeError, ValueError)
"""What is raised where what an earlier run left cannot be used."""

RUNS_LOOKED_AT = 10
"""Earlier runs whose manifests are read: so many nights tell how long the next will take."""


def expected_of(known: Reuse, listing: Listing, run: Run) -> Estimate | None:
    """What this run is expected to take; None where it opens nothing, or serves one request.

    What cannot be read fails no run: then nobody knows.
    """
    spec, library = run.spec, run.scratch / "previous-library.parquet"
    if run.host or spec.library or not known.to_open:
        return None
    try:
        remembered = remember(ParquetRows(library) if library.exists() else no_rows, known.to_open)
        found = estimated(known.to_open, remembered, spec.output, spec.settings, listed=listing.listed)
    except NOT_READ as error:
        message = f"How long this run will take is not known. {error}"
        log_event(spec.run_id, "estimate", message, level=logging.WARNING)
        return None
    if found.seconds:
        log_event(spec.run_id, "estimate", "expected", seconds=found.seconds["whole"], by_runs=found.runs)
    return found


def estimated(
    to_open: Sequence[VideoRef], known: Remembered, store: Store, settings: Settings, *, listed: int
) -> Estimate:
    """What opening these videos will take, by the earlier runs under an output."""
    work = work_of(to_open, known, settings) if to_open else Work(0, 0.0, 0.0)
    runs = past_runs(store, settings)
    if work is None or not runs:
        return Estimate(videos=len(to_open), hours_of_video=work.hours if work else None)
    found = estimate(work, [PastRun.of(run, settings) for run in runs], gpu_hour=settings.estimate.gpu_hour)
    tables = disk(runs[0], work, listed=listed)
    # What is copied to scratch of the run before, what is written there of this one, and open videos.
    open_at_once = (settings.engine.workers + 2) * max(found.gpus, 1)
    largest = max((video.size_bytes for video in to_open), default=0)
    longest_s = max((known.seconds_of(video) or 0 for video in to_open), default=0)
    opened = min(open_at_once * (largest + longest_s * known.frame_bytes), settings.limits.scratch_gb * 1e9)
    return found.model_copy(
        update={"output_bytes": tables, "scratch_bytes": None if tables is None else int(2 * tables + opened)}
    )


def past_runs(store: Store, settings: Settings) -> list[Manifest]:
    """The newest runs under an output that did the same to their videos, the newest first."""
    runs = reversed(manifests(store, newest=RUNS_LOOKED_AT))
    return [run for run in runs if run.state != FAILED and is_alike(run, settings)]


@dataclass(slots=True)
class Compared:
    """The listed videos beside the library of the run before."""

    matches: Matches
    known: Remembered
    notes: list[str] = field(default_factory=list)


def dry_run(listing: Listing, settings: Settings) -> State[Any]:
    """Say what a run would do, how long it would take, and what it would cost. Nothing is written.

    Raises:
        StorageError: the output cannot be reached.
    """
    plan = plan_of(listing, settings)
    try:
        rows = "\n".join(f"| {what} | {text} |" for what, text in plan_lines(plan))
        create_markdown_artifact(
            markdown=f"| | |\n|---|---|\n{rows}\n", key="dry-run", description="What a run would do"
        )
    except Exception as error:  # a page that cannot be shown fails nothing
        log_event("", "estimate", f"The plan is not on the page of the run: {error}", level=logging.WARNING)
    return Completed(name=DRY_RUN, message=plan_sentence(plan), data=plan.model_dump(mode="json"))


def plan_of(listing: Listing, settings: Settings) -> Plan:
    """What there is to do for the listed videos.

    Raises:
        StorageError: the output cannot be reached.
    """
    store, notes, compared = open_store(settings.output), list[str](), None
    with tempfile.TemporaryDirectory(prefix="hookline-", dir=settings.limits.scratch_dir or None) as scratch:
        if store.exists("latest.json"):
            digests = digests_now(settings)
            try:
                compared = compare(listing, settings, digests, store, Path(scratch))
            except NOT_READ as error:
                _raise_if_out_of_reach(error)
                notes.append(f"All videos are opened and scored anew. {error}")
    compared = compared or Compared(Matches(to_open=list(listing.videos)), Remembered(), notes)
    matches, known = compared.matches, compared.known
    to_open = sorted(matches.to_open, key=lambda video: video.uri)
    unchanged = matches.settled + len(matches.scored)
    try:
        expected = estimated(to_open, known, store, settings, listed=listing.listed)
    except NOT_READ as error:
        _raise_if_out_of_reach(error)
        compared.notes.append(f"How long this run will take is not known. {error}")
        expected = Estimate(videos=len(to_open))
    return Plan(
        counts=counted(
            to_open, known, unchanged=unchanged, rejected=len(matches.refused), refused=listing.refused
        ),
        bytes=sum(video.size_bytes for video in to_open),
        videos=[
            PlannedVideo(uri=video.label, size_bytes=video.size_bytes, why=why_opened(video, known))
            for video in to_open[:MAX_NAMED]
        ],
        refused=[
            UnusableVideo(video_uri=failure.video.label, reason=failure.reason, detail=failure.detail)
            for failure in listing.refused
        ],
        left_out=listing.left_out,
        inventory=listing.inventory,
        estimate=expected,
        gpu_hour=settings.estimate.gpu_hour,
        notes=compared.notes,
    )


def _raise_if_out_of_reach(error: Exception) -> None:
    if isinstance(error, SettingsError) or (isinstance(error, StorageError) and error.retryable):
        raise error


def compare(
    listing: Listing, settings: Settings, digests: Digests | None, store: Store, scratch: Path
) -> Compared:
    """Which of the listed videos the newest run under the output knows, if these `digests` decide about them.

    Raises:
        StorageError: it cannot be read.
    """
    newest = newest_manifest(store)
    library = fetch_library(store, newest, scratch)
    refusals = read_failures(read_table(store, "failures", newest))
    notes = list[str]()
    if digests is None:
        notes.append(
            "The models are not on this machine: whether they are those of the run before is not known."
        )
    if newest.models.get("settings_hash") != settings.digest():
        notes.append(
            "The settings are others than those of the run before: unchanged videos are ranked again from "
            "what is stored, and opened where an answer is not."
        )
    previous = PreviousRun(
        newest.run_id,
        library,
        {each.video.uri: each for each in refusals if each.kind == FailureKind.REJECTED},
        no_rows,
        ranked_in(library),
    )
    matches = match_videos(
        listing.videos,
        previous,
        digests or digests_before(library),
        today=datetime.now(UTC).date(),
        at_any_size=digests is None,
        rescore=settings.select.rescore,
        most_reopened=settings.select.most_reopened,
        also_listed=[failure.video.label for failure in listing.refused],
        keep=lambda rows: None,
    )
    if matches.scored:
        videos = number_of(len(matches.scored), "video")
        notes.append(
            f"Of the unchanged, {videos} will be ranked again from what is stored, and opened where an "
            "answer is not."
        )
    others = sum(entry.digests.scoring != digests.scoring for entry in matches.scored) if digests else 0
    if reopened := min(others, settings.select.most_reopened):
        notes.append(
            f"Up to {reopened:,} of these may be opened for another head (select.most_reopened): how long "
            "that takes is not in this estimate."
        )
    return Compared(matches, remember(library, matches.to_open), notes)


def ranked_in(library: Tables) -> pa.Array:
    """The URIs of the videos that a library has as ranked, sorted."""
    columns = ("video_uri", "status")
    parts = [
        table["video_uri"].filter(pc.equal(table["status"], "ranked")).combine_chunks()
        for table in library(columns)
    ]
    return pa.concat_arrays(parts or [pa.array([], pa.string())])


def digests_now(settings: Settings) -> Digests | None:
    """What decides about a video in a run with these settings; None where models would have to be fetched."""
    models = [(settings.fast.model, settings.fast.revision)]
    models += [(settings.deep.model, settings.deep.revision)] * settings.deep.enabled
    if not all(is_here(*model) for model in models):
        return None
    head, fast = find_head(settings.fast.head, settings.output), resolve_checkpoint(*models[0])
    deep, budget = find_deep(settings)
    return RunSpec("", datetime.now(UTC), settings, fast, deep, head, budget).digests


def digests_before(library: Tables) -> Digests:
    """What decided about the first video of a library."""
    rows = (table.slice(0, 1) for table in library(None))
    entries = (entry for row in rows for entry in read_library(row).values())
    return next((entry.digests for entry in entries), Digests("", "", ""))
