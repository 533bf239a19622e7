"""Publishing begins anew where it was broken off, and ends as if it had not been."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.storage import Store
from tasks.core.errors import StorageError
from tasks.core.listing import Listing
from tasks.core.records import RankedVideo, VideoRef
from tasks.core.tables.library import library_table, ranked_entry
from tasks.core.tables.reuse import Reuse
from tasks.core.tables.run_ranking import PreviousRanking
from tasks.publish import publish
from tasks.run.ledger import Ledger
from tasks.run.run import Run
from tests.rankings import rankings_table
from tests.report import STAMP, answer, ranked_video
from tests.spec import make_spec

pytestmark = pytest.mark.usefixtures("without_a_run")

BEFORE = rankings_table([ranked_video(f"s3://b/{name}.mp4", answered=answer()) for name in "abc"], STAMP)


@pytest.fixture
def run(demo_models: Path, tmp_path: Path) -> Run:
    (tmp_path / "scratch").mkdir()
    fast = resolve_checkpoint(str(demo_models / "videomae"))
    return Run(make_spec("s3://b", tmp_path / "out", fast=fast), tmp_path / "scratch")


def rows_before(columns: Sequence[str] | None) -> Iterator[pa.Table]:
    for start in range(0, len(BEFORE), 2):
        yield BEFORE.slice(start, 2).select(columns or BEFORE.column_names)


def account() -> Ledger:
    """A video is ranked anew, one is new, one is as it was, one is gone."""
    gone = pa.array(["s3://b/a.mp4", "s3://b/c.mp4"])
    previous = PreviousRanking(
        "run-0",
        lambda columns: (BEFORE.slice(n, 2).select(columns or BEFORE.column_names) for n in (0, 2, 4, 6)),
        gone,
    )
    listing = Listing([VideoRef(f"s3://b/{name}.mp4", "etag", 1) for name in "abd"])
    ledger = Ledger(listing, Reuse(listing.videos, settled=1, previous=previous))
    for name in "ad":
        video = ranked_video(f"s3://b/{name}.mp4", segments=2)
        scored = replace(video.scored, embeddings=video.scored.embeddings.repeat(12, axis=1))
        ledger.rank(replace(video, scored=scored))
    return ledger


def published(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


def with_timecode(video: RankedVideo, timecode: str) -> RankedVideo:
    """The same at 30 pictures a second, of which many are lost."""
    timeline = replace(video.timeline, source_fps=24.1, source_rate=30.0, source_timecode=timecode)
    return replace(video, scored=replace(video.scored, timeline=timeline))


@pytest.mark.parametrize("table", ["library", "rankings"])
def test_what_was_broken_off_is_made_again(
    run: Run, tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.fn(account(), run, "Completed")
    expected = published(tmp_path / "out")
    put, broken = Store.publish, iter([True])

    def put_with_a_break(self: Store, local: Path, name: str) -> str:
        if name.startswith(f"{table}/") and next(broken, False):
            raise StorageError("The network is down.", reason="unavailable", retryable=True)
        return put(self, local, name)

    monkeypatch.setattr(Store, "publish", put_with_a_break)
    shutil.rmtree(tmp_path / "out")
    ledger = account()
    with pytest.raises(StorageError, match="network"):
        publish.fn(ledger, run, "Completed")
    publish.fn(ledger, run, "Completed")
    assert published(tmp_path / "out") == expected
    assert {Path(name).parts[0] for name in expected} == {"windows", "failures", "library", "rankings"}


def test_a_manifest_counts_the_rows_of_its_files(run: Run) -> None:
    manifest = publish.fn(account(), run, "Completed")
    rows = {entry["uri"].split("/")[-3]: entry["rows"] for entry in manifest.files}
    assert rows == {"windows": 40, "failures": 0, "library": 2, "rankings": 2 + 2 + len(BEFORE) // 3}


def test_labels_that_cannot_be_read_cost_no_ranking(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "labels").mkdir(parents=True)
    (tmp_path / "out" / "labels" / "broken.parquet").write_bytes(b"garbage")
    publish.fn(account(), run, "Completed")
    (file,) = (tmp_path / "out").glob("rankings/*/*.parquet")
    assert set(pq.ParquetFile(file).read()["publish_probability"].to_pylist()) == {None}


def test_the_report_copies_the_timecode_of_files_whether_they_are_opened_or_known(
    run: Run, tmp_path: Path
) -> None:
    ledger = account()
    for number, video in enumerate(ledger.ranked):
        ledger.ranked[number] = with_timecode(video, "10:00:00:00")
    unchanged = with_timecode(ranked_video("s3://b/b.mp4"), "20:00:00:00")
    entry = ranked_entry(unchanged, run.spec.digests, run_id="run-0", run_date=run.spec.run_date)
    known = library_table([entry], listed={"s3://b/b.mp4"})
    ledger.known = replace(
        ledger.known, library=lambda columns: [known.select(columns or known.column_names)]
    )
    publish.fn(ledger, run, "Completed")
    html = next(tmp_path.glob("out/reports/*/*.html")).read_text()
    assert 'data-copy="10:00:00:00-10:00:05:00"' in html
    assert 'data-copy="20:00:02:15"' in html  # the moment at 2.5 s, by the rate that the file names
    assert f'data-output="file://{tmp_path}/out"' in html  # verdicts are kept by it, however OUTPUT is typed
