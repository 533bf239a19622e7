"""What a run leaves under the output if it is killed, and who takes it away: the next run, if it is sure.

`OUTPUT/.hookline` names the runs that are under way. Each puts itself there at its start, and goes when its
manifest is written. So a run that is named there and has no manifest is alive, or was killed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tasks.adapters.storage import Store
from tasks.adapters.storage.scratch import has_ended, scratch_name
from tasks.core.errors import StorageError
from tasks.core.tables.schemas import table_name

REGISTRY = ".hookline"
ABOUT = "Hookline notes here which runs are under way, and finds out by it that it may write here."
KINDS = ("windows", "failures", "library", "rankings")
FOLDERS = ("reports", "clips")
DEAD_AFTER = timedelta(days=7)
"""A run on another machine is taken for dead so long after its start; nothing else tells from here."""

RUN_ID_TIME = "%Y%m%dT%H%M%SZ"

log = logging.getLogger(__name__)


@contextmanager
def registered(store: Store, run_id: str, *, scratch_dir: str) -> Iterator[None]:
    """For the block, the output knows of this run; before it, what dead runs left there is removed.

    Must be inside the run's `run_folder`, whose lock tells others on this machine that it is alive.

    Raises:
        StorageError: the output cannot be written. That nothing can be removed there is only a warning.
    """
    here = scratch_name(scratch_dir)
    others: dict[str, str] = {}

    def join(current: bytes | None) -> bytes:
        others.clear()
        others.update(read_registry(current))
        return _registry(others | {run_id: here})

    store.update(REGISTRY, join)
    dead = [other for other, place in others.items() if is_dead(other, place, here, scratch_dir=scratch_dir)]
    remove_unfinished(store, dead)
    with _removing():
        store.remove_parts()
    try:
        yield
    finally:
        remove_unfinished(store, [run_id])


def read_registry(note: bytes | None) -> dict[str, str]:
    """The runs that a note names, with the scratch folder each works in; none where it is no note."""
    try:
        runs = json.loads(note or b"")["under_way"]
        return {str(run_id): str(place) for run_id, place in runs.items() if _began(str(run_id))}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_dead(run_id: str, place: str, here: str, *, scratch_dir: str) -> bool:
    """Whether a run that is noted as being under way cannot be alive any more."""
    is_old = datetime.now(UTC) - _began(run_id) > DEAD_AFTER
    return is_old or (place == here and has_ended(scratch_dir, run_id))


def remove_unfinished(store: Store, run_ids: list[str]) -> None:
    """Strike runs from the note; of those without a manifest, first remove everything they wrote.

    A run whose files cannot be removed stays in the note.
    """
    if not run_ids:
        return
    with _removing():
        for run_id in run_ids:
            if not store.exists(f"runs/{run_id}.json"):
                for name in [
                    *_tables(run_id),
                    *(n for folder in FOLDERS for n in store.names(f"{folder}/{run_id}")),
                ]:
                    store.remove(name)
        store.update(
            REGISTRY,
            lambda current: _registry({k: v for k, v in read_registry(current).items() if k not in run_ids}),
        )


def _tables(run_id: str) -> list[str]:
    return [table_name(kind, run_date=_began(run_id).date(), run_id=run_id) for kind in KINDS]


def _began(run_id: str) -> datetime:
    return datetime.strptime(run_id.partition("-")[0], RUN_ID_TIME).replace(tzinfo=UTC)


def _registry(runs: Mapping[str, str]) -> bytes:
    return (json.dumps({"about": ABOUT, "under_way": runs}, indent=2) + "\n").encode()


@contextmanager
def _removing() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        log.warning("What a killed run left stays under the output. %s", error)
