"""Another head takes over what is stored: scores are made from embeddings, and known answers are used."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.adapters.models.head import Head
from tasks.adapters.storage.parquet_files import RowsByVideo
from tasks.core.devices import Backend
from tasks.core.learning.videos import features_of
from tasks.core.records import Analysis, RankedVideo, ScoredVideo, Window, WindowFeatures
from tasks.core.tables.library import LibraryEntry, ranked_entry
from tasks.core.tables.reuse import stored_scores
from tasks.core.tables.rows import made_rankings, rescored_windows, windows_table
from tasks.core.tables.run_ranking import with_column
from tasks.rerank import Reranking, Stored, rerank, rescore
from tasks.score import score_video
from tasks.work.analyses import cache_keys, cache_of_run
from tasks.work.spec import RunSpec
from tests.learning_world import SECONDS, MadeVideo, World, answered, ranked, world_spec

pytestmark = pytest.mark.usefixtures("without_a_run")

DIMENSIONS = 24
OLD_HEAD = {"head": None, "head_revision": None}


@dataclass(frozen=True)
class Night:
    """A video as a night by salience left it, and the run of the next one, which has a head."""

    made: MadeVideo
    before: RankedVideo
    rows: pa.Table
    entry: LibraryEntry
    spec: RunSpec

    @property
    def stored(self) -> Stored:
        return stored(self.rows)

    def opened(self, analysed: Collection[Window] = ()) -> ScoredVideo:
        """The video as this run scores it when it opens it."""
        windows = [Window(int(start), int(start) + SECONDS) for start in self.made.starts]
        features = WindowFeatures(self.made.embeddings, self.made.change)
        return score_video(self.before.timeline, [windows], [features], self.spec, analysed=analysed)

    def answer(self, windows: Collection[Window]) -> None:
        """Keep answers about these windows."""
        starts = self.made.starts.tolist()
        cache = cache_of_run(self.spec)
        assert cache
        keys = cache_keys([*windows], self.before.timeline, self.spec, said={})
        for window, key in keys.items():
            cache.put(key, answered(float(self.made.judged[starts.index(window.start)])))


def stored(rows: pa.Table) -> Stored:
    return Stored(rows, stored_scores(rows), features_of(rows))


def reranking(spec: RunSpec, most: int, folder: Path) -> Reranking:
    folder.mkdir(exist_ok=True)
    return Reranking(spec, most, RowsByVideo(folder / "windows"), RowsByVideo(folder / "words"))


def candidates(video: RankedVideo | ScoredVideo) -> list[Window]:
    scored = video.scored if isinstance(video, RankedVideo) else video
    return [item.window for item in scored.candidates]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    made = next(World(dimensions=DIMENSIONS).videos(1, first=3))
    spec = world_spec(tmp_path, ranking={"top_n": 5}, audit={"windows": 0})
    spec = replace(spec, deep_backend=Backend("cpu", "float32"))
    before = ranked(made, "video", spec, audited=False)
    rows = windows_table([before], spec.stamp, dimensions=DIMENSIONS)
    rows = with_column(rows, "loudness", pa.array(np.arange(len(rows), dtype=np.float32)))
    entry = ranked_entry(before, spec.digests, run_id="run-1", run_date=spec.run_date)
    weight = np.random.default_rng(1).standard_normal(DIMENSIONS).astype(np.float32)
    spec = replace(spec, run_id="run-2", head=Head("heads/b", "ridge-centred", weight, 0.0))
    night = Night(made, before, rows, entry, spec)
    night.answer(candidates(before))
    return night


def test_windows_that_were_analysed_stand_in_and_the_others_are_looked_at(night: Night) -> None:
    pool = rescore(night.entry, night.stored, None, night.spec)
    assert pool == frozenset(candidates(night.before))
    fresh, snapped = candidates(night.opened()), candidates(night.opened(pool))
    assert len(snapped) == len(fresh) == 10
    assert len(pool & {*fresh}) < len(pool & {*snapped}) < len(snapped)


def test_where_all_answers_are_known_nothing_is_opened(night: Night) -> None:
    pool = rescore(night.entry, night.stored, None, night.spec)
    assert isinstance(pool, frozenset)
    opened = night.opened(pool)
    night.answer({*candidates(opened)} - pool)
    video = rescore(night.entry, night.stored, None, night.spec)
    assert isinstance(video, RankedVideo)
    assert video.cached == 10
    assert video.scored.windows == opened.windows
    assert (video.scored.fast_kind, video.scored.embeddings.tolist()) == (
        "head_percentile",
        opened.embeddings.tolist(),
    )
    rows = rescored_windows(video, night.rows, night.spec.stamp)
    for name in ("start", "end", "embedding", "change", "loudness"):
        assert rows[name].to_pylist() == night.rows[name].to_pylist(), name
    assert rows["videomae_score"].to_pylist() == [item.score for item in night.opened().windows]
    assert rows["audit_probability"].null_count == len(rows) - 10
    # Ranked again later, by other weights: the same stand in.
    entry = replace(night.entry, digests=night.spec.digests)
    again = rerank(entry, stored(rows), None, night.spec)
    assert again
    assert candidates(again) == candidates(video)
    # The head before had all its answers: it has them again, without any that stands in.
    back = rescore(entry, stored(rows), None, replace(night.spec, head=None))
    assert isinstance(back, RankedVideo)
    assert back.segments == night.before.segments


def test_answers_of_another_judge_stand_in_for_nothing(night: Night) -> None:
    judge = replace(night.spec, deep_backend=Backend("cuda", "bfloat16"))
    assert rescore(night.entry, night.stored, None, judge) == frozenset()


@pytest.mark.parametrize("most", [0, 1])
def test_a_night_without_the_judge_keeps_the_head_before(night: Night, most: int, tmp_path: Path) -> None:
    away = replace(night.spec, deep=Analysis.failed("model_unavailable", "It is not there."))
    first, second = (reranking(each, most, tmp_path / each.run_id) for each in (away, night.spec))
    first.add(night.entry, night.stored, None, OLD_HEAD)
    assert (first.rescored, first.waiting, first.reopened) == (0, 1, {})
    (left,) = first.entries
    assert (left.unanswered, left.waits_for, left.scored_in) == (10, night.spec.digests.scoring, "run-1")
    second.add(left, night.stored, None, OLD_HEAD)
    assert (len(second.reopened), second.waiting, second.rescored) == (most, 1 - most, 0)
    assert all(pool == {*candidates(night.before)} for pool in second.reopened.values())
    assert [video.unanswered for video in second.videos] == [0] * (1 - most)


def test_what_stood_in_does_so_again_when_a_missing_answer_is_asked_for(night: Night, tmp_path: Path) -> None:
    pool = rescore(night.entry, night.stored, None, night.spec)
    assert isinstance(pool, frozenset)
    opened = night.opened(pool)
    *told, _ = sorted({*candidates(opened)} - pool)
    night.answer(told)
    starts = {window.start for window in pool}
    stand = pa.array([start in starts for start in night.made.starts.tolist()])
    scores = pa.array([item.score for item in opened.windows], pa.int32())
    rows = with_column(with_column(night.rows, "analysed_before", stand), "videomae_score", scores)
    found = reranking(night.spec, 0, tmp_path)
    found.add(replace(night.entry, digests=night.spec.digests, unanswered=1), stored(rows), None, None)
    assert (found.entries, found.reopened, found.retried) == ([], {}, {night.entry.video: pool})
    assert candidates(night.opened(found.retried[night.entry.video])) == candidates(opened)


def test_without_what_is_stored_it_must_be_opened(night: Night) -> None:
    early = with_column(night.rows, "change", pa.nulls(len(night.rows), pa.float32()))
    assert rescore(night.entry, stored(early), None, night.spec) is None


@pytest.mark.parametrize("most", [0, 1])
def test_a_video_waits_for_its_turn_by_the_ranks_it_has(night: Night, most: int, tmp_path: Path) -> None:
    found = reranking(night.spec, most, tmp_path)
    found.add(night.entry, night.stored, None, OLD_HEAD)
    assert (len(found.reopened), found.waiting, found.rescored) == (most, 1 - most, 0)
    for video, entry in zip(found.videos, found.entries, strict=True):
        assert video.segments == night.before.segments
        assert entry.waits_for == night.spec.digests.scoring
        assert (entry.scored_in, entry.digests.scoring) == ("run-1", night.entry.digests.scoring)
        (revision,) = set(made_rankings([video], night.spec.stamp)["head_revision"].to_pylist())
        assert revision is None


def test_whose_head_nobody_knows_is_opened(night: Night, tmp_path: Path) -> None:
    found = reranking(night.spec, 0, tmp_path)
    found.add(night.entry, night.stored, None, None)
    assert (found.videos, found.waiting) == ([], 0)


def test_rows_are_read_by_video_whatever_order_they_came_in(tmp_path: Path) -> None:
    rows = RowsByVideo(tmp_path / "rows.arrow")
    for uri, count in (("c", 2), ("a", 1), ("b", 0), ("d", 3)):
        rows.add(uri, pa.table({"uri": [uri] * count, "n": range(count)}))
    rows.close()
    assert [table["uri"].to_pylist() for table in rows()] == [["a"], ["c", "c"], ["d"] * 3]
    assert [table.column_names for table in rows(["n"])] == [["n"]] * 3
    assert list(RowsByVideo(tmp_path / "none.arrow")()) == []
