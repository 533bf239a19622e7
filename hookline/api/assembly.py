"""The parts of a service put together."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

from hookline.api.access.callers import Access, read_keys
from hookline.api.access.keys import Keys, OwnKeys
from hookline.api.access.places import Places
from hookline.api.contract.settings import Serve
from hookline.api.jobs.deployed_jobs import DeployedJobs
from hookline.api.jobs.interface import Jobs, Server
from hookline.api.jobs.machine import Elsewhere, Machine
from hookline.api.jobs.metrics import Metrics
from hookline.api.jobs.own_jobs import OwnJobs
from hookline.api.jobs.prefect_runs import PrefectRuns
from hookline.api.service.known import Known
from hookline.api.service.known_jobs import KnownJobs
from hookline.api.service.service import Service
from hookline.api.service.shared_keys import SharedKeys
from hookline.api.service.views import view
from hookline.api.webhooks.delivery import Delivery
from hookline.api.webhooks.outbox import Outbox
from hookline.api.webhooks.signing import read_secrets
from hookline.api.webhooks.targets import Targets
from hookline.api.webhooks.webhooks import Webhooks
from tasks.adapters.storage import open_store
from tasks.core.settings import Settings

FLOW = "rank-videos"


ASKED_WITHIN_S = 10.0
"""How long a server is asked again that others keep up."""

Parts = tuple[Jobs, Machine, Keys]


@contextmanager
def assembled(
    settings: Settings, serve: Serve, *, api_url: str, server: Server | None = None
) -> Iterator[Service]:
    """A service for the block, with its jobs on the Prefect server at `api_url`; `server` is its own one.

    Raises:
        HooklineError: that server does not answer.
        SettingsError: the keys of callers, or the secrets of webhooks, cannot be read; or there is no such
            deployment.
    """
    access = Access(read_keys(serve.keys), per_minute=serve.requests_per_minute)
    delivery = Delivery(Targets(serve.webhook_hosts), read_secrets(needed=bool(serve.webhook_hosts)))
    places = Places([settings.source, *serve.sources])
    metrics, library = Metrics(), open_store(settings.output).uri
    if serve.deployment:
        parts = deployed(settings, serve, metrics, library=library, api_url=api_url)
    else:
        parts = own(settings, serve, metrics, library=library, api_url=api_url, server=server)
    with parts as (jobs, machine, keys):
        outbox = Outbox(serve.state / "webhooks.sqlite")
        see = partial(view, jobs=jobs, places=places)
        webhooks = Webhooks(outbox, delivery, view=see, registry=metrics.registry)
        with closing(webhooks):
            jobs.start()
            try:
                with closing(Known(settings.output, serve.state / "known")) as known:
                    known.start()
                    known_jobs = KnownJobs(settings.output)
                    webhooks.start(lambda job_id: known_jobs.find(job_id) or jobs.get(job_id))
                    parts_known = (known, known_jobs)
                    yield Service(
                        *(serve, settings, jobs, places, machine, keys),
                        *parts_known,
                        metrics,
                        access,
                        webhooks,
                    )
            finally:
                jobs.close(within_s=serve.shutdown_seconds)


@contextmanager
def own(
    settings: Settings,
    serve: Serve,
    metrics: Metrics,
    *,
    library: str,
    api_url: str,
    server: Server | None,
) -> Iterator[Parts]:
    """Jobs that this process runs."""
    machine = Machine(settings)
    runs = PrefectRuns(api_url, flow=FLOW, is_lost=lambda: server is not None and server.is_lost)
    # The thread of heartbeats takes up to a second to end, and nobody waits for them.
    ours = {PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    try:
        with temporary_settings(ours):
            jobs = OwnJobs(
                *(runs, machine, metrics),
                library=library,
                max_queued=serve.max_queued,
                server=server,
            )
        with closing(OwnKeys(serve.state / "keys.sqlite")) as keys:
            yield jobs, machine, keys
    finally:
        machine.close()
        runs.close()


@contextmanager
def deployed(
    settings: Settings, serve: Serve, metrics: Metrics, *, library: str, api_url: str
) -> Iterator[Parts]:
    """Jobs that the workers of a deployment run."""
    flow, _, name = serve.deployment.partition("/")
    runs = PrefectRuns(api_url, flow=flow, deployment=name, headers=authorization(), within_s=ASKED_WITHIN_S)
    with closing(runs):
        jobs = DeployedJobs(runs, metrics, library=library, max_queued=serve.max_queued)
        yield jobs, Elsewhere(settings), SharedKeys(runs)


def authorization() -> dict[str, str]:
    """The header by which Prefect's own client would be let in."""
    if key := PREFECT_API_KEY.value():
        return {"Authorization": f"Bearer {key.get_secret_value()}"}
    if pair := PREFECT_API_AUTH_STRING.value():
        return {"Authorization": f"Basic {b64encode(pair.get_secret_value().encode()).decode()}"}
    return {}
