"""What is known of a moment is said in sentences, with the numbers of the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from prefect.logging import disable_run_logger

from hookline.cli import run as cli
from hookline.explain import (
    LEFT_OUT,
    Known,
    Row,
    about_a_window,
    about_the_moment,
    about_the_video,
    outcome,
    read_known,
)
from hookline.videos import video_called
from tasks.adapters.models.head import Head
from tasks.adapters.storage import open_store
from tasks.adapters.storage.published import newest_manifest
from tasks.core.tables.labels import Label, Labelled, labels_table
from tasks.core.tables.library import library_table, ranked_entry
from tasks.core.tables.rows import failures_table
from tasks.core.tables.schemas import table_name
from tests.learning_world import World, publish_night, ranked, world_spec
from tests.rankings import rankings_table

HEAD = Head("heads/b", "ridge-centred", np.random.default_rng(1).standard_normal(24).astype("f4"), 0.0)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run over a video of some minutes, scored by a head; with a label of 0:40 to 1:30."""
    output = tmp_path_factory.mktemp("explained")
    spec = world_spec(output, head=HEAD, ranking={"top_n": 5, "candidate_multiplier": 3})
    with disable_run_logger():
        made = ranked(next(World(dimensions=24).videos(1, first=3)), "dog", spec)
    publish_night([made], spec, output)
    video = made.timeline.video
    entry = ranked_entry(made, spec.digests, run_id=spec.run_id, run_date=spec.run_date)
    label = Label(
        video_uri=video.uri, video_etag=video.etag, start=39, end=98, verdict="published", views=12_000
    )
    tables = {
        "rankings": rankings_table([made], spec.stamp),
        "library": library_table([entry], listed=[video.label]),
        "failures": failures_table([], spec.stamp),
    }
    for name, table in tables.items():
        path = output / table_name(name, run_date=spec.run_date, run_id=spec.run_id)
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    labels = labels_table(
        [Labelled(label, "overlap", spec.run_id, given=(40.0, 90.0))], imported_at=datetime.now(UTC)
    )
    (output / "labels").mkdir()
    pq.write_table(labels, output / "labels" / "one.parquet")
    (output / "latest.json").write_text(json.dumps({"manifest": f"runs/{spec.run_id}.json"}))
    return output


@pytest.fixture(scope="module")
def known(output: Path) -> Known:
    store = open_store(str(output))
    newest = newest_manifest(store)
    return read_known(store, newest, video_called(store, newest, "dog"))


def about(known: Known, is_wanted: Callable[[Row], bool]) -> tuple[Row, str]:
    """The first such window, and what is said of it."""
    row = next(row for row in known.windows if is_wanted(row))
    return row, " ".join(about_a_window(known, row))


def test_of_a_ranked_window_its_score_is_taken_apart(known: Known) -> None:
    row, said = about(known, lambda row: row["reason"] is None)
    rank = known.rank_of(row)
    assert rank
    assert f"is rank {rank['rank']} of its video, {rank['run_rank']} of the run" in said
    assert f"{rank['margin']} points above the best candidate that is not ranked" in said
    assert f"Score {row['score']} = 0.6 x {row['deep_score']} + 0.4 x {row['videomae_score']}." in said
    assert known.salience
    plain = known.salience[known.windows.index(row)]
    assert f"Without the head it would be {plain} (salience)" in said
    without = (6 * row["deep_score"] + 4 * plain) // 10
    assert f"Of its score of {row['score']} the head makes {row['score'] - without:+d}." in said
    original = {"video_uri": "s3://b/cat.mp4", "start": 60.0, "end": 119.0}
    more = {"publish_probability": 0.341, "duplicate_of": original}
    told = replace(known, ranked=[each | more for each in known.ranked])
    assert "shows what s3://b/cat.mp4 shows from 1:00 to 1:59" in " ".join(about_a_window(told, row))
    assert "editors publish 34% of segments" in " ".join(about_a_window(told, row))
    assert "editors publish" not in said


def test_what_keeps_a_window_out_is_named(known: Known) -> None:
    row, said = about(known, lambda row: row["suppressed_by"] is not None)
    (other,) = (each for each in known.windows if each["start"] == row["suppressed_by"])
    overlap = (59 - abs(row["start"] - other["start"])) / (59 + abs(row["start"] - other["start"]))
    assert f"(fast score {other['videomae_score']}" in said
    assert f"which it overlaps by {overlap:.0%}; ranking.max_overlap is 75%" in said
    assert "was not asked: only candidates and audited windows" in said


