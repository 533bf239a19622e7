"""Say how good the scores of all nights are, and keep it: from tables alone, without a model."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.adapters.storage import open_store
from tasks.core.errors import HooklineError
from tasks.core.views.evaluation.page import alarms
from tasks.learning.evaluate import evaluate, keep, rows_of


@flow(name="evaluate-nights", flow_run_name="evaluate {output}")
def evaluate_nights(output: str, since: str = "") -> State[Any]:
    """Measure how good each score is, by the judge and by the verdicts of editors, beside chance.

    Ends as `Failed`, with what to do, where there is nothing to measure.

    Args:
        output: Where the rankings are: s3://bucket/prefix, or a folder on the worker.
        since: Only runs from here on: an id, or the beginning of it, such as a day: 20261124 or 2026-11-24.
    """
    try:
        store = open_store(output)
        found = evaluate(store, since=since)
        uri = keep(store, found)
    except HooklineError as error:
        return Failed(message=str(error))
    rows = rows_of(found)
    create_table_artifact(
        table=[row for row in rows if row["scope"] == "all"],
        key="evaluation",
        description=" ".join(
            [
                f"How good the scores are ({found.head}), with plots in {uri}.",
                *found.notes,
                *alarms(found.measured),
            ]
        ),
    )
    return Completed(message=f"{len(rows)} metrics in {uri}", data={"evaluation": uri})
