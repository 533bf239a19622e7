"""What a dry run says where an earlier run cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.adapters.storage import Store
from tasks.core.errors import StorageError
from tasks.core.listing import Listing
from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.estimate import plan_of

RUN = "20261123T000000Z-000001"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Their output has a run of which the manifest is cut off."""
    (tmp_path / "out" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "latest.json").write_text(json.dumps({"manifest": f"runs/{RUN}.json"}))
    (tmp_path / "out" / "runs" / f"{RUN}.json").write_text('{"run_id": ')
    return Settings(source="s3://b", output=str(tmp_path / "out"))


def test_all_is_to_open_as_the_run_itself_would_have_it(settings: Settings) -> None:
    plan = plan_of(Listing([VideoRef("s3://b/a.mp4", "etag", 7)]), settings)
    assert [video.uri for video in plan.videos] == ["s3://b/a.mp4"]
    assert plan.bytes == 7
    assert plan.estimate.videos == 1
    everything, how_long = plan.notes
    assert everything.startswith("All videos are opened and scored anew. ")
    assert how_long.startswith("How long this run will take is not known. ")
    assert RUN in everything


def test_an_output_out_of_reach_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(store: Store) -> None:
        raise StorageError("The network is down.", reason="unavailable", retryable=True)

    monkeypatch.setattr("tasks.estimate.newest_manifest", unavailable)
    with pytest.raises(StorageError, match="network"):
        plan_of(Listing([VideoRef("s3://b/a.mp4", "etag", 7)]), settings)
