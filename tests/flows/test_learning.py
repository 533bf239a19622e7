"""The flows of learning end in a state that says what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from prefect.utilities.callables import parameter_schema

from flows.evaluate_nights import evaluate_nights
from flows.train_scorer import train_scorer
from tasks.adapters.models.head import find_head
from tests.learning_world import publish_plain_night

pytestmark = pytest.mark.usefixtures("prefect")


def artifacts_of(state: State[Any]) -> list[Artifact]:
    assert state.state_details.flow_run_id
    of_run = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
    with get_client(sync_client=True) as client:
        return list(client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=of_run)))


def test_nights_are_evaluated_and_a_head_is_fitted(tmp_path: Path) -> None:
    publish_plain_night(tmp_path, videos=370)
    evaluated = evaluate_nights(str(tmp_path), return_state=True)
    assert evaluated.is_completed()
    assert list(tmp_path.glob("evaluations/*/*.parquet"))
    (shown,) = artifacts_of(evaluated)
    assert (shown.key, "concordance_with_judge" in str(shown.data)) == ("evaluation", True)
    (page,) = tmp_path.glob("reports/*/index.html")
    assert page.as_uri() in str(shown.description)
    kept = train_scorer(str(tmp_path), promote="never", return_state=True)
    assert (kept.name, kept.message) == ("Kept", "it was not to be promoted (--promote never)")
    (card,) = artifacts_of(kept)
    assert "held-out videos" in str(card.data)
    promoted = train_scorer(str(tmp_path), promote="always", return_state=True)
    assert promoted.name == "Promoted"
    assert find_head("latest", str(tmp_path))


@pytest.mark.logs_error
def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    publish_plain_night(tmp_path, videos=3)
    refused = train_scorer(str(tmp_path), return_state=True)
    assert refused.is_failed()
    assert "Too little to learn from in 1 run" in str(refused.message)
    nothing = evaluate_nights(str(tmp_path / "elsewhere"), return_state=True)
    assert "hookline rank SOURCE" in str(nothing.message)


@pytest.mark.parametrize("flow", [evaluate_nights, train_scorer])
def test_their_forms_explain_every_field(flow: object) -> None:
    fields = parameter_schema(flow).model_dump()["properties"]  # type: ignore[arg-type]
    assert list(fields)[:2] == ["output", "since"]
    assert all(field["description"] for field in fields.values())
