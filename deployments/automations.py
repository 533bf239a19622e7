"""What the Prefect server does by itself: marks runs whose process is gone, and tells of failed ones."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

SILENCE_S = 600
"""Longer than an outage that a run is to outlive: while the server's database is away, heartbeats are lost,
and as soon as it is back, runs whose last one is older than this are marked.
"""

SIGNS_OF_LIFE = {
    *("prefect.flow-run.Pending", "prefect.flow-run.Submitting", "prefect.flow-run.InfrastructurePending"),
    *("prefect.flow-run.Running", "prefect.flow-run.heartbeat"),
}
"""After each of these comes another one, or an end, unless the worker or the run is gone."""

OURS = {"prefect.resource.id": "prefect.tag.hookline", "prefect.resource.role": "tag"}
"""Runs of the deployments of `prefect.yaml`: others may have a slower heartbeat, or none."""

MESSAGE = """{
  "text": {{ (flow_run.name ~ ": " ~ flow_run.state.name ~ ". " ~ (flow_run.state.message or "")) | tojson }},
  "flow_run": {{ flow_run.name | tojson }},
  "state": {{ flow_run.state.name | tojson }},
  "url": {{ (flow_run | ui_url) | tojson }}
}"""
"""JSON; chat services show `text`."""


def crashed() -> AutomationCore:
    """A run that falls silent is marked as crashed: its machine went down, or its worker was killed with it.

    A worker tells of the runs that die under it by itself.
    """
    return AutomationCore(
        name="hookline: crashed",
        description=f"Marks a run as crashed when nothing was heard from it for {SILENCE_S} s.",
        trigger=EventTrigger(
            after=SIGNS_OF_LIFE,
            expect={"prefect.flow-run.*"},  # another one, or an end of whatever name
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"No sign of life for {SILENCE_S} s: its worker was killed, or its machine is gone.",
            )
        ],
    )


def alert(webhook: UUID) -> AutomationCore:
    """Whoever is behind the webhook is told of each run that failed or crashed."""
    return AutomationCore(
        name="hookline: alert",
        description="Tells the webhook block `hookline-alert` of each run that failed or crashed.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*", "prefect.state-type": ["FAILED", "CRASHED"]},
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(seconds=0),
        ),
        actions=[CallWebhook(block_document_id=webhook, payload=MESSAGE)],
    )
