"""What the newest run left is read, refused with a warning, or waited for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prefect.logging import disable_run_logger

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.head import Head
from tasks.adapters.storage import Store
from tasks.core.errors import StorageError
from tasks.core.listing import Listing
from tasks.core.records import (
    Analysis,
    Failure,
    FailureKind,
    RankedVideo,
    ScoredVideo,
    ScoredWindow,
    Segment,
    Stage,
    Timeline,
    VideoRef,
    Window,
)
from tasks.core.settings import Ranking
from tasks.core.speech.heard import Heard
from tasks.core.tables.library import read_library
from tasks.core.tables.run_ranking import PreviousRanking
from tasks.core.tables.sorted_rows import Tables
from tasks.core.views.pictures import thumbnail_name
from tasks.publish import publish
from tasks.recall import plan_reuse, read_previous_run, recall
from tasks.run.ledger import Ledger
from tasks.run.run import Run
from tasks.work.hearing import keep_heard
from tests import FIXTURES
from tests.library import BROKEN
from tests.rankings import rankings_table
from tests.spec import make_spec

pytestmark = pytest.mark.usefixtures("without_a_run")

RANKED = VideoRef("s3://b/ranked.mp4", "etag", 9)
REFUSED = VideoRef("s3://b/refused.mp4", "etag", 9)
LISTING = Listing([RANKED, REFUSED])
PUBLISHED = FIXTURES / "published-schema-2"


@pytest.fixture
def run(demo_models: Path, tmp_path: Path) -> Run:
    """A run after one that has ranked one video and refused another."""
    (tmp_path / "scratch").mkdir()
    fast = resolve_checkpoint(str(demo_models / "videomae"))
    spec = make_spec("s3://b", tmp_path / "out", fast=fast)
    publish_first_night(Run(replace(spec, run_id="run-1"), tmp_path / "scratch"))
    return Run(replace(spec, run_id="run-2"), tmp_path / "scratch")


def with_settings(run: Run, **update: object) -> Run:
    return replace(run, spec=replace(run.spec, settings=run.spec.settings.model_copy(update=update)))


def whole(rows: Tables) -> pa.Table:
    return pa.concat_tables(rows(None))


def publish_first_night(run: Run) -> None:
    timeline = Timeline(RANKED, "frames.rgb", 6, 1, 28, 28, 6.0, "decord", "Cut off.")
    scored = ScoredVideo(
        timeline,
        (ScoredWindow(Window(0, 6), 50, is_candidate=True),),
        np.zeros((1, 48), np.float16),
        "salience",
        change=np.zeros(1, np.float32),
    )
    skipped = Analysis.skipped("disabled")
    ledger = Ledger(Listing([RANKED, REFUSED]))
    with disable_run_logger():
        ledger.rank(RankedVideo(scored, (Segment(Window(0, 6), 50, 50, skipped, 1),), (skipped,)))
        ledger.refuse(Failure(REFUSED, Stage.PROBE, FailureKind.REJECTED, "empty", "It is empty."))
        publish.fn(ledger, run, "CompletedWithFailures")


def test_what_the_newest_run_left_is_known(run: Run) -> None:
    previous = read_previous_run.fn(run)
    assert previous
    reuse = plan_reuse(LISTING, previous, run)
    assert reuse.to_open == []
    assert reuse.settled == reuse.unchanged == 1
    (entry,) = reuse.damaged
    assert (entry.scored_in, entry.scored_on) == ("run-1", date(2026, 11, 22))
    assert entry.timeline == Timeline(RANKED, "", 6, 1, 28, 28, 6.0, "decord", "Cut off.")
    assert whole(reuse.library)["video_uri"].to_pylist() == [RANKED.uri, REFUSED.uri]
    (row,) = rankings_table([], run.spec.stamp, previous=reuse.previous).to_pylist()
    assert (row["video_uri"], row["run_id"], row["previous_rank"]) == (RANKED.uri, "run-2", 1)
    assert [(failure.video, failure.reason) for failure in reuse.refused] == [(REFUSED, "empty")]
    assert [failure.reason for failure in reuse.damage] == ["truncated"]


def test_the_videos_of_a_library_are_not_handed_to_a_task(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr("tasks.recall.read_previous_run", lambda *handed: given.append(handed))
    recall(LISTING, run)
    recall(LISTING, replace(run, spec=replace(run.spec, library="s3://b/nights")))
    (_, none), (_, some) = given
    assert (none, some) == ([], [RANKED.label, REFUSED.label])


def test_before_the_first_run_nothing_is_known(run: Run, tmp_path: Path) -> None:
    assert read_previous_run.fn(with_settings(run, output=str(tmp_path / "elsewhere"))) is None


def remove(file: Path) -> None:
    file.unlink()


def fill_with_garbage(file: Path) -> None:
    file.write_bytes(b"garbage")


def replace_by_another(file: Path) -> None:
    (other,) = file.parents[2].glob("windows/*/*.parquet")
    file.write_bytes(other.read_bytes())


def empty_the_manifest(file: Path) -> None:
    (file.parents[2] / "runs" / "run-1.json").write_text(json.dumps({}))


@pytest.mark.parametrize("table", ["library", "failures"])
@pytest.mark.parametrize("harm", [remove, fill_with_garbage, replace_by_another, empty_the_manifest])
def test_what_cannot_be_made_out_is_not_known(run: Run, table: str, harm: Callable[[Path], None]) -> None:
    (file,) = Path(run.spec.settings.output).glob(f"{table}/*/*.parquet")
    harm(file)
    assert read_previous_run.fn(run) is None


@pytest.mark.parametrize("harm", [remove, fill_with_garbage, replace_by_another])
def test_videos_are_known_without_their_ranking(run: Run, harm: Callable[[Path], None]) -> None:
    (file,) = Path(run.spec.settings.output).glob("rankings/*/*.parquet")
    harm(file)
    known = read_previous_run.fn(run)
    assert known
    assert known.rankings is known.ranked is None
    assert list(known.refusals) == [REFUSED.uri]


def test_an_output_out_of_reach_is_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: Any) -> bytes:
        raise StorageError("The network is down.", reason="unavailable", retryable=True)

    monkeypatch.setattr(Store, "read_bytes", unavailable)
    with pytest.raises(StorageError, match="network is down"):
        read_previous_run.fn(run)


def test_a_run_of_an_earlier_schema_is_carried_over(run: Run, tmp_path: Path) -> None:
    output = shutil.copytree(PUBLISHED, tmp_path / "yesterday")
    (file,) = output.glob("runs/*.json")
    manifest = json.loads(file.read_text()) | {"models": run.spec.stamp.models}
    file.write_text(json.dumps(manifest))
    previous = read_previous_run.fn(with_settings(run, output=str(output)))
    assert previous
    assert len(read_library(whole(previous.library))) == 8
    assert sorted(failure.reason for failure in previous.refusals.values()) == sorted(BROKEN.values())
    assert previous.ranked is not None
    carried = PreviousRanking(previous.run_id, previous.rankings, gone=previous.ranked[:0])
    rows = rankings_table([], run.spec.stamp, previous=carried).to_pylist()
    assert len(rows) == 6
    for row in rows:
        assert (row["previous_rank"], row["previous_run_rank"]) == (row["rank"], row["run_rank"])
        assert (row["run_id"], row["previous_run_id"]) == (run.spec.run_id, manifest["run_id"])
        assert row["video_percentile"] is row["margin"] is row["suppressed"] is None
        assert row["cut_start"] is row["cut_clean"] is row["speech_status"] is None
        assert 0 < row["library_percentile"] < 100


@pytest.mark.usefixtures("prefect")
def test_the_ranks_of_the_run_before_are_known_whatever_its_settings(run: Run) -> None:
    previous = read_previous_run.fn(with_settings(run, ranking=Ranking(top_n=3)))
    assert previous
    assert previous.ranked is None
    reuse = plan_reuse(LISTING, previous, run)
    assert (reuse.settled, len(reuse.reranked)) == (0, 1)
    (row,) = rankings_table(reuse.reranked, run.spec.stamp, previous=reuse.previous).to_pylist()
    assert (row["previous_run_id"], row["previous_rank"], row["previous_run_rank"]) == ("run-1", 1, 1)


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_video_is_not_opened_for_what_an_earlier_version_did_not_keep(run: Run, is_recorded: bool) -> None:
    heard = Heard.of([(500, 2500)], end_ms=6000)
    if is_recorded:
        keep_heard(Timeline(RANKED, "", 6, 1, 28, 28, 6.0, "pyav", heard=heard), run.spec)
    previous = read_previous_run.fn(with_settings(run, ranking=Ranking(top_n=3)))
    assert previous
    reuse = plan_reuse(LISTING, previous, run)
    assert reuse.to_open == []
    (row,) = rankings_table(reuse.reranked, run.spec.stamp).to_pylist()
    found = [row[name] for name in ("cut_start", "cut_end", "cut_clean", "speech_ratio", "speech_status")]
    assert found == ([0.0, 6.0, True, pytest.approx(1 / 3, abs=0.001), "ok"] if is_recorded else [None] * 5)
    (video,) = reuse.reranked
    assert video.timeline.heard == (heard.outcome if is_recorded else None)  # of many videos that is much


@pytest.mark.usefixtures("prefect")
def test_a_job_has_the_pictures_of_the_night_that_scored_its_video(run: Run) -> None:
    night = Path(run.spec.settings.output)
    picture = night / thumbnail_name(RANKED, 3, 1)
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"jpeg")
    job = with_settings(run, output=str(night / "jobs"))
    job = replace(job, spec=replace(job.spec, library=str(night)))
    previous = read_previous_run.fn(job, [RANKED.label])
    assert previous
    (video,) = plan_reuse(Listing([RANKED]), previous, job).reranked
    (segment,) = video.segments
    assert segment.thumbnail_uri
    assert (night / "jobs" / segment.thumbnail_uri).read_bytes() == b"jpeg"


@pytest.mark.usefixtures("prefect")
def test_a_job_by_another_head_takes_what_the_night_has_seen(run: Run) -> None:
    night = Path(run.spec.settings.output)
    job = with_settings(run, output=str(night / "jobs"))
    head = Head("heads/a", "ridge", np.ones(48, np.float32), 71.0)
    job = replace(job, spec=replace(job.spec, library=str(night), head=head))
    previous = read_previous_run.fn(job, [RANKED.label])
    assert previous
    reuse = plan_reuse(Listing([RANKED]), previous, job)
    assert (reuse.to_open, reuse.rescored) == ([], 1)
    (row,) = pa.concat_tables(reuse.windows(None)).to_pylist()
    assert (row["run_id"], row["videomae_score"], row["fast_kind"]) == ("run-2", 71, "head")
    (entry,) = reuse.scored
    assert (entry.scored_in, entry.digests.scoring) == ("run-2", job.spec.digests.scoring)


@pytest.mark.usefixtures("prefect")
def test_videos_whose_windows_are_garbage_are_opened(run: Run) -> None:
    (file,) = Path(run.spec.settings.output).glob("windows/*/*.parquet")
    file.write_bytes(b"garbage")
    job = replace(run, spec=replace(run.spec, head=Head("heads/a", "ridge", np.ones(48, np.float32), 1.0)))
    previous = read_previous_run.fn(job)
    assert previous
    assert plan_reuse(LISTING, previous, job).to_open == [RANKED]
