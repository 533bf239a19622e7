"""The parts of a service put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from hookline.api.access.callers import Access, read_keys
from hookline.api.access.keys import Keys
from hookline.api.access.places import Places
from hookline.api.contract.settings import Serve
from hookline.api.jobs.machine import Machine
from hookline.api.jobs.metrics import Metrics
from hookline.api.jobs.own_jobs import OwnJobs
from hookline.api.jobs.prefect_runs import PrefectRuns
from hookline.api.service.known import Known
from hookline.api.service.service import Service
from hookline.api.service.views import view
from hookline.api.webhooks.delivery import Delivery
from hookline.api.webhooks.outbox import Outbox
from hookline.api.webhooks.signing import read_secrets
from hookline.api.webhooks.targets import Targets
from hookline.api.webhooks.webhooks import Webhooks
from tasks.adapters.storage import open_store
from tasks.core.settings import Settings

FLOW = "rank-videos"


@contextmanager
def assembled(settings: Settings, serve: Serve, *, api_url: str) -> Iterator[Service]:
    """A service for the block, with its jobs on the Prefect server at `api_url`.

    Raises:
        HooklineError: that server does not answer.
        SettingsError: the keys of callers, or the secrets of webhooks, cannot be read.
    """
    access = Access(read_keys(serve.keys), per_minute=serve.requests_per_minute)
    delivery = Delivery(Targets(serve.webhook_hosts), read_secrets(needed=bool(serve.webhook_hosts)))
    places = Places([settings.source, *serve.sources])
    machine, metrics = Machine(settings), Metrics()
    runs = PrefectRuns(api_url, flow=FLOW)
    # The thread of heartbeats takes up to a second to end, and nobody waits for them.
    own = {PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    try:
        with temporary_settings(own):
            library = open_store(settings.output).uri
            jobs = OwnJobs(runs, machine, metrics, library=library, max_queued=serve.max_queued)
        outbox = Outbox(serve.state / "webhooks.sqlite")
        see = partial(view, jobs=jobs, places=places)
        webhooks = Webhooks(outbox, delivery, view=see, registry=metrics.registry)
        with closing(webhooks):
            jobs.start()
            try:
                known = Known(settings.output, serve.state / "known")
                with closing(Keys(serve.state / "keys.sqlite")) as keys, closing(known):
                    known.start()
                    webhooks.start(jobs.get)
                    yield Service(
                        serve, settings, jobs, places, machine, keys, known, metrics, access, webhooks
                    )
            finally:
                jobs.close(within_s=serve.shutdown_seconds)
    finally:
        machine.close()
        runs.close()
