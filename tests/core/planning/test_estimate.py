"""What a run takes is told from what earlier ones took, and how sure that is from how they differ."""

from __future__ import annotations

from datetime import date

import pytest

from tasks.core.manifest import Manifest
from tasks.core.planning.estimate import ALONE, MIN_SPREAD, PastRun, Work, disk, estimate, is_alike
from tasks.core.settings import Settings
from tasks.core.throughput import DeepThroughput, FastThroughput, Throughput

SETTINGS = Settings(source="in", output="out")
GPU = {"kind": "cuda", "name": "H100", "dtype": "bfloat16", "driver": "580"}


def past(videos: int, hours: float, segments: float, *, fixed: float = 30.0, share: float = 0.5) -> PastRun:
    """A run of a machine that needs so long for an hour and a segment, and has two stages at once."""
    stages = {"fetch": 10 * hours, "decode": 100 * hours, "fast": 200 * hours, "deep": 2 * segments}
    whole = fixed + share * sum(stages.values())
    return PastRun(Work(videos, hours, segments), {"whole": whole, "speech": 0.0, **stages})


def manifest(**changes: object) -> Manifest:
    given = {
        "run_id": "20261125T010000Z-0a1b2c",
        "run_date": date(2026, 11, 25),
        "state": "Completed",
        "seconds": {"whole": 3600.0, "speech": 36.0, "fast": 360.0, "deep": 3000.0},
        "counts": {"ranked": 20, "unchanged": 80},
        "hours_of_video": 10.0,
        "models": {"settings_hash": SETTINGS.digest()},
        "settings": SETTINGS.model_dump(mode="json"),
        "files": [
            {"uri": "s3://o/rankings/a.parquet", "bytes": 1000},
            {"uri": "s3://o/windows/a.parquet", "bytes": 500},
        ],
    }
    return Manifest.model_validate(given | changes)


def test_what_two_runs_have_in_common_is_expected_of_a_third() -> None:
    runs = [past(100, 50.0, 3000.0), past(4, 2.0, 120.0)]
    found = estimate(Work(20, 10.0, 600.0), runs)
    assert found.seconds == pytest.approx(past(20, 10.0, 600.0).seconds)
    assert (found.videos, found.hours_of_video, found.runs) == (20, 10.0, 2)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.seconds["whole"] < found.high


def test_a_night_with_nothing_new_tells_what_every_night_costs() -> None:
    runs = [past(100, 50.0, 3000.0), past(0, 0.0, 0.0)]
    found = estimate(Work(20, 10.0, 600.0), runs)
    assert found.seconds == pytest.approx(past(20, 10.0, 600.0).seconds)
    nothing = estimate(Work(0, 0.0, 0.0), runs)
    assert nothing.seconds
    assert nothing.seconds["whole"] == pytest.approx(30.0)


def test_one_run_alone_says_little() -> None:
    found = estimate(Work(100, 50.0, 3000.0), [past(100, 50.0, 3000.0)])
    assert found.seconds
    assert found.low == pytest.approx(found.seconds["whole"] / ALONE)
    assert found.high == pytest.approx(found.seconds["whole"] * ALONE)


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_the_spread_is_how_wrong_it_would_have_been(slower: float) -> None:
    runs = [past(n, n / 2, 30.0 * n, fixed=0.0) for n in (10, 20, 40)]
    runs.append(past(20, 10.0, 600.0, fixed=0.0, share=0.5 * slower))
    found = estimate(Work(20, 10.0, 600.0), runs)
    assert found.seconds
    assert found.high
    spread = found.high / found.seconds["whole"]
    assert spread == pytest.approx(MIN_SPREAD) if slower == 1 else 1.4 < spread < 1.7


def test_what_nobody_knows_of_lengths_makes_it_less_sure() -> None:
    runs = [past(n, n / 2, 30.0 * n) for n in (10, 20, 40)]
    sure, unsure = (estimate(Work(20, 10.0, 600.0, hours), runs) for hours in (0.0, 5.0))
    assert sure.high
    assert unsure.high == pytest.approx(1.5 * sure.high)


def test_without_an_earlier_run_nothing_is_made_up() -> None:
    for runs in ([], [past(0, 0.0, 0.0)]):
        found = estimate(Work(20, 10.0, 600.0), runs)
        assert (found.seconds, found.low, found.gpu_hours, found.cost) == (None, None, None, None)
        assert found.compared(10.0).took_by_expected is None


def test_gpu_hours_and_cost_are_those_of_the_gpus_that_were_used() -> None:
    speed = Throughput(
        fast=FastThroughput(devices=2, seconds=360.0), deep=DeepThroughput(devices=2, seconds=7200.0)
    )
    run = PastRun.of(manifest(throughput=speed, devices=[GPU]), SETTINGS)
    assert (run.work.videos, run.work.hours, run.gpus) == (20, 10.0, 2)
    found = estimate(Work(10, 5.0, run.work.segments / 2), [run], gpu_hour=3.0)
    assert found.gpu_hours == pytest.approx({"speech": 0.005, "fast": 0.05, "deep": 1.0})
    assert found.seconds
    assert found.cost == pytest.approx(2 * 3.0 * found.seconds["whole"] / 3600)
    on_a_cpu = PastRun.of(manifest(throughput=speed, devices=[GPU | {"kind": "cpu"}]), SETTINGS)
    found = estimate(Work(10, 5.0, 160.0), [on_a_cpu], gpu_hour=3.0)
    assert (found.gpus, found.gpu_hours, found.cost) == (0, None, None)


def test_what_it_took_is_compared_with_what_was_expected() -> None:
    found = estimate(Work(20, 10.0, 600.0), [past(20, 10.0, 600.0)])
    assert found.seconds
    assert found.compared(2 * found.seconds["whole"]).took_by_expected == pytest.approx(2)


def test_runs_with_other_settings_or_machines_tell_nothing() -> None:
    assert is_alike(manifest(), SETTINGS)
    for changes in ({"engine": {"workers": 2}}, {"ranking": {"top_n": 3}}, {"publish": {"clips": True}}):
        assert not is_alike(manifest(), Settings.model_validate({"source": "in", "output": "out", **changes}))
    assert is_alike(manifest(), Settings(source="elsewhere", output="out", dry_run=True))


def test_ranking_and_library_are_written_whole_each_night() -> None:
    assert disk(manifest(), Work(10, 5.0, 1.0), listed=200) == 1000 * 2 + 500 / 2
    assert disk(manifest(files=[]), Work(10, 5.0, 1.0), listed=200) is None
