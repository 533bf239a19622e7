"""The registry of active runs, by which the files of killed runs are found and removed.

`OUTPUT/.hookline` is the registry. A run adds itself when it starts, and is removed when its manifest is
written or it has failed. So a run in the registry without a manifest is alive, or was killed. The next run
removes its files if it was surely killed.
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
KINDS = ("windows", "failures", "library", "words", "fingerprints", "rankings")
FOLDERS = ("reports", "clips")
DEAD_AFTER = timedelta(days=7)
"""A run on another machine is taken for dead this long after its start: it cannot be looked at from here."""

RUN_ID_TIME = "%Y%m%dT%H%M%SZ"

log = logging.getLogger(__name__)


@contextmanager
def registered(store: Store, run_id: str, *, scratch_dir: str) -> Iterator[None]:
    """Keep this run in the registry for the block; first remove what dead runs left under the output.

    Must be inside the run's `run_folder`: its lock shows other runs on this machine that it is alive.

    Raises:
        StorageError: the output cannot be written. If files cannot be removed, that is only a warning.
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


def read_registry(content: bytes | None) -> dict[str, str]:
    """The runs in a registry, with the scratch folder of each; none if the content is no registry."""
    try:
        runs = json.loads(content or b"")["under_way"]
        return {str(run_id): str(place) for run_id, place in runs.items() if _began(str(run_id))}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_dead(run_id: str, place: str, here: str, *, scratch_dir: str) -> bool:
    """Whether a run in the registry cannot be alive any more."""
    is_old = datetime.now(UTC) - _began(run_id) > DEAD_AFTER
    return is_old or (place == here and has_ended(scratch_dir, run_id))


def remove_unfinished(store: Store, run_ids: list[str]) -> None:
    """Take runs out of the registry. Everything that those without a manifest wrote is removed first.

    A run whose files cannot be removed stays in the registry.
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
