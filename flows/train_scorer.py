"""Fit a head of the fast score on what the deep model said, and promote it if it is better."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.adapters.storage import open_store
from tasks.core.errors import HooklineError
from tasks.learning.train import Promote, train


@flow(name="train-scorer", flow_run_name="train on {output}")
def train_scorer(output: str, since: str = "", promote: Promote = "auto") -> State[Any]:
    """Fit a head on all nights, compare it with what scores now on videos held out, and keep it.

    Ends as `Promoted` or as `Kept`, which says why; as `Failed` where there is too little to learn from.

    Args:
        output: Where the rankings are: s3://bucket/prefix, or a folder on the worker.
        since: Only runs from here on: an id, or the beginning of it, such as a day: 20261124 or 2026-11-24.
        promote: Whether fast.head latest is this head from then on; auto = if it is better.
    """
    try:
        trained = train(open_store(output), since=since, promote_it=promote)
    except HooklineError as error:
        return Failed(message=str(error))
    create_markdown_artifact(markdown=trained.card, key="head", description=trained.head)
    data = {"head": trained.head, "uri": trained.uri, "kept": list(trained.kept)}
    if trained.kept:
        return Completed(name="Kept", message="; ".join(trained.kept), data=data)
    return Completed(name="Promoted", message=f"{trained.head} scores where fast.head is latest", data=data)
