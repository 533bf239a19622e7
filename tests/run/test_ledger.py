"""Every listed video ends in the account exactly once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prefect.logging import disable_run_logger

from tasks.core.errors import ModelError
from tasks.core.listing import Inventory, Listing
from tasks.core.records import Failure, FailureKind, RankedVideo, ScoredVideo, Stage, Timeline, VideoRef
from tasks.core.settings import Limits, Settings
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.reuse import Reuse
from tasks.run.ledger import Ledger
from tasks.run.outcome import final_state

TODAY = date(2026, 11, 22)


def ref(name: str) -> VideoRef:
    return VideoRef(f"file:///videos/{name}", "etag", 1)


def timeline(name: str, folder: Path) -> Timeline:
    path = folder / name / "frames.rgb"
    path.parent.mkdir()
    path.write_bytes(b"frames")
    return Timeline(ref(name), str(path), 10, 1, 28, 28, 10.0, "decord")


def ranked(opened: Timeline, *failures: Failure) -> RankedVideo:
    return RankedVideo(ScoredVideo(opened, (), np.zeros((0, 4), np.float16), "salience"), (), (), failures)


def refusal(name: str, kind: FailureKind = FailureKind.REJECTED) -> Failure:
    return Failure(ref(name), Stage.PROBE, kind, "empty", "The file is empty.")


def test_the_parts_add_up_to_what_was_listed(tmp_path: Path) -> None:
    ledger = Ledger(Listing([ref("a"), ref("b"), ref("c"), ref("d")]))
    with disable_run_logger():
        ledger.refuse(refusal("a"))
        ledger.refuse(refusal("b", FailureKind.FAILED))
        opened = timeline("c", tmp_path)
        with ledger.account_for(opened):
            ledger.rank(ranked(opened))
        with ledger.account_for(timeline("d", tmp_path)):
            raise RuntimeError("the GPU fell off the bus")
    parts = {name: ledger.counts[name] for name in ("listed", "ranked", "unchanged", "rejected", "failed")}
    assert parts == {"listed": 4, "ranked": 1, "unchanged": 0, "rejected": 1, "failed": 2}
    assert ledger.summary == "1 of 4 videos ranked, 1 rejected, 2 failed"


@pytest.mark.parametrize(("listed", "said"), [(1, "0 of 1 video"), (1200, "0 of 1,200 videos")])
def test_counts_are_said_in_words_that_agree(listed: int, said: str) -> None:
    ledger = Ledger(Listing([ref(str(number)) for number in range(listed)]))
    assert ledger.summary == f"{said} ranked, 0 rejected, 0 failed"


def test_what_is_known_counts_as_unchanged_or_as_rejected_again(tmp_path: Path) -> None:
    listed = [ref(name) for name in "abcd"]
    digests = Digests("s", "r", "b")
    broken = replace(timeline("a", tmp_path), damage="Half of it is missing.")
    unchanged = [
        LibraryEntry(ref("a"), digests, TODAY, broken),
        LibraryEntry(ref("b"), digests, TODAY, broken),
    ]
    note = Failure(ref("a"), Stage.DECODE, FailureKind.REJECTED, "truncated", "Half of it is missing.")
    ledger = Ledger(
        Listing(listed),
        Reuse(
            [ref("d")],
            settled=1,
            damaged=unchanged[:1],
            damage=[note],
            scored=unchanged[1:],
            refused=[refusal("c")],
            reranked=[ranked(broken)],
        ),
    )
    with disable_run_logger():
        ledger.refuse(refusal("d", FailureKind.FAILED))
    assert ledger.summary == (
        "0 of 4 videos ranked, 2 unchanged, 1 rejected, 1 failed, 2 ranked only in part"
    )
    assert ledger.failures == [refusal("c"), refusal("d", FailureKind.FAILED), note]
    assert final_state(ledger, Settings(source="s", output="o")) == "CompletedWithFailures"


@pytest.mark.parametrize(("hours", "level"), [(47, "INFO"), (49, "WARNING")])
def test_an_inventory_older_than_two_days_is_warned_of(
    hours: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    written_at = datetime.now(UTC) - timedelta(hours=hours)
    inventory = Inventory(uri="s3://lists/manifest.json", written_at=written_at, looked_up=1)
    with caplog.at_level("INFO"):
        Ledger(Listing([], inventory=inventory))
    (line,) = (each for each in caplog.records if "nothing later is seen" in each.getMessage())
    assert line.levelname == level
    assert "; looked up in the bucket: 1 video without an ETag there" in line.getMessage()


def test_broken_sound_is_said(tmp_path: Path) -> None:
    broken = replace(timeline("a", tmp_path), sound_damage="3.0 s of the sound (flac) cannot be decoded.")
    ledger = Ledger(
        Listing([ref("a")]),
        Reuse([], settled=1, damaged=[LibraryEntry(ref("a"), Digests("s", "r", "b"), TODAY, broken)]),
    )
    assert ledger.summary.endswith("0 failed, 1 with broken sound")


def test_what_goes_wrong_with_a_video_is_its_failure_alone(tmp_path: Path) -> None:
    ledger = Ledger(Listing([ref("a")]))
    opened = timeline("a", tmp_path)
    with disable_run_logger(), ledger.account_for(opened):
        raise ModelError("fast.model x cannot be loaded", reason="model_unavailable")
    (failure,) = ledger.failures
    assert (failure.stage, failure.kind, failure.reason) == (
        Stage.FAST,
        FailureKind.FAILED,
        "model_unavailable",
    )
    assert failure.detail == "fast.model x cannot be loaded"


def test_being_stopped_is_not_a_failure_of_the_video(tmp_path: Path) -> None:
    ledger = Ledger(Listing([ref("a")]))
    opened = timeline("a", tmp_path)
    with pytest.raises(KeyboardInterrupt), ledger.account_for(opened):
        raise KeyboardInterrupt
    assert ledger.failures == []


@pytest.mark.parametrize(
    ("n_ranked", "n_refused", "with_segment_failures", "tolerated", "expected"),
    [
        (2, 0, False, 1.0, "Completed"),
        (2, 0, True, 1.0, "CompletedWithFailures"),
        (1, 1, False, 1.0, "CompletedWithFailures"),
        (1, 1, False, 0.5, "CompletedWithFailures"),
        (1, 1, False, 0.49, "Failed"),
        (0, 2, False, 1.0, "Failed"),
    ],
)
def test_the_final_state_says_what_happened(
    tmp_path: Path,
    n_ranked: int,
    n_refused: int,
    with_segment_failures: bool,
    tolerated: float,
    expected: str,
) -> None:
    ledger = Ledger(Listing([ref(str(i)) for i in range(n_ranked + n_refused)]))
    broken = [refusal("0")] if with_segment_failures else []
    with disable_run_logger():
        for i in range(n_ranked):
            ledger.rank(ranked(timeline(str(i), tmp_path), *broken))
        for i in range(n_refused):
            ledger.refuse(refusal(str(n_ranked + i)))
    settings = Settings(source="s", output="o", limits=Limits(max_failed_fraction=tolerated))
    assert final_state(ledger, settings) == expected
