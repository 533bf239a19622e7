"""Which analyses a run finds in the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.core.devices import Backend
from tasks.core.records import Analysis, Answer, ScoredWindow, Timeline, VideoRef, Window
from tasks.core.scoring.window_cuts import scored_windows
from tasks.core.speech.heard import Heard
from tasks.core.tables import digests
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
    cache.put(cache_keys([WINDOW], TIMELINE, before, said={})[WINDOW], answered)
    found = find_analyses([ScoredWindow(WINDOW, 50)], timeline, now)
    assert (found is not None) is is_found
    assert not is_found or (found and found.by_window == {WINDOW: answered})


@pytest.mark.parametrize("listens", [True, False])
def test_without_cuts_keys_and_digests_are_those_of_before_there_were_any(
    tmp_path: Path, listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered before need not be asked again. These were computed by the version before cuts."""
    monkeypatch.setattr(digests, "SCORES_VERSION", "3")  # its own: scores are made from other numbers now
    spec = spec_of(tmp_path, "now")
    speech = spec.settings.speech.model_copy(update={"enabled": listens})
    spec = replace(spec, settings=spec.settings.model_copy(update={"speech": speech}))
    known = "c8fa2d2b97b761209ed3dc4174de1dab771d20a166f2742d481b81bfe6b23f51"
    assert cache_keys([WINDOW], TIMELINE, spec, said={}) == {WINDOW: known}
    assert spec.digests.scoring == "e11a580016f2"
    assert spec.stamp.models["prompt_hash"] == "297ec3028182"
    # Since duplicates are looked for, that is a setting too: what is published is ranked anew, once.
    assert (spec.settings.digest() == "7d92218ad784") is not listens


def test_an_answer_about_a_window_is_none_about_its_cut(tmp_path: Path) -> None:
    spec, answered = spec_of(tmp_path, "now"), Analysis.ok(Answer(7, 7, 7, (), (), "", ""))
    cache = cache_of_run(spec)
    assert cache is not None
    cache.put(cache_keys([WINDOW], TIMELINE, spec, said={})[WINDOW], answered)
    cuts = {
        "as the window": Heard.of([(0, 32_000), (94_000, 120_000)], end_ms=290_000),
        "of the same pictures": Heard.of([(0, 32_900), (33_300, 91_700), (92_400, 200_000)], end_ms=290_000),
        "of others": Heard.of([(0, 34_000), (35_000, 89_000), (90_000, 200_000)], end_ms=290_000),
    }
    found = {}
    for name, heard in cuts.items():
        timeline = replace(TIMELINE, heard=heard)
        (candidate,) = scored_windows([WINDOW], [50], timeline)
        found[name] = find_analyses([candidate], timeline, spec)
    assert found["as the window"] == found["of the same pictures"]
    assert found["of the same pictures"]
    assert found["of the same pictures"].by_window == {WINDOW: answered}
    assert found["of others"] is None


def test_two_candidates_that_show_the_same_share_an_answer(tmp_path: Path) -> None:
    spec, answered = spec_of(tmp_path, "now"), Analysis.ok(Answer(7, 7, 7, (), (), "", ""))
    timeline = replace(
        TIMELINE, heard=Heard.of([(0, 34_000), (35_000, 91_000), (92_000, 290_000)], end_ms=290_000)
    )
    both = scored_windows([WINDOW, Window(34, 93)], [50, 60], timeline)
    assert both[0].cut == both[1].cut
    cache = cache_of_run(spec)
    assert cache is not None
    (key,) = cache_keys([Window(34, 91)], timeline, spec, said={}).values()
    cache.put(key, answered)
    found = find_analyses(both, timeline, spec)
    assert found
    assert (found.by_window, found.cached) == ({WINDOW: answered, Window(34, 93): answered}, 2)