def test_what_is_below_the_cut_has_a_place(known: Known) -> None:
    row, said = about(known, lambda row: row["pack_rank"] and row["pack_rank"] > 15 and not row["audited"])
    weakest = min(each["videomae_score"] for each in known.windows if each["is_candidate"])
    assert f"place {row['pack_rank']} of those that do not repeat each other, the first 15 are taken" in said
    assert f"the weakest has the fast score {weakest}" in said
    assert "It was not drawn for the audit." in said


def test_what_another_video_shows_too_is_left_out(known: Known) -> None:
    row = next(row for row in known.windows if row["is_candidate"] and row["reason"])
    row = {**row, "reason": "duplicate"}
    assert outcome(known, row) == LEFT_OUT
    assert f"is {LEFT_OUT}." in " ".join(about_a_window(replace(known, windows=[row], salience=None), row))


def test_an_audited_window_has_an_answer_and_a_probability(known: Known) -> None:
    row, said = about(known, lambda row: row["audited"])
    assert f"VideoLLaMA3 said {row['deep_score']} (expected {row['deep_expected_score']:.1f})" in said
    assert f"drawn for the audit, with a probability of {row['audit_probability']:.2g}" in said


def test_a_candidate_that_is_not_ranked_says_what_it_lacks(known: Known) -> None:
    row, said = about(known, lambda row: row["reason"] == "below_top_n")
    missing = min(rank["score"] for rank in known.ranked) - row["score"]
    assert f"its score is {missing} points below the last that is ranked" in said


def test_why_there_is_no_answer_is_said(known: Known) -> None:
    row = next(row for row in known.windows if row["reason"] == "below_top_n")
    failure = {"stage": "deep", "start": row["start"], "end": row["end"], "detail": "The answer broke off."}
    failed = {**row, "deep_status": "failed", "deep_score": None}
    told = replace(known, windows=[failed], salience=None, failures=[failure])
    assert "gave no answer: The answer broke off." in " ".join(about_a_window(told, failed))
    skipped = {**row, "deep_status": "skipped", "deep_score": None}
    told = replace(known, windows=[skipped], salience=None)
    assert "deep.enabled is false" in " ".join(about_a_window(told, skipped))


def test_who_stands_in_is_told_from_who_is_stronger(known: Known) -> None:
    row = next(row for row in known.windows if row["suppressed_by"] is not None)
    windows = [
        {**each, "analysed_before": True, "videomae_score": 0}
        if each["start"] == row["suppressed_by"]
        else each
        for each in known.windows
    ]
    assert "stands in for it, whose answer was known" in " ".join(
        about_a_window(replace(known, windows=windows), row)
    )


def test_the_video_says_by_which_head_and_what_it_waits_for(known: Known) -> None:
    assert f"scored by the head {HEAD.revision}" in next(iter(about_the_video(known)))
    waiting = replace(known, entry=replace(known.entry, waits_for="another"))
    assert "waits until the video is opened" in " ".join(about_the_video(waiting))
    gone = replace(known, windows=[], scored=None)
    assert "only what is ranked is known" in " ".join(about_the_video(gone))


def test_a_label_is_of_what_the_editor_cut(known: Known) -> None:
    assert "Label: published, 12,000 views, of 0:40-1:30, matched with the window 0:39-1:38." in list(
        about_the_moment(known, 89.9)
    )
    assert "No label is of it." in list(about_the_moment(known, 90.0))


def test_the_command_shows_every_window_of_the_moment(
    known: Known, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert cli(["explain", str(output), "dog", "--at", "1:23"]) == 0
    shown = capsys.readouterr().out
    count = sum(row["start"] <= 83 < row["end"] for row in known.windows)
    assert shown.count("repeats") + shown.count("rank ") + shown.count("candidate") >= count
    assert "Label: published" in shown
    assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["dog", "--at", "9:59:59"], "--at 9:59:59: dog.mp4 is "),
        (["dog", "--at", "soon"], "'soon' is no time"),
        (["cat", "--at", "1:23"], "cat: no ranked video of run"),
    ],
)
def test_what_is_wrong_is_said(
    output: Path, command: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["explain", str(output), *command]) == 2
    assert told in capsys.readouterr().err
