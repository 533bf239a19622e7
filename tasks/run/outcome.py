"""The final state of a run: Completed only if nothing is missing; any other state says what is."""

from __future__ import annotations

import logging
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.states import Completed, Failed

from tasks.core.listing import Listing
from tasks.core.manifest import Manifest
from tasks.core.settings import Settings
from tasks.run.ledger import Ledger

COMPLETED, WITH_FAILURES, FAILED = "Completed", "CompletedWithFailures", "Failed"
DRY_RUN = "DryRun"


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of a run's log says more than that it failed: its state has said so, and why."""
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))


# On a worker, Prefect's engine logs its own traceback for every run that ends as Failed.
logging.getLogger("prefect.flow_runs").addFilter(_is_news)


def final_state(ledger: Ledger, settings: Settings) -> str:
    """The name of the final state: `Failed` if nothing could be ranked, or too many videos were lost."""
    lost = len(ledger.refused) / max(ledger.listed, 1)
    if not (ledger.ranked or ledger.known.unchanged) or lost > settings.limits.max_failed_fraction:
        return FAILED
    return WITH_FAILURES if ledger.failures else COMPLETED


def conclude(manifest: Manifest) -> State[Any]:
    """The final state of a run that has been published. Its data is the manifest."""
    final = Failed if manifest.state == FAILED else Completed
    return final(name=manifest.state, message=manifest.message, data=manifest.model_dump(mode="json"))


def without_videos(listing: Listing, settings: Settings) -> State[Any]:
    """The final state of a run that found no video."""
    return Failed(
        message=f"No video under {settings.source} matches {settings.select.pattern!r}: "
        f"check source and select.pattern. {listing.left_out.sentence}".rstrip()
    )
