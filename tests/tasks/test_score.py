"""Windows are scored from what is stored of them, so that the scores can be made again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.adapters.models.head import Head
from tasks.core.records import ScoredVideo, Timeline, VideoRef, Window, WindowFeatures
from tasks.core.scoring.fast_scores import salience
from tasks.core.tables.rows import windows_table
from tasks.rank import rank_video
from tasks.score import score_video
from tasks.work.analyses import find_analyses
from tasks.work.spec import RunSpec
from tests.report import STAMP
from tests.spec import make_spec

COUNT = 400
TIMELINE = Timeline(VideoRef("s3://b/a.mp4", "e", 1), "", 2 * COUNT + 3, 1, 28, 28, 2.0 * COUNT + 3, "pyav")
WINDOWS = [Window(2 * k, 2 * k + 5) for k in range(COUNT)]


@pytest.fixture(params=["salience", "head"])
def spec(request: pytest.FixtureRequest) -> RunSpec:
    spec = make_spec("s3://b", ranking={"max_overlap": "0.2"})
    if request.param == "salience":
        return spec
    return replace(spec, head=Head("heads/a", "ridge", np.linspace(-2, 2, 16, dtype=np.float32), 50.0))


@pytest.fixture
def scored(spec: RunSpec) -> ScoredVideo:
    """Windows that differ little, as those of one video do: half precision decides some of their scores."""
    rng = np.random.default_rng(0)
    embeddings = (3 + 0.5 * rng.standard_normal((COUNT, 16))).astype(np.float32)
    features = WindowFeatures(embeddings, rng.random(COUNT, dtype=np.float32) / 1000)
    return score_video(TIMELINE, [WINDOWS], [features], spec)


def test_scores_can_be_made_again_from_the_table_of_windows(scored: ScoredVideo, spec: RunSpec) -> None:
    analyses = find_analyses(scored.candidates, TIMELINE, spec)
    assert analyses
    video = rank_video(scored, analyses, spec.settings.ranking)
    table = windows_table([video], STAMP, dimensions=16)
    stored = WindowFeatures(
        *(np.array(table[name].to_pylist(), np.float32) for name in ("embedding", "change"))
    )
    again = spec.head(stored) if spec.head else salience(stored)
    assert table["videomae_score"].to_pylist() == again


def test_every_window_that_more_candidates_would_reach_has_its_place(scored: ScoredVideo) -> None:
    places = {item.pack_rank: item for item in scored.windows if item.pack_rank}
    assert sorted(places) == list(range(1, len(places) + 1))
    assert len(places) > 100
    assert {place for place in places if places[place].is_candidate} == {*range(1, 31)}
    by_place = [places[place].score for place in sorted(places)]
    assert by_place == sorted(by_place, reverse=True)
