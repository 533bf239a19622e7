"""Which analyses a run finds in the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.core.devices import Backend
from tasks.core.records import Analysis, Answer, ScoredWindow, Timeline, VideoRef, Window
from tasks.work.analyses import cache_keys, cache_of_run, find_analyses
from tasks.work.spec import RunSpec
from tests.spec import make_spec

VIDEO = VideoRef("s3://bucket/a.mp4", "0123456789abcdef" * 2, 1000)
TIMELINE = Timeline(VIDEO, "", 290, 1, 616, 336, 290.0, "pyav")
WINDOW = Window(33, 92)


def spec_of(tmp_path: Path, run_id: str, **deep: Any) -> RunSpec:
    model = Checkpoint(Path("/nowhere"), "deep", "8f3c")
    backend = Backend("cuda", "bfloat16")
    spec = make_spec("unused", tmp_path / "out", deep=deep)
    return replace(spec, run_id=run_id, deep=model, deep_backend=backend)


@pytest.mark.parametrize(
    ("deep", "timeline", "is_found"),
    [
        ({}, TIMELINE, True),
        ({"answer_order": "reasons_first"}, TIMELINE, True),
        ({"answer_order": "scores_first"}, TIMELINE, False),
        ({"prompt": "Rate it."}, TIMELINE, False),
        ({}, replace(TIMELINE, n_ticks=291), False),
        ({}, replace(TIMELINE, width=308), False),
    ],
)
def test_only_the_answer_to_the_very_same_question_is_taken_over(
    tmp_path: Path, deep: dict[str, Any], timeline: Timeline, is_found: bool
) -> None:
    before, now = spec_of(tmp_path, "before"), spec_of(tmp_path, "now", **deep)
    answered = Analysis.ok(Answer(7, 7, 7, (), (), "", ""))
    cache = cache_of_run(before)
    assert cache is not None
    cache.put(cache_keys([WINDOW], TIMELINE, before)[WINDOW], answered)
    found = find_analyses([ScoredWindow(WINDOW, 50)], timeline, now)
    assert (found is not None) is is_found
    assert not is_found or (found and found.by_window == {WINDOW: answered})
